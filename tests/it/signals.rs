//! Ctrl-C and SIGTERM end a program in order; a second one ends it at once.
//!
//! Each test runs a program of its own: itself, in another process.

use std::thread;

use crossbeam_channel::bounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{Fleet, QoS};

use crate::support::fleet::{PATIENCE, spec, start};
use crate::support::program::Program;

/// A program that runs until it is told to end.
fn run_until_signal() -> i32 {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(spec("signaled", &broker))
        .on_state(|change| println!("{}: {}", change.client(), change.state()));
    let report = fleet.run().unwrap();
    println!("{report}");
    report.exit_code()
}

/// Fails if `run` does not listen to SIGINT, or ends without a report.
#[test]
fn ctrl_c_ends_run_with_a_report() {
    let program = Program::role("signals::ctrl_c_ends_run_with_a_report", run_until_signal);
    assert_reported(program, "INT");
}

/// Fails if SIGTERM, which systemd and containers send, kills the program.
#[test]
fn so_does_sigterm() {
    let program = Program::role("signals::so_does_sigterm", run_until_signal);
    assert_reported(program, "TERM");
}

fn assert_reported(program: Program, signal: &str) {
    program.wait_for("signaled: connected", PATIENCE);
    program.signal(signal);
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}\n{output}");
    assert!(output.contains("signaled: ended: stopped"), "{output}");
    assert!(output.contains("1 client ended well\n"), "{output}");
}

/// Fails if a user who is tired of waiting for a stuck handler has no way out but SIGKILL.
#[test]
fn a_second_signal_ends_the_process_at_once() {
    let test = "signals::a_second_signal_ends_the_process_at_once";
    let program = Program::role(test, || {
        let broker = TestBroker::start().unwrap();
        let (_release, held) = bounded::<()>(0);
        let fleet = Fleet::builder()
            .client(spec("stuck", &broker).subscribe("any", QoS::AtLeastOnce))
            .on_message("any", move |_message, _clients| {
                println!("stuck for good");
                let _ = held.recv();
                Ok(())
            })
            // Longer than the test waits: only the second signal can end it in time.
            .stop_deadline(10 * PATIENCE)
            .start()
            .unwrap();
        fleet.stop_on_signal().unwrap();
        fleet.wait_subscribed(PATIENCE).unwrap();
        broker.publish("any", QoS::AtLeastOnce, false, "").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                // What comes in after the stop has begun is counted.
                while fleet.stats().after_stop == 0 {
                    let published = broker.publish("any", QoS::AtMostOnce, false, "");
                    published.unwrap();
                    thread::yield_now();
                }
                println!("it is stopping");
            });
            fleet.join().exit_code()
        })
    });
    program.wait_for("stuck for good", PATIENCE);
    program.signal("INT");
    program.wait_for("it is stopping", PATIENCE);
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(130), "{status}\n{output}");
}

/// Fails if a signal after the last fleet has gone is swallowed: the program could not be ended any more.
#[test]
fn a_signal_without_a_fleet_still_ends_the_process() {
    let test = "signals::a_signal_without_a_fleet_still_ends_the_process";
    let program = Program::role(test, || {
        let broker = TestBroker::start().unwrap();
        let fleet = start([spec("brief", &broker)]);
        fleet.stop_on_signal().unwrap();
        drop(fleet);
        println!("no fleet any more");
        let (_never, wait) = bounded::<()>(0);
        let _ = wait.recv_timeout(10 * PATIENCE);
        0
    });
    program.wait_for("no fleet any more", PATIENCE);
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(130), "{status}\n{output}");
}
