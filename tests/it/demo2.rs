//! The tutorial's demo2, as a program and as a fleet: a broker goes away for good, its client makes three
//! attempts, its thread ends, and the other client runs on.

use std::time::Duration;

use mqtt_fleet::{Cause, ClientSpec, ClientState, Outcome, QoS, Retry};

use crate::support::fleet::{PATIENCE, next_state, start};
use crate::support::mosquitto::Mosquitto;
use crate::support::proc;
use crate::support::program::Program;

/// The example's own pauses: up to 1 s and 2 s, and its 3 s before the broker goes.
const ITS_TIME: Duration = Duration::from_secs(30);

/// Fails if the program does not show what it was made to show, in that order.
#[test]
fn the_program_tells_its_story_in_order() {
    let program = Program::example("demo2", &["--seconds", "14"]);
    let (status, output) = program.ended(ITS_TIME);
    assert_eq!(status.code(), Some(1), "a client gave up:\n{output}");
    let mut rest = output.as_str();
    for expected in [
        "Creating Connections",
        "current threads = 3",
        "All clients connected",
        "current threads = 3",
        "is disconnected: the broker closed",
        "attempt 1 of 3 to reach broker 127.0.0.1:",
        "attempt 2 of 3 to reach broker 127.0.0.1:",
        "attempt 3 of 3 to reach broker 127.0.0.1:",
        "the thread of client1 ended: gave up after 3 attempts: no connection to 127.0.0.1:",
        "current threads = 2",
        "client0 received house0/bulb: message",
        "Report",
        "client0 ",
        "stopped",
        "client1 ",
        "gave up after 3 attempts",
    ] {
        let at = rest.find(expected);
        let at = at.unwrap_or_else(|| panic!("no {expected:?} where it belongs in:\n{output}"));
        rest = &rest[at + expected.len()..];
    }
    let (before, after) = output.split_once("is disconnected").unwrap();
    for client in ["client0", "client1"] {
        let message = format!("{client} received house");
        assert!(before.contains(&message), "{message}:\n{output}");
    }
    assert!(!after.contains("client1 received"), "{output}");
}

