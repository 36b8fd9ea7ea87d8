//! How each client ended, by name, in one report.

use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, TestBroker};
use mqtt_fleet::{Cause, FailureKind, Fleet, OnFailure, Outcome, QoS, Refusal};

use crate::support::fleet::{MARGIN, PATIENCE, ended, spec, start};
use crate::support::proc;

/// Fails if the end of one client is not told from another's or ends another one, if a name or a reason is
/// missing in the report, or if a thread stays behind.
#[test]
fn five_ends_in_one_fleet_are_told_apart() {
    proc::alone("outcomes::five_ends_in_one_fleet_are_told_apart", || {
        let others = || {
            let names = proc::thread_names().into_iter();
            let others = names.filter(|name| !name.starts_with("broker-"));
            others.collect::<Vec<_>>()
        };
        // Before the brokers: a thread that has just begun has no name of its own yet.
        let before = others().len();
        let up = TestBroker::start().unwrap();
        let down = TestBroker::start().unwrap();
        down.stop();
        up.on_connect_of("denied", ConnectReply::Code(5));
        up.on_connect_of("kicked", ConnectReply::AcceptThenKick);
        let tick = Duration::from_millis(5);
        let fleet = Fleet::builder()
            .client(spec("good", &up).subscribe("good/#", QoS::AtLeastOnce))
            .client(spec("unreached", &down))
            .client(spec("denied", &up))
            .client(spec("kicked", &up))
            .client(
                spec("clumsy", &up)
                    .publish_every(tick, |_client| panic!("it slipped on the first tick")),
            )
            .on_failure(OnFailure::StopClient)
            .start()
            .unwrap();

        for name in ["unreached", "denied", "kicked", "clumsy"] {
            ended(&fleet, name);
        }
        let good = fleet.client("good").unwrap();
        good.wait_subscribed(PATIENCE).unwrap();
        good.publish("good/news", QoS::AtLeastOnce, false, "1")
            .unwrap();
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.client(), "good");
        assert_eq!(fleet.threads().clients(), 1);
        // Those of the client, of the pub functions, and this one.
        assert_eq!(fleet.threads().total(), 3);
        proc::wait_until("the threads of four clients are gone", PATIENCE, || {
            others().len() == before + 2
        });

        let report = fleet.stop(PATIENCE);
        proc::wait_until("all threads are gone", PATIENCE, || {
            others().len() == before
        });
        let outcome = |name: &str| report.client(name).unwrap().outcome().clone();
        assert_eq!(outcome("good"), Outcome::Stopped);
        let Outcome::RetriesExhausted {
            attempts: 3,
            last_error: Cause::Connect { address, .. },
        } = outcome("unreached")
        else {
            panic!("{report}");
        };
        assert_eq!(address, down.addr().to_string());
        let code = Refusal::NotAuthorized;
        assert_eq!(outcome("denied"), Outcome::Refused { code });
        let last_error = Cause::Closed;
        let attempts = 3;
        let kicked = Outcome::RetriesExhausted {
            attempts,
            last_error,
        };
        assert_eq!(outcome("kicked"), kicked);
        let Outcome::Failed { failure } = outcome("clumsy") else {
            panic!("{report}");
        };
        assert_eq!(
            (failure.kind(), failure.panicked()),
            (FailureKind::PubFunction, true)
        );
        assert_eq!(failure.message(), "it slipped on the first tick");
        assert_eq!(report.client("clumsy").unwrap().stats().pub_panics, 1);

        assert_eq!(report.exit_code(), 1);
        assert!(report.abandoned().is_empty(), "{report}");
        let text = report.to_string();
        for (name, reason) in [
            ("good", "stopped"),
            ("unreached", "gave up after 3 attempts: no connection to"),
            ("denied", "not authorized (code 5)"),
            ("kicked", "gave up after 3 attempts: the broker closed"),
            ("clumsy", "it slipped on the first tick"),
        ] {
            let mut rows = text.lines().filter(|line| line.starts_with(name));
            assert!(rows.any(|row| row.contains(reason)), "{name}:\n{text}");
        }
    });
}

/// Fails if the policy stops only the client whose handler failed, or blames the others for it.
#[test]
fn a_failure_can_stop_the_whole_fleet() {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(spec("failing", &broker).subscribe("failing", QoS::AtLeastOnce))
        .client(spec("bystander", &broker))
        .on_message("failing", |_message, _clients| Err("the valve jams".into()))
        .on_failure(OnFailure::StopFleet)
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker
        .publish("failing", QoS::AtLeastOnce, false, "")
        .unwrap();

    fleet.wait_ended(PATIENCE).unwrap();
    let report = fleet.join();
    let Outcome::Failed { failure } = report.client("failing").unwrap().outcome() else {
        panic!("{report}");
    };
    assert_eq!(failure.message(), "the valve jams");
    assert_eq!(failure.topic(), Some("failing"));
    let bystander = report.client("bystander").unwrap();
    assert_eq!(*bystander.outcome(), Outcome::Stopped);
    assert_eq!(bystander.first_failure(), None);
    assert_eq!(report.exit_code(), 1);
}

/// Fails if the default policy stops anything, or if a failure is forgotten once the client goes on.
#[test]
fn a_failure_that_stops_nothing_is_in_the_report() {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(spec("bumpy", &broker).subscribe("bumpy/+", QoS::AtLeastOnce))
        .on_message(
            "bumpy/bad",
            |_message, _clients| Err("the first one".into()),
        )
        .on_message("bumpy/worse", |_message, _clients| {
            Err("the second one".into())
        })
        .workers(1)
        .start()
        .unwrap();
    let client = fleet.client("bumpy").unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    for topic in ["bumpy/bad", "bumpy/worse", "bumpy/good"] {
        broker.publish(topic, QoS::AtLeastOnce, false, "").unwrap();
    }
    proc::wait_until("three messages are handled", PATIENCE, || {
        client.stats().handled + client.stats().unmatched == 3
    });
    assert!(client.is_connected());
    let report = fleet.stop(PATIENCE);
    let bumpy = report.client("bumpy").unwrap();
    assert_eq!(*bumpy.outcome(), Outcome::Stopped);
    assert_eq!(bumpy.first_failure().unwrap().message(), "the first one");
    assert_eq!(bumpy.stats().handler_errors, 2);
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().contains("the first one"), "{report}");
}

/// Fails if a stop counts as something that went wrong.
#[test]
fn a_fleet_of_stopped_clients_exits_with_zero() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("early", &broker), spec("late", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    fleet.client("early").unwrap().stop();
    assert_eq!(ended(&fleet, "early"), Outcome::Stopped);
    let report = fleet.stop(MARGIN);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.abandoned().is_empty());
    assert_eq!(report.clients().len(), 2);
}
