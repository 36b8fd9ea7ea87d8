//! A program as its user has it: started, watched by what it prints, sent signals, waited for.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::proc::{holds_within, wait_until};
use super::scratch::scratch;

/// Set in the process that `Program::again` starts.
const ROLE: &str = "MQTT_FLEET_TEST_ROLE";

/// A running program. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    /// A file and no pipe: it can be read without waiting, and never fills.
    output: PathBuf,
}

impl Program {
    /// An example of this crate. `cargo test` builds them; `cargo test --test it` alone does not.
    pub(crate) fn example(name: &str, arguments: &[&str]) -> Program {
        Program::example_with(name, arguments, &[])
    }

    /// An example with variables of its environment.
    pub(crate) fn example_with(
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Program {
        let mut command = Command::new(Program::path(name));
        command.args(arguments).envs(environment.iter().copied());
        Program::spawn(&mut command)
    }

    /// Where an example is.
    pub(crate) fn path(name: &str) -> PathBuf {
        let test = std::env::current_exe().expect("a running program has a path");
        let profile = test.ancestors().nth(2).expect("it is in target/*/deps");
        let program = profile.join("examples").join(name);
        assert!(program.is_file(), "build it: cargo build --example {name}");
        program
    }

    /// Runs `body` in a process of its own, which runs nothing but the calling test, and returns that
    /// process. In that process itself this does not return.
    pub(crate) fn role(test: &str, body: impl FnOnce() -> i32) -> Program {
        Program::role_in(test, &[], body)
    }

    /// The same, in a process that begins with a signal ignored, as under `nohup`.
    pub(crate) fn role_ignoring(test: &str, signal: &str, body: impl FnOnce() -> i32) -> Program {
        Program::be(body);
        let this = std::env::current_exe().expect("a running program has a path");
        let mut command = Command::new("sh");
        let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(this);
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        Program::spawn(command.env(ROLE, "1"))
    }

    /// The same, with these variables in the environment of that process.
    pub(crate) fn role_in(
        test: &str,
        environment: &[(&str, &OsStr)],
        body: impl FnOnce() -> i32,
    ) -> Program {
        Program::be(body);
        Program::again_in(test, "1", environment)
    }

    /// In a process that is to be another one: runs its body, and does not return. For a test that makes
    /// something before its roles, which such a process would make too, and leave behind.
    pub(crate) fn be(body: impl FnOnce() -> i32) {
        if std::env::var_os(ROLE).is_some() {
            std::process::exit(body());
        }
    }

    /// Runs the calling test in a process of its own, where `told` gives what is told here.
    pub(crate) fn again(test: &str, what: &str) -> Program {
        Program::again_in(test, what, &[])
    }

    fn again_in(test: &str, what: &str, environment: &[(&str, &OsStr)]) -> Program {
        let this = std::env::current_exe().expect("a running program has a path");
        let mut command = Command::new(this);
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        Program::spawn(command.envs(environment.iter().copied()).env(ROLE, what))
    }

    /// What `again` was told; `None` in the process of the test itself.
    pub(crate) fn told() -> Option<String> {
        std::env::var(ROLE).ok()
    }

    fn spawn(command: &mut Command) -> Program {
        let output = scratch("output");
        let file = File::create(&output).expect("a file for the output can be made");
        let same = file.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(same)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Program { child, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed until now.
    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }

    /// Waits until it has printed `text`; panics when it does not, with what it did print.
    pub(crate) fn wait_for(&self, text: &str, timeout: Duration) {
        let printed = holds_within(timeout, || self.output().contains(text));
        assert!(printed, "no {text:?} in:\n{}", self.output());
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        let tasks = format!("/proc/{}/task", self.child.id());
        fs::read_dir(tasks).map_or(0, |tasks| tasks.count())
    }

    /// Sends a signal, `INT` or `TERM`. std can only send SIGKILL; `kill` is built into every shell.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.child.id())])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "SIG{signal}");
    }

    /// Waits until it has ended; gives its exit status and all that it printed.
    pub(crate) fn ended(mut self, timeout: Duration) -> (ExitStatus, String) {
        let mut status = None;
        wait_until("the program ends", timeout, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let status = status.expect("it has ended");
        (status, self.output())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended by itself when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.output);
    }
}

/// The number before a text in what a program printed, the last time that it stands there; else 0.
pub(crate) fn figure(output: &str, text: &str) -> u64 {
    let (before, _) = output.rsplit_once(text).unwrap_or_default();
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