/// Fails if the loss of one real broker is not noticed, is tried more or less than three times, leaves its
/// thread behind, or touches the client of the other broker.
#[test]
fn one_of_two_brokers_is_killed_and_the_other_client_runs_on() {
    proc::alone(
        "demo2::one_of_two_brokers_is_killed_and_the_other_client_runs_on",
        || {
            let (Some(stays), Some(mut leaves)) = (Mosquitto::start(), Mosquitto::start()) else {
                return;
            };
            let pauses = (Duration::from_millis(300), Duration::from_millis(600));
            let retry = Retry::attempts(3)
                .pause(pauses.0..=pauses.1)
                .stable_after(Duration::ZERO);
            let client = |name: &str, broker: &Mosquitto| {
                ClientSpec::new(name, broker.url())
                    .subscribe("house/#", QoS::AtLeastOnce)
                    .retry(retry.clone())
            };
            let before = proc::thread_count();
            let fleet = start([client("client0", &stays), client("client1", &leaves)]);
            let states = fleet.states();
            fleet.wait_subscribed(PATIENCE).unwrap();
            assert_eq!(proc::thread_count(), before + 2);
            assert_eq!(fleet.threads().total(), 2 + 1);
            let publish = |name: &str| {
                let client = fleet.client(name).unwrap();
                client.publish("house/bulb", QoS::AtLeastOnce, false, name.to_owned())
            };
            let receive = || {
                let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
                assert_eq!(message.text(), message.client());
                message.client().to_owned()
            };
            for name in ["client0", "client1"] {
                publish(name).unwrap();
                assert_eq!(receive(), name);
            }

            leaves.kill();
            let next = |wanted: fn(&ClientState) -> bool| next_state(&states, "client1", wanted);
            let lost = next(|state| matches!(state, ClientState::Lost { .. }));
            assert!(
                matches!(lost.cause(), Some(Cause::Closed | Cause::Broken { .. })),
                "{lost:?}"
            );
            let mut failed_at = Vec::new();
            for n in 1..=3 {
                let failed = next(|state| matches!(state, ClientState::AttemptFailed { .. }));
                let ClientState::AttemptFailed { attempt, of, .. } = failed.state() else {
                    unreachable!();
                };
                assert_eq!((*attempt, *of), (n, Some(3)));
                failed_at.push(failed.at());
            }
            let ended = next(ClientState::is_ended);
            let between = failed_at[2] - failed_at[0];
            // Full jitter: either pause may be short, and hardly ever both.
            assert!(between > Duration::from_millis(1), "{between:?}");
            assert!(
                between < pauses.0 + pauses.1 + Duration::from_secs(1),
                "{between:?}"
            );
            let ClientState::Ended {
                outcome: Outcome::RetriesExhausted { attempts: 3, .. },
            } = ended.state()
            else {
                panic!("{ended:?}");
            };
            proc::wait_until("its thread is gone", PATIENCE, || {
                proc::threads_named("client1") == 0
            });
            assert_eq!(proc::threads_named("client0"), 1);
            assert_eq!(proc::thread_count(), before + 1);
            assert_eq!(fleet.threads().total(), 1 + 1);
            publish("client0").unwrap();
            assert_eq!(receive(), "client0");
            publish("client1").unwrap_err();

            let report = fleet.stop(PATIENCE);
            assert_eq!(report.exit_code(), 1);
            let outcome = |name: &str| report.client(name).unwrap().outcome();
            assert_eq!(*outcome("client0"), Outcome::Stopped);
            let gave_up = Outcome::RetriesExhausted {
                attempts: 3,
                last_error: ended.cause().unwrap().clone(),
            };
            assert_eq!(*outcome("client1"), gave_up);
            proc::wait_until("all threads are gone", PATIENCE, || {
                proc::thread_count() == before
            });
            drop(stays);
        },
    );
}

/// Fails if the program can't be used with a broker that is there, or does not end in order by Ctrl-C.
#[test]
fn the_program_runs_on_a_broker_of_the_user_until_ctrl_c() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let program = Program::example("demo2", &["--broker", &mosquitto.url(), "--seconds", "60"]);
    program.wait_for("All clients connected", PATIENCE);
    mosquitto.publish("house0/door", "open", 1, false);
    program.wait_for("client0 received house0/door: open", PATIENCE);
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}\n{output}");
    let (_, report) = output.split_once("Report").unwrap();
    assert!(report.contains("client0"), "{output}");
    assert!(report.contains("stopped"), "{output}");
}

/// Fails if an option of the program does nothing: a pub function of each client, and a retry without end.
#[test]
fn the_program_has_pub_functions_and_retries_for_ever_on_request() {
    let program = Program::example("demo2", &["--pub", "--forever", "--seconds", "6"]);
    program.wait_for("current threads = 4", PATIENCE);
    program.wait_for(
        "client0 received house0/pub: pub function 0, call 1",
        PATIENCE,
    );
    program.wait_for(
        "client1 received house1/pub: pub function 1, call 1",
        PATIENCE,
    );
    let (status, output) = program.ended(ITS_TIME);
    assert_eq!(status.code(), Some(0), "nobody gave up:\n{output}");
    assert!(output.contains("attempt 1 to reach broker"), "{output}");
}

/// Fails if the first example that a reader tries does not run to its end.
#[test]
fn hello_runs() {
    let (status, output) = Program::example("hello", &[]).ended(ITS_TIME);
    assert_eq!(status.code(), Some(0), "{status}\n{output}");
    assert!(output.contains("temp/sensor-0 = 21.5"), "{output}");
    assert!(output.contains("all 21 clients ended well"), "{output}");
}
