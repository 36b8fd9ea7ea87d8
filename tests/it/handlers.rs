//! A handler that fails harms nobody else, is reported, and is followed by what the policy says.

use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, FailureKind, Fleet, OnFailure, Outcome, QoS, Repeat};

use crate::support::proc::wait_until;
use crate::support::receiving::{Got, PATIENCE, numbered, subscribed, take};

const STOP: Duration = Duration::from_secs(10);

/// Fails when a panic ends its worker or another message's handling, or is missing in the counts, the
/// report or the exit code; likewise for an error.
#[test]
fn a_failure_leaves_the_others_alone_and_is_in_the_report() {
    let broker = TestBroker::start().unwrap();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .clients(
                ClientSpec::new("dev-{i}", broker.url())
                    .subscribe("{i}/+", QoS::AtLeastOnce)
                    .times(3),
            )
            .workers(1)
            .on_message("0/bad", |_message, _clients| panic!("the sensor burns"))
            .on_message("1/bad", |message, _clients| {
                Err(format!("not a number: {}", message.text()).into())
            })
            // Runs also after a handler of the same message has failed.
            .on_message("#", move |message, _clients| {
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    for n in 0..5 {
        for client in 0..3 {
            for topic in ["bad", "good"] {
                let topic = format!("{client}/{topic}");
                broker
                    .publish(topic, QoS::AtLeastOnce, false, numbered(n))
                    .unwrap();
            }
        }
    }
    take(&handled, 30);
    let report = fleet.stop(STOP);
    assert_eq!(report.exit_code(), 1);
    for client in report.clients() {
        let stats = client.stats();
        assert_eq!(
            (stats.received, stats.handled),
            (10, 10),
            "{}",
            client.name()
        );
        assert_eq!(*client.outcome(), Outcome::Stopped);
    }
    let of = |name| {
        let client = report.client(name).unwrap();
        let stats = client.stats();
        (
            stats.handler_panics,
            stats.handler_errors,
            client.first_failure(),
        )
    };
    let (panics, errors, failure) = of("dev-0");
    let failure = failure.unwrap();
    assert_eq!((panics, errors), (5, 0));
    assert_eq!(failure.message(), "the sensor burns");
    assert_eq!(
        (failure.client(), failure.topic()),
        ("dev-0", Some("0/bad"))
    );
    assert!(failure.panicked());
    assert_eq!(failure.kind(), FailureKind::Handler);
    let (panics, errors, failure) = of("dev-1");
    let failure = failure.unwrap();
    assert_eq!((panics, errors), (0, 5));
    assert_eq!(
        failure.message(),
        "not a number: 0",
        "the first one is kept"
    );
    assert!(!failure.panicked());
    assert_eq!(of("dev-2"), (0, 0, None));
    let text = report.to_string();
    assert!(text.contains("the sensor burns"), "{text}");
}

/// Fails when a retry is left out or one too many, when the dead-letter function is called for a
/// message that came through in the end, or when its own failure is lost.
#[test]
fn a_message_is_tried_again_and_then_dead() {
    let broker = TestBroker::start().unwrap();
    let (call, calls) = unbounded();
    let (bury, dead) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("plant", broker.url()).subscribe("#", QoS::AtLeastOnce))
            .workers(1)
            .on_failure(OnFailure::Retry(Repeat::times(2)))
            .on_message("#", move |message, _clients| {
                call.send(message.topic().to_owned())?;
                match (message.topic(), call.len()) {
                    ("good", _) => Ok(()),
                    ("second", 2..) => Ok(()),
                    ("panics", _) => panic!("no luck"),
                    (_, call) => Err(format!("call {call}").into()),
                }
            })
            .dead_letter(move |message, failure| {
                bury.send((Got::of(message), failure.clone()))?;
                match message.topic() {
                    "panics" => Err("the morgue is full".into()),
                    _ => Ok(()),
                }
            }),
    );
    let client = fleet.client("plant").unwrap();
    let mut handled = 0;
    // Each message is handled, and its calls are taken, before the next one is sent.
    let mut calls_for = |topic: &str| {
        broker
            .publish(topic, QoS::AtLeastOnce, false, "it")
            .unwrap();
        handled += 1;
        wait_until("the message is handled", PATIENCE, || {
            client.stats().handled == handled
        });
        let calls: Vec<String> = calls.try_iter().collect();
        assert!(calls.iter().all(|it| it == topic), "{calls:?}");
        calls.len()
    };
    assert_eq!(calls_for("good"), 1);
    assert_eq!(calls_for("fails"), 3);
    let (message, failure) = dead.recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.topic, "fails");
    assert_eq!(failure.message(), "call 3", "the last failure is given");
    assert_eq!(failure.kind(), FailureKind::Handler);
    assert_eq!(calls_for("panics"), 3);
    let (message, failure) = dead.recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.topic, "panics");
    assert!(failure.panicked() && failure.message() == "no luck");
    assert_eq!(calls_for("second"), 2);
    assert_eq!(dead.len(), 0, "once for each dead message");
    let report = fleet.stop(STOP);
    let stats = report.total();
    assert_eq!(stats.dead_letters, 2);
    assert_eq!(stats.handler_panics, 3);
    // Three for "fails", one for "second", and the dead-letter function's own.
    assert_eq!(stats.handler_errors, 3 + 1 + 1);
    assert_eq!(report.exit_code(), 1);
}

