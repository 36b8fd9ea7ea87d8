//! Signals at moments that are easily forgotten: before a fleet is there, and where they were ignored.

use std::fs;
#[cfg(feature = "tls")]
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::process::Command;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet};

use crate::support::fleet::{PATIENCE, spec};
#[cfg(feature = "tls")]
use crate::support::proc::wait_until;
use crate::support::program::Program;
#[cfg(feature = "tls")]
use crate::support::scratch::scratch;

const SIGHUP: u32 = 1;
const SIGTERM: u32 = 15;

/// Whether a process has a signal in a mask of `/proc/PID/status`, such as `SigCgt`.
fn has_signal(program: &Program, mask: &str, signal: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(mask));
    let bits =
        line.and_then(|bits| u64::from_str_radix(bits.trim_start_matches(':').trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << (signal - 1)) != 0)
}

fn run(client: ClientSpec) -> i32 {
    let fleet = Fleet::builder()
        .client(client)
        .on_state(|change| println!("{}: {}", change.client(), change.state()));
    let report = fleet.run().unwrap();
    println!("{report}");
    report.exit_code()
}

/// Fails when a signal that the process began with ignored ends it, or when another one does not any more.
#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let test = "signals_any_time::a_signal_that_was_ignored_stays_ignored";
    let program = Program::role_ignoring(test, "HUP", || {
        let broker = TestBroker::start().unwrap();
        run(spec("detached", &broker))
    });
    program.wait_for("detached: connected", PATIENCE);
    assert!(has_signal(&program, "SigCgt", SIGTERM));
    assert!(
        has_signal(&program, "SigIgn", SIGHUP),
        "also for its children"
    );
    program.signal("HUP");
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    // Had the first one counted, the second would have ended it at once, with 130.
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("detached: ended: stopped"), "{output}");
}

#[cfg(feature = "tls")]
/// A pipe in the place of a file: reading it lasts until the test writes it.
fn pipe() -> PathBuf {
    let pipe = scratch("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    pipe
}

/// Fails when a signal that comes before all threads of a fleet are there ends the program at once, or is
/// forgotten.
#[cfg(feature = "tls")]
#[test]
fn a_signal_during_the_start_ends_in_order() {
    use mqtt_fleet::Tls;

    use crate::support::certificates::Certificates;

    let test = "signals_any_time::a_signal_during_the_start_ends_in_order";
    Program::be(|| {
        let broker = TestBroker::start().unwrap();
        let authority = std::env::var_os("AUTHORITY").unwrap();
        let first = spec("late", &broker);
        let fleet = Fleet::builder().client(first).client(
            ClientSpec::new("encrypted", "mqtts://127.0.0.1:1").tls(Tls::ca_file(authority)),
        );
        let report = fleet.run().unwrap();
        println!("{report}");
        report.exit_code()
    });
    let made = Certificates::new();
    let authority = made.authority("ca").file;
    let pipe = pipe();
    let program = Program::role_in(test, &[("AUTHORITY", pipe.as_os_str())], || 0);
    wait_until("run has begun", PATIENCE, || {
        has_signal(&program, "SigCgt", SIGTERM)
    });
    program.signal("TERM");
    // Only now can the start go on.
    fs::write(&pipe, fs::read(authority).unwrap()).unwrap();
    let (status, output) = program.ended(PATIENCE);
    let _ = fs::remove_file(&pipe);
    // 1 where the other client's attempt has failed before the stop: nobody listens there.
    assert!(status.code().is_some_and(|code| code <= 1), "{output}");
    assert!(output.contains("2 clients"), "{output}");
    assert_eq!(output.matches("  stopped").count(), 2, "{output}");
}
