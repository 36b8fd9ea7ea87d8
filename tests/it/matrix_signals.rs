//! The fault matrix, ended by a signal: SIGINT and SIGTERM in each state of a client end the program in
//! order and in time, with a report that says what the client was doing. `signals.rs` has the rest.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{ConnectReply, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, FleetBuilder, QoS, Retry};

use crate::support::fleet::{MARGIN, PATIENCE, spec};
use crate::support::program::Program;

/// What `run` has for its stop.
const DEADLINE: Duration = Duration::from_secs(1);

/// Runs a fleet with this client until a signal comes, and prints its states and its report.
fn run(client: ClientSpec, more: impl FnOnce(FleetBuilder) -> FleetBuilder) -> i32 {
    let fleet = Fleet::builder()
        .client(client)
        .stop_deadline(DEADLINE)
        .on_state(|change| println!("{}: {}", change.client(), change.state()));
    let report = more(fleet).run().unwrap();
    println!("{report}");
    report.exit_code()
}

/// Runs the program once for each signal, sends it when the program has printed this, and sees to it that
/// the program ends in time. `test` is the calling test, which each program runs again in its own role.
fn each_signal(
    test: &str,
    when: &str,
    program: impl Fn() -> i32,
    check: impl Fn(ExitStatus, &str),
) {
    for signal in ["INT", "TERM"] {
        let program = Program::role(test, &program);
        program.wait_for(when, PATIENCE);
        let since = Instant::now();
        program.signal(signal);
        let (status, output) = program.ended(PATIENCE);
        let took = since.elapsed();
        // A process has to be found, told and reaped besides.
        assert!(took < DEADLINE + 4 * MARGIN, "{signal}: {took:?}\n{output}");
        assert!(!output.contains("panicked"), "{signal}:\n{output}");
        check(status, &output);
    }
}

/// Fails if the stop waits for the connect timeout, or hides whom it left behind.
#[test]
fn while_connecting() {
    each_signal(
        "matrix_signals::while_connecting",
        "late: connecting (attempt 1 of 3)",
        || {
            let broker = TestBroker::start().unwrap();
            broker.on_connect(ConnectReply::Never);
            run(spec("late", &broker), |fleet| fleet)
        },
        |status, output| {
            assert_eq!(status.code(), Some(1), "{output}");
            assert!(output.contains("abandoned while connecting"), "{output}");
        },
    );
}

/// Fails if a pause is slept through, or if a client that never connected costs nothing.
#[test]
fn while_pausing() {
    each_signal(
        "matrix_signals::while_pausing",
        "unlucky: attempt 1 of 3 failed",
        || {
            let broker = TestBroker::start().unwrap();
            broker.stop();
            let hours = Duration::from_secs(360_000);
            let retry = Retry::attempts(3).pause(hours..=hours);
            run(spec("unlucky", &broker).retry(retry), |fleet| fleet)
        },
        |status, output| {
            assert_eq!(status.code(), Some(1), "{output}");
            assert!(output.contains("unlucky: ended: stopped"), "{output}");
        },
    );
}

/// Fails if a signal that comes as soon as the client is connected finds nobody.
#[test]
fn while_connected() {
    each_signal(
        "matrix_signals::while_connected",
        "ready: connected",
        || {
            let broker = TestBroker::start().unwrap();
            run(spec("ready", &broker), |fleet| fleet)
        },
        |status, output| {
            assert_eq!(status.code(), Some(0), "{output}");
            assert!(output.contains("ready: ended: stopped"), "{output}");
        },
    );
}

/// Fails if a stuck handler keeps the program alive past its deadline, or is not named.
#[test]
fn while_a_handler_is_stuck() {
    each_signal(
        "matrix_signals::while_a_handler_is_stuck",
        "stuck for good",
        || {
            let broker = TestBroker::start().unwrap();
            let (_release, held) = bounded::<()>(0);
            let subscribed = spec("jammed", &broker).subscribe("any", QoS::AtLeastOnce);
            // Kept for the client, which comes later than it.
            broker
                .publish("any", QoS::AtLeastOnce, true, "kept")
                .unwrap();
            run(subscribed, |fleet| {
                fleet
                    .workers(1)
                    .on_message("any", move |_message, _clients| {
                        println!("stuck for good");
                        let _ = held.recv();
                        Ok(())
                    })
            })
        },
        |status, output| {
            assert_eq!(status.code(), Some(1), "{output}");
            assert!(output.contains("abandoned: "), "{output}");
            assert!(output.contains("jammed"), "{output}");
        },
    );
}

/// Fails if a client that waits for its turn by `connect_rate` sleeps through a stop, or connects after it.
#[test]
fn while_waiting_for_a_turn() {
    each_signal(
        "matrix_signals::while_waiting_for_a_turn",
        // Whoever's turn is the first.
        ": connected",
        || {
            let broker = TestBroker::start().unwrap();
            let others = spec("other-{i}", &broker).times(20);
            let code = run(spec("first", &broker), |fleet| {
                fleet.clients(others).connect_rate(1)
            });
            // A few more turns may have come before the signal.
            assert!(broker.connects_total() < 20);
            code
        },
        |status, output| {
            assert_eq!(status.code(), Some(0), "{output}");
            assert_eq!(output.matches("ended: stopped").count(), 21, "{output}");
        },
    );
}

/// Fails if a program that drains its outboxes can't be ended before it is done, or hides what was not
/// sent.
#[test]
fn while_draining() {
    each_signal(
        "matrix_signals::while_draining",
        "the outbox is not empty",
        || {
            let broker = TestBroker::start().unwrap();
            broker.hold_acks(true);
            let fleet = Fleet::builder()
                .client(spec("slow", &broker))
                .stop_deadline(DEADLINE)
                .start()
                .unwrap();
            fleet.stop_on_signal().unwrap();
            fleet.wait_connected(PATIENCE).unwrap();
            let client = fleet.client("slow").unwrap();
            client.publish("t", QoS::AtLeastOnce, false, "x").unwrap();
            println!("the outbox is not empty");
            let report = fleet.stop_draining(10 * PATIENCE);
            println!("failed: {}", report.total().published.failed);
            report.exit_code()
        },
        |status, output| {
            assert_eq!(status.code(), Some(1), "{output}");
            assert!(output.contains("failed: 1"), "{output}");
        },
    );
}