/// Fails when the policy stops another client, or none, or when the outcome does not say why.
#[test]
fn stop_client_stops_only_that_one() {
    let broker = TestBroker::start().unwrap();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .clients(
                ClientSpec::new("dev-{i}", broker.url())
                    .subscribe("{i}/+", QoS::AtLeastOnce)
                    .times(3),
            )
            .workers(2)
            .on_failure(OnFailure::StopClient)
            .on_message("+/bad", |_message, _clients| Err("broken valve".into()))
            .on_message("+/good", move |message, _clients| {
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    broker
        .publish("1/bad", QoS::AtLeastOnce, false, "it")
        .unwrap();
    let failed = fleet.client("dev-1").unwrap();
    let outcome = failed.wait_ended(PATIENCE).unwrap();
    let Outcome::Failed { failure } = &outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(failure.message(), "broken valve");
    for client in ["0", "1", "2"] {
        broker
            .publish(format!("{client}/good"), QoS::AtLeastOnce, false, "it")
            .unwrap();
    }
    let mut clients: Vec<String> = take(&handled, 2).into_iter().map(|it| it.client).collect();
    clients.sort();
    assert_eq!(clients, ["dev-0", "dev-2"]);
    assert!(fleet.client("dev-0").unwrap().is_connected());
    let report = fleet.stop(STOP);
    assert_eq!(report.client("dev-1").unwrap().outcome(), &outcome);
    for name in ["dev-0", "dev-2"] {
        assert_eq!(report.client(name).unwrap().outcome(), &Outcome::Stopped);
    }
    assert_eq!(report.exit_code(), 1);
    assert_eq!(handled.len(), 0);
}

/// Fails when the policy leaves a client running.
#[test]
fn stop_fleet_stops_all() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(
        Fleet::builder()
            .clients(
                ClientSpec::new("dev-{i}", broker.url())
                    .subscribe("{i}", QoS::AtLeastOnce)
                    .times(3),
            )
            .on_failure(OnFailure::StopFleet)
            .on_message("1", |_message, _clients| panic!("enough")),
    );
    broker.publish("1", QoS::AtLeastOnce, false, "it").unwrap();
    fleet.wait_ended(PATIENCE).unwrap();
    let report = fleet.join();
    let outcome = report.client("dev-1").unwrap().outcome();
    assert!(
        matches!(outcome, Outcome::Failed { failure } if failure.message() == "enough"),
        "{outcome}"
    );
    assert_eq!(report.client("dev-0").unwrap().outcome(), &Outcome::Stopped);
    assert_eq!(report.exit_code(), 1);
}
