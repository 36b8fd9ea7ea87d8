//! The example `drop_in`: a few new lines, the same file as before, and its lines at a broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mqtt_fleet::testing::TestBroker;

use crate::support::fleet::PATIENCE;
use crate::support::program::Program;
use crate::support::scratch::scratch;

const MARK: &str = "// MQTT";

/// A directory of one test, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = scratch(test);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program as it was: without the marked lines, compiled with nothing but std.
fn original(directory: &Directory) -> PathBuf {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/drop_in.rs");
    let source = fs::read_to_string(example).unwrap();
    let is_new = |line: &&str| line.ends_with(MARK);
    let n_new = source.lines().filter(is_new).count();
    assert!(n_new <= 9, "{n_new} new lines");
    let old: Vec<&str> = source.lines().filter(|line| !is_new(line)).collect();
    let file = directory.join("original.rs");
    fs::write(&file, old.join("\n")).unwrap();
    let program = directory.0.join("original");
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "-A", "warnings", "-o"])
        .arg(&program)
        .arg(&file);
    let output = rustc.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "without the marked lines:\n{errors}"
    );
    program
}

/// Fails when the program without its marked lines is not a program, when it writes another file then, or when
/// what it publishes is not what it writes.
#[test]
fn the_file_is_what_it_was_and_its_lines_are_published() {
    let directory = Directory::new("published");
    let before = directory.join("before.csv");
    let status = Command::new(original(&directory))
        .args([&before, "5"])
        .status();
    assert!(status.unwrap().success());

    let broker = TestBroker::start().unwrap();
    let after = directory.join("after.csv");
    let url = broker.url();
    let program = Program::example_with("drop_in", &[&after, "5"], &[("MQTT_URL", &url)]);
    let (status, output) = program.ended(PATIENCE);
    assert!(status.success(), "{output}");
    let before = fs::read_to_string(before).unwrap();
    assert_eq!(before.lines().count(), 5);
    assert_eq!(fs::read_to_string(after).unwrap(), before);
    let published = broker.published("sensor/temp");
    assert_eq!(published, before.lines().collect::<Vec<_>>());
}

/// Fails when a broker that is not there keeps the program from its work, or when the code hides the loss.
#[test]
fn without_a_broker_the_file_is_the_same() {
    let directory = Directory::new("without");
    let broker = TestBroker::start().unwrap();
    let url = broker.url();
    broker.stop();
    let file = directory.join("alone.csv");
    let program = Program::example_with("drop_in", &[&file, "3"], &[("MQTT_URL", &url)]);
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{output}");
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 3);
}
