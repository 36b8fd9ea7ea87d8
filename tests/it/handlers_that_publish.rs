//! A handler may publish: to its own client while its queue floods, and to another one.

use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::{Direction, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, PublishError, PublishErrorKind, QoS};

use crate::support::proc::wait_until;
use crate::support::receiving::{
    Got, PATIENCE, number, numbered, publishes, subscribed, take, wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);

/// The client answers each message of a flood to itself; the broker acknowledges late.
struct Echo {
    broker: TestBroker,
    fleet: Fleet,
}

/// `answer` publishes the answer on the client that received the message.
fn echo(answer: fn(&mqtt_fleet::Client, Vec<u8>) -> Result<(), PublishError>) -> Echo {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(
        Fleet::builder()
            .client(
                ClientSpec::new("echo", broker.url())
                    .client_id("echo")
                    .subscribe("ask/+", QoS::AtLeastOnce)
                    .outbox_capacity(2)
                    .window(5),
            )
            .workers(2)
            .on_message("ask/+", move |message, clients| {
                answer(&clients.get("echo")?, message.payload().to_vec())?;
                Ok(())
            }),
    );
    Echo { broker, fleet }
}

impl Echo {
    fn flood(&self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            let (topic, qos) = [("ask/a", QoS::AtLeastOnce), ("ask/b", QoS::AtMostOnce)][n % 2];
            self.broker.publish(topic, qos, false, numbered(n)).unwrap();
        }
    }

    /// The numbers that were answered, sorted.
    fn answers(&self) -> Vec<usize> {
        let seen = self.broker.seen();
        let mut numbers: Vec<usize> = publishes(&seen, "echo", Direction::In)
            .iter()
            .map(|publish| number(&publish.payload))
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Fails when a publish from a handler waits for the network thread while that waits for the handler:
/// with an outbox of two and a window of five, each of 600 answers has to wait for room.
#[test]
fn publishing_to_its_own_client_does_not_deadlock() {
    let echo = echo(|client, payload| {
        client.publish("answer", QoS::AtLeastOnce, false, payload)?;
        Ok(())
    });
    echo.flood(0..300);
    wait_for_publishes(&echo.broker, "echo", 300);
    // Now nothing is acknowledged for a while: window, outbox and workers are all full.
    echo.broker.hold_acks(true);
    echo.flood(300..600);
    let client = echo.fleet.client("echo").unwrap();
    wait_until(
        "the flood has come and the outbox is full",
        PATIENCE,
        || {
            // The broker's window holds back what the handlers do not get to.
            client.queued() == 2 && client.stats().received > 450
        },
    );
    let ledger = client.ledger();
    assert!(ledger.finished() < 600, "{ledger:?}");
    echo.broker.hold_acks(false);
    wait_for_publishes(&echo.broker, "echo", 600);
    assert_eq!(echo.answers(), (0..600).collect::<Vec<_>>());
    let report = echo.fleet.stop(STOP);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(report.total().connects, 1);
}

/// Fails when `try_publish` in a handler waits, or when a message that it did not take is sent or an
/// accepted one is not.
#[test]
fn try_publish_to_its_own_client_never_waits() {
    let echo = echo(|client, payload| {
        match client.try_publish("answer", QoS::AtLeastOnce, false, payload) {
            Err(error) if error.kind() == PublishErrorKind::Full => Ok(()),
            other => other.map(drop),
        }
    });
    echo.broker.hold_acks(true);
    echo.flood(0..400);
    let client = echo.fleet.client("echo").unwrap();
    wait_until("all handlers have returned", PATIENCE, || {
        client.stats().handled == 400
    });
    // At most five under way and two in the outbox: the others were refused at once.
    let accepted = client.stats().published.accepted as usize;
    assert!((2..=7).contains(&accepted), "{accepted}");
    echo.broker.hold_acks(false);
    wait_for_publishes(&echo.broker, "echo", accepted);
    let report = echo.fleet.stop(STOP);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(echo.answers().len(), accepted);
    assert_eq!(report.total().published.accepted, accepted as u64);
}

/// Fails when a handler can't reach the other clients, or when messages get lost or mixed up on the way
/// through two clients.
#[test]
fn a_gateway_between_two_brokers_keeps_all_in_order() {
    let (plant, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (sink, arrived) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("plant", plant.url()).subscribe("sensors/#", QoS::AtLeastOnce))
            .client(
                ClientSpec::new("cloud", cloud.url())
                    .outbox_capacity(3)
                    .subscribe("plant/#", QoS::AtLeastOnce),
            )
            .workers(2)
            .on_message("sensors/#", |message, clients| {
                let topic = format!("plant/{}", message.topic());
                let payload = message.payload().clone();
                clients
                    .get("cloud")?
                    .publish(topic, message.qos(), false, payload)?;
                Ok(())
            })
            .on_message("plant/#", move |message, _clients| {
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    for n in 0..200 {
        for sensor in ["a", "b"] {
            let topic = format!("sensors/{sensor}");
            plant
                .publish(topic, QoS::AtLeastOnce, false, numbered(n))
                .unwrap();
        }
    }
    let all = take(&arrived, 400);
    for sensor in ["a", "b"] {
        let topic = format!("plant/sensors/{sensor}");
        let of = all.iter().filter(|it| it.topic == topic);
        let numbers: Vec<usize> = of.map(|it| number(it.text.as_bytes())).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "{topic}");
    }
    assert!(all.iter().all(|it| it.client == "cloud"));
    assert_eq!(fleet.stop(STOP).exit_code(), 0);
}
