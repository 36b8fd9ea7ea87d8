//! What no broker may send ends its connection, named as a protocol error, and is shown to nobody. The
//! next connection is as good as any.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Fleet, QoS, StateChanges};

use crate::support::fleet::next_state;
use crate::support::receiving::{PATIENCE, tireless};

const STOP: Duration = Duration::from_secs(10);

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

/// Waits until the connection is lost, and asserts what it is said to be lost for.
fn assert_protocol_error(states: &StateChanges, what: &str) {
    let lost = next_state(states, "plant", |state| {
        matches!(state, ClientState::Lost { .. })
    });
    let cause = lost.cause().unwrap();
    assert!(matches!(cause, Cause::Protocol { .. }), "{what}: {cause:?}");
}

/// Fails if a message comes to a handler under a topic that is none: one that is passed on as it came would
/// end the connection to the next broker.
#[test]
fn a_message_without_a_valid_topic() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker).subscribe("#", QoS::ExactlyOnce);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let states = fleet.states();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for topic in ["", "#", "a/+/b", "a\0b"] {
            fleet.wait_subscribed(PATIENCE).unwrap();
            let packet = Packet::Publish {
                topic: topic.to_owned(),
                qos,
                retain: false,
                dup: false,
                packet_id: if qos == QoS::AtMostOnce { 0 } else { 9 },
                payload: "1".into(),
            };
            assert!(broker.send_packet("plant", packet));
            assert_protocol_error(&states, topic);
        }
    }
    fleet.wait_subscribed(PATIENCE).unwrap();
    assert!(fleet.messages().unwrap().is_empty());
    broker.publish("t", QoS::ExactlyOnce, false, "2").unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!((message.topic(), &*message.text()), ("t", "2"));
    fleet.stop(STOP);
}

/// Fails if filters that the broker said nothing about count as granted or refused, or if a code too many
/// counts for a filter of another packet.
#[test]
fn an_answer_without_a_code_for_each_filter() {
    let broker = TestBroker::start().unwrap();
    broker.never_suback(true);
    let spec = plant(&broker)
        .subscribe("a", QoS::AtLeastOnce)
        .subscribe("b", QoS::AtLeastOnce);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let states = fleet.states();
    let asked = || {
        let seen = broker.seen().into_iter();
        let from = seen.filter(|it| it.direction == Direction::In);
        let ids = from.filter_map(|it| match it.packet {
            Packet::Subscribe { packet_id, .. } => Some(packet_id),
            _ => None,
        });
        ids.collect::<Vec<_>>()
    };
    for (n, codes) in [vec![1], vec![1; 3], vec![0x80]].into_iter().enumerate() {
        let came = broker.wait_for(|_| asked().len() > n, PATIENCE);
        came.unwrap();
        let what = format!("{codes:?}");
        let packet_id = asked()[n];
        assert!(broker.send_packet("plant", Packet::Suback { packet_id, codes }));
        assert_protocol_error(&states, &what);
    }
    let client = fleet.client("plant").unwrap();
    client.wait_subscribed(Duration::ZERO).unwrap_err();
    broker.never_suback(false);
    broker.cut("plant");
    client.wait_subscribed(PATIENCE).unwrap();
    assert_eq!(client.stats().refused_subscriptions, 0);
    fleet.stop(STOP);
}
