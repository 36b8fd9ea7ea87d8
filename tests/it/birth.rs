//! The birth message: after every CONNACK, after SUBSCRIBE and before anything else.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, Seen, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS, Session};

use crate::support::receiving::{PATIENCE, subscribed, tireless, wait_for_publishes};

const STOP: Duration = Duration::from_secs(10);

/// What came on each connection of the client "plant", from CONNECT on.
fn sent(broker: &TestBroker) -> Vec<Vec<String>> {
    let mut connections: Vec<Vec<String>> = Vec::new();
    let seen = broker.seen();
    let from_it = seen
        .iter()
        .filter(|it| it.client == "plant" && it.direction == Direction::In);
    for seen in from_it {
        let text = match &seen.packet {
            Packet::Connect { .. } => {
                connections.push(Vec::new());
                continue;
            }
            Packet::Publish {
                topic,
                payload,
                retain,
                dup,
                ..
            } => {
                let payload = String::from_utf8_lossy(payload);
                let retain = if *retain { " retain" } else { "" };
                let dup = if *dup { " dup" } else { "" };
                format!("{topic} {payload}{retain}{dup}")
            }
            other => other.name().to_owned(),
        };
        connections.last_mut().unwrap().push(text);
    }
    connections
}

fn plant(broker: &TestBroker, session: Session) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(session)
        .retry(tireless())
        .subscribe("cmd", QoS::AtLeastOnce)
        .birth("state/{name}", QoS::AtLeastOnce, true, "online")
}

/// Fails when the birth message is missing on a later connection, comes after a message that waited, or
/// before SUBSCRIBE: who reads "online" and sends a command would lose it.
#[test]
fn it_opens_every_connection() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let fleet = Fleet::builder()
        .client(plant(&broker, Session::Clean))
        .start()
        .unwrap();
    let client = fleet.client("plant").unwrap();
    client
        .publish("t", QoS::AtMostOnce, false, "waited")
        .unwrap();
    broker.restart(mqtt_fleet::testing::Sessions::Lost).unwrap();
    wait_for_publishes(&broker, "plant", 2);
    broker.kick("plant");
    wait_for_publishes(&broker, "plant", 3);
    fleet.wait_subscribed(PATIENCE).unwrap();
    client
        .publish("t", QoS::AtMostOnce, false, "later")
        .unwrap();
    wait_for_publishes(&broker, "plant", 4);
    let birth = "state/plant online retain";
    let sent = sent(&broker);
    assert_eq!(sent[0][..3], ["SUBSCRIBE", birth, "t waited"]);
    assert_eq!(sent[1][..3], ["SUBSCRIBE", birth, "t later"]);
    // Retained: who comes later reads it too.
    let reader = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("reader", broker.url()).subscribe("state/+", QoS::AtMostOnce)),
    );
    let message = reader.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (message.text().as_ref(), message.retain()),
        ("online", true)
    );
    fleet.stop(STOP);
    reader.stop(STOP);
}

/// Fails when, in a kept session, the repetition of an older message overtakes the birth message, or
/// when the birth message of the old connection takes the place of the new one.
#[test]
fn it_precedes_what_is_repeated() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, Session::Kept)));
    let client = fleet.client("plant").unwrap();
    wait_for_publishes(&broker, "plant", 1);
    let acknowledged = |seen: &[Seen]| {
        let mut sent = seen.iter().filter(|it| it.client == "plant");
        sent.any(|it| matches!(it.packet, Packet::Puback { .. }))
    };
    broker.wait_for(acknowledged, PATIENCE).unwrap();
    broker.hold_acks(true);
    client
        .publish("t", QoS::AtLeastOnce, false, "first")
        .unwrap();
    wait_for_publishes(&broker, "plant", 2);
    broker.cut("plant");
    broker.hold_acks(false);
    wait_for_publishes(&broker, "plant", 4);
    let sent = sent(&broker);
    assert_eq!(sent[1][..2], ["state/plant online retain", "t first dup"]);
    fleet.stop(STOP);
}
