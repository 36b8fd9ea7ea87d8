//! This process as Linux sees it, and waiting for facts that have no event.
//!
//! The tests of one binary share a process and run side by side. Only what is found by a name of its
//! own, `threads_named`, belongs to one test; the other figures are those of all tests together, so a
//! test that asserts one runs `alone`.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Linux keeps this many bytes of a thread's name.
const NAME_BYTES: usize = 15;

/// Set in the process that `alone` starts.
const ALONE: &str = "MQTT_FLEET_TEST_ALONE";

/// The names of all threads, as far as Linux keeps them: 15 bytes.
pub(crate) fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is there: these tests need Linux");
    // A thread may end between the listing and the reading: then it has no name any more.
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// How many threads have a name that begins with `prefix`, of which the first 15 bytes count.
pub(crate) fn threads_named(prefix: &str) -> usize {
    let prefix = prefix.get(..NAME_BYTES).unwrap_or(prefix);
    thread_names()
        .iter()
        .filter(|name| name.starts_with(prefix))
        .count()
}

/// How many threads this process has.
pub(crate) fn thread_count() -> usize {
    entries("/proc/self/task")
}

/// How many descriptors this process has open. The one that does the counting is not among them.
pub(crate) fn open_descriptors() -> usize {
    entries("/proc/self/fd") - 1
}

/// The processor time that all threads of this process have used, in steps of 10 ms.
pub(crate) fn cpu_time() -> Duration {
    // Linux reports it in units of USER_HZ, which is 100 for programs on every platform of today.
    const MILLISECONDS_PER_TICK: u64 = 10;
    let stat =
        fs::read_to_string("/proc/self/stat").expect("/proc is there: these tests need Linux");
    // The second field is the name in parentheses and may itself contain both; the third follows it.
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |field: usize| {
        fields[field - 3]
            .parse::<u64>()
            .expect("ticks are a number")
    };
    Duration::from_millis((ticks(14) + ticks(15)) * MILLISECONDS_PER_TICK)
}

/// How much memory of this process is in RAM.
pub(crate) fn resident_bytes() -> u64 {
    memory("VmRSS:")
}

/// The most memory of this process that ever was in RAM.
pub(crate) fn peak_resident_bytes() -> u64 {
    memory("VmHWM:")
}

fn memory(field: &str) -> u64 {
    let status =
        fs::read_to_string("/proc/self/status").expect("/proc is there: these tests need Linux");
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB"))
        .expect("it is there, in kB");
    kibibytes.trim().parse::<u64>().expect("it is a number") * 1024
}

/// Waits until `condition` holds; panics with `what` when it does not within `timeout`.
///
/// For facts of the system that have no event, such as a thread's end or another process being ready.
/// What does have one is waited for by its channel or by the fleet's own `wait_…`.
pub(crate) fn wait_until(what: &str, timeout: Duration, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(timeout, condition),
        "not within {timeout:?}: {what}"
    );
}

/// Whether `condition` comes to hold within `timeout`. It is the only place in the tests that pauses.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no event to wait for, and the pause is short"
)]
pub(crate) fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `body` in a process of its own, which runs nothing but the calling test.
///
/// `test` is the full name of that test, such as `threads::one_per_client`. The test calls this and
/// does nothing else: its own process only starts the other one and looks at how it ended.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    alone_behind(&[], test, body);
}

/// Whether this is the process that `alone` started.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// As `alone`; the process is started by a command that runs what stands behind it, such as `env`.
pub(crate) fn alone_behind(launcher: &[&OsStr], test: &str, body: impl FnOnce()) {
    if is_alone() {
        body();
        println!("{ALONE} done");
        return;
    }
    let program = std::env::current_exe().expect("a running program has a path");
    let line: Vec<&OsStr> = launcher
        .iter()
        .copied()
        .chain([program.as_os_str()])
        .collect();
    let output = Command::new(line[0])
        .args(&line[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("this program can be run once more");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A name that matches no test runs nothing, and that counts as success for the test harness.
    let ran = stdout.contains(&format!("{ALONE} done"));
    assert!(
        output.status.success() && ran,
        "{test}, alone: {}\n{stdout}{stderr}",
        output.status
    );
    // The figures of it, for whoever asks with `--nocapture`.
    print!("{stdout}");
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory)
        .expect("/proc is there: these tests need Linux")
        .count()
}
