//! Another world for one test: a process whose network and names, whose clock, or whose limits are not
//! those of this machine.
//!
//! What a machine does not permit or have is said aloud, and the test is skipped; it fails instead where
//! the variable that belongs to it is 1.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use super::mosquitto::find;
use super::proc::{alone, alone_behind, is_alone, wait_until};
use super::scratch::scratch;

/// An address that nothing comes back from, in the world of `network`.
pub(crate) const BLACK_HOLE: &str = "127.0.0.2";

/// This machine's own address there is 127.0.0.1 alone. What is sent to any other address of the loopback
/// network leaves, comes back, belongs to nobody, and is gone without a word.
const NETWORK: &str = r#"
set -e
PATH=$PATH:/usr/sbin:/sbin
mount --bind "$1" /etc
shift
ip link set lo up
ip address delete 127.0.0.1/8 dev lo
ip address add 127.0.0.1/32 dev lo
ip route add 127.0.0.2 dev lo src 127.0.0.1
exec "$@"
"#;

/// Runs `body` in a process of its own, which has a network of its own and these files in `/etc`.
pub(crate) fn network(test: &str, etc: &[(&str, &str)], body: impl FnOnce()) {
    if is_alone() {
        return alone(test, body);
    }
    let directory = Scratch::new();
    for (name, text) in etc {
        fs::write(directory.0.join(name), text).expect("a file can be written");
    }
    let launcher = ["unshare", "-r", "-n", "-m", "sh", "-c", NETWORK, "network"];
    let mut launcher: Vec<_> = launcher.iter().map(OsStr::new).collect();
    launcher.push(directory.0.as_os_str());
    let tried = Command::new(launcher[0])
        .args(&launcher[1..])
        .arg("true")
        .output();
    match why_not(&tried) {
        None => alone_behind(&launcher, test, body),
        Some(why) => skip(test, "REQUIRE_NAMESPACES", &format!("no namespaces: {why}")),
    }
}

/// What sets the clock of the process that runs in the world of `clock`.
pub(crate) struct Clock {
    file: PathBuf,
}

const CLOCK_FILE: &str = "FAKETIME_TIMESTAMP_FILE";

impl Clock {
    /// Sets the time of day to so many seconds beside the true one. Monotonic time goes on as it is.
    pub(crate) fn set(&self, seconds: i64) {
        let before = SystemTime::now();
        // Written elsewhere first: half of a file would be another time.
        let beside = self.file.with_extension("new");
        fs::write(&beside, format!("{seconds:+}\n")).expect("a file can be written");
        fs::rename(&beside, &self.file).expect("a file can be renamed");
        wait_until("the clock is set", Duration::from_secs(20), || {
            let now = SystemTime::now();
            let jump = now
                .duration_since(before)
                .unwrap_or_else(|error| error.duration());
            jump > Duration::from_secs(1_000)
        });
    }
}

/// Runs `body` in a process of its own, whose time of day can be set.
pub(crate) fn clock(test: &str, body: impl FnOnce(&Clock)) {
    if let Some(file) = std::env::var_os(CLOCK_FILE).filter(|_| is_alone()) {
        return alone(test, || body(&Clock { file: file.into() }));
    }
    let Some(library) = libfaketime() else {
        return skip(test, "REQUIRE_FAKETIME", "libfaketime is not installed");
    };
    let directory = Scratch::new();
    let file = directory.0.join("time");
    fs::write(&file, "+0\n").expect("a file can be written");
    let variables = [
        format!("LD_PRELOAD={}", library.display()),
        format!("{CLOCK_FILE}={}", file.display()),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
        "FAKETIME_NO_CACHE=1".to_owned(),
    ];
    let launcher: Vec<_> = ["env"]
        .into_iter()
        .chain(variables.iter().map(String::as_str))
        .map(OsStr::new)
        .collect();
    alone_behind(&launcher, test, || unreachable!("it has the variable"));
}

/// Debian's package has one for programs with threads, in a directory of the machine's architecture.
fn libfaketime() -> Option<PathBuf> {
    let architectures = fs::read_dir("/usr/lib").ok()?.flatten();
    architectures
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
}

/// Runs `body` in a process of its own, in a control group that may have so many tasks.
pub(crate) fn tasks(test: &str, at_most: u32, body: impl FnOnce()) {
    if is_alone() {
        return alone(test, body);
    }
    let group = match Group::new(at_most) {
        Ok(group) => group,
        Err(error) => {
            let why = format!("no control group: {error}");
            return skip(test, "REQUIRE_CONTROL_GROUPS", &why);
        }
    };
    let enter = r#"echo $$ >"$0" && exec "$@""#;
    let procs = group.0.join("cgroup.procs");
    let launcher = [
        OsStr::new("sh"),
        OsStr::new("-c"),
        OsStr::new(enter),
        procs.as_os_str(),
    ];
    alone_behind(&launcher, test, body);
}

/// A control group with a limit, right below the root. Dropped, it is removed.
struct Group(PathBuf);

impl Group {
    fn new(at_most: u32) -> io::Result<Group> {
        let of_its_own = Path::new("/sys/fs/cgroup/pids");
        let root = match of_its_own.is_dir() {
            true => of_its_own,
            false => Path::new("/sys/fs/cgroup"),
        };
        let name = scratch("group");
        let directory = root.join(name.file_name().unwrap_or_default());
        fs::create_dir(&directory)?;
        let group = Group(directory);
        fs::write(group.0.join("pids.max"), at_most.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A directory. Dropped, it is removed.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let directory = scratch("world");
        fs::create_dir(&directory).expect("a directory can be made");
        Scratch(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a program is there. For those that are no part of every system.
pub(crate) fn has(test: &str, program: &str) -> bool {
    let found = find(program).is_some();
    if !found {
        say(test, &format!("{program} is not installed"));
    }
    found
}

/// Why a command did not do what it should, in its own words.
fn why_not(tried: &io::Result<Output>) -> Option<String> {
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn skip(test: &str, variable: &str, why: &str) {
    let required = std::env::var_os(variable).is_some_and(|value| value == "1");
    assert!(!required, "{variable}=1, and {why}");
    say(test, why);
}

/// Written past the test harness, which hides what a passing test prints.
fn say(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "{test}: skipped, {why}");
}
