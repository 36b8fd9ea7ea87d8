//! Routing, quality of service, retained messages, shared subscriptions.

use super::*;
use crate::testing::Direction;

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn delivers_at_the_lower_qos_of_both_sides() {
    for granted in LEVELS {
        let broker = broker();
        let mut subscriber = Client::clean(&broker, "s");
        subscriber.subscribe("a/+", granted);
        let mut publisher = Client::clean(&broker, "p");
        for sent in LEVELS {
            publisher.send(publish("a/b", sent, 5, "x"));
            publisher.send(publish("b/b", sent, 6, "not wanted"));
            let (qos, packet_id) = match subscriber.packet() {
                Packet::Publish { qos, packet_id, .. } => (qos, packet_id),
                other => panic!("{other}"),
            };
            assert_eq!(qos, sent.min(granted));
            assert_eq!(packet_id == 0, qos == QoS::AtMostOnce);
        }
    }
}

#[test]
fn acknowledges_what_a_client_publishes() {
    let broker = broker();
    let mut client = Client::clean(&broker, "p");
    client.send(publish("t", QoS::AtLeastOnce, 5, "1"));
    assert_eq!(client.packet(), Packet::Puback { packet_id: 5 });
    client.send(publish("t", QoS::ExactlyOnce, 6, "2"));
    assert_eq!(client.packet(), Packet::Pubrec { packet_id: 6 });
    client.send(Packet::Pubrel { packet_id: 6 });
    assert_eq!(client.packet(), Packet::Pubcomp { packet_id: 6 });
    assert_eq!(broker.published("t"), ["1", "2"]);
}

#[test]
fn a_repeated_qos_2_message_is_routed_once() {
    let broker = broker();
    let mut subscriber = Client::clean(&broker, "s");
    subscriber.subscribe("t", QoS::AtMostOnce);
    let mut publisher = Client::clean(&broker, "p");
    for _ in 0..3 {
        publisher.send(publish("t", QoS::ExactlyOnce, 6, "once"));
        assert_eq!(publisher.packet(), Packet::Pubrec { packet_id: 6 });
    }
    assert_eq!(subscriber.ping().len(), 1);
    publisher.send(Packet::Pubrel { packet_id: 6 });
    assert_eq!(publisher.packet(), Packet::Pubcomp { packet_id: 6 });
    publisher.send(publish("t", QoS::ExactlyOnce, 6, "again"));
    assert_eq!(publisher.packet(), Packet::Pubrec { packet_id: 6 });
    assert_eq!(
        subscriber.ping(),
        [publish("t", QoS::AtMostOnce, 0, "again")]
    );
}

#[test]
fn a_qos_2_message_goes_out_in_four_steps() {
    let broker = broker();
    let mut client = Client::clean(&broker, "s");
    client.subscribe("t", QoS::ExactlyOnce);
    broker.publish("t", QoS::ExactlyOnce, false, "x").unwrap();
    assert_eq!(client.packet(), publish("t", QoS::ExactlyOnce, 1, "x"));
    client.send(Packet::Pubrec { packet_id: 1 });
    assert_eq!(client.packet(), Packet::Pubrel { packet_id: 1 });
    client.send(Packet::Pubcomp { packet_id: 1 });
    assert!(client.ping().is_empty());
}

#[test]
fn overlapping_subscriptions_deliver_once_at_the_highest_qos() {
    let broker = broker();
    let mut client = Client::clean(&broker, "s");
    client.subscribe("a/#", QoS::AtMostOnce);
    client.subscribe("a/b", QoS::AtLeastOnce);
    client.subscribe("+/b", QoS::AtMostOnce);
    broker.publish("a/b", QoS::ExactlyOnce, false, "x").unwrap();
    assert_eq!(client.ping(), [publish("a/b", QoS::AtLeastOnce, 1, "x")]);
}

#[test]
fn unsubscribing_ends_the_messages() {
    let broker = broker();
    let mut client = Client::clean(&broker, "s");
    client.subscribe("a/#", QoS::AtMostOnce);
    client.subscribe("b", QoS::AtMostOnce);
    client.send(Packet::Unsubscribe {
        packet_id: 3,
        filters: vec!["a/#".into(), "b".into()],
    });
    assert_eq!(client.packet(), Packet::Unsuback { packet_id: 3 });
    broker.publish("a/b", QoS::AtMostOnce, false, "x").unwrap();
    broker.publish("b", QoS::AtMostOnce, false, "x").unwrap();
    assert!(client.ping().is_empty());
}

#[test]
fn retained_messages_reach_later_subscribers() {
    let broker = broker();
    let mut early = Client::clean(&broker, "early");
    early.subscribe("r/#", QoS::AtLeastOnce);
    early.send(retained("r/1", QoS::AtLeastOnce, 4, "old"));
    early.send(retained("r/1", QoS::AtMostOnce, 0, "new"));
    let direct = early.ping();
    broker
        .publish("r/2", QoS::AtLeastOnce, true, "two")
        .unwrap();
    assert!(direct.contains(&publish("r/1", QoS::AtLeastOnce, 1, "old")));
    assert!(direct.contains(&publish("r/1", QoS::AtMostOnce, 0, "new")));

    let mut late = Client::clean(&broker, "late");
    late.subscribe("r/+", QoS::AtLeastOnce);
    assert_eq!(
        late.ping(),
        [
            retained("r/1", QoS::AtMostOnce, 0, "new"),
            retained("r/2", QoS::AtLeastOnce, 1, "two"),
        ]
    );
    broker.publish("r/1", QoS::AtMostOnce, true, "").unwrap();
    assert_eq!(late.ping(), [publish("r/1", QoS::AtMostOnce, 0, "")]);
    let mut last = Client::clean(&broker, "last");
    last.subscribe("r/1", QoS::AtLeastOnce);
    assert!(last.ping().is_empty());
}

#[test]
fn the_window_makes_messages_wait() {
    let broker = TestBroker::builder().window(2).start().unwrap();
    let mut client = Client::clean(&broker, "s");
    client.subscribe("t", QoS::ExactlyOnce);
    for payload in ["1", "2", "3", "4"] {
        broker
            .publish("t", QoS::AtLeastOnce, false, payload)
            .unwrap();
    }
    broker.publish("t", QoS::AtMostOnce, false, "0").unwrap();
    assert_eq!(
        client.ping(),
        [
            publish("t", QoS::AtLeastOnce, 1, "1"),
            publish("t", QoS::AtLeastOnce, 2, "2"),
            publish("t", QoS::AtMostOnce, 0, "0"),
        ]
    );
    client.send(Packet::Puback { packet_id: 2 });
    assert_eq!(client.ping(), [publish("t", QoS::AtLeastOnce, 3, "3")]);
    client.send(Packet::Puback { packet_id: 1 });
    assert_eq!(client.ping(), [publish("t", QoS::AtLeastOnce, 4, "4")]);
}

#[test]
fn shared_subscriptions_take_turns() {
    let broker = broker();
    let mut members: Vec<_> = ["a", "b"]
        .map(|id| Client::clean(&broker, id))
        .into_iter()
        .collect();
    for member in &mut members {
        member.subscribe("$share/g/t", QoS::AtMostOnce);
    }
    for payload in ["1", "2", "3", "4"] {
        broker
            .publish("t", QoS::AtMostOnce, false, payload)
            .unwrap();
    }
    for member in &mut members {
        assert_eq!(member.ping().len(), 2);
    }
    broker.kick("a");
    broker.publish("t", QoS::AtMostOnce, false, "5").unwrap();
    broker.publish("t", QoS::AtMostOnce, false, "6").unwrap();
    assert_eq!(members[1].ping().len(), 2);
}

#[test]
fn order_is_kept_over_many_messages() {
    let broker = broker();
    let mut client = Client::clean(&broker, "s");
    client.subscribe("t", QoS::AtLeastOnce);
    let n_messages = 500;
    for number in 0..n_messages {
        let payload = number.to_string();
        broker
            .publish("t", QoS::AtLeastOnce, false, payload)
            .unwrap();
    }
    for number in 0..n_messages {
        let Packet::Publish {
            payload, packet_id, ..
        } = client.packet()
        else {
            panic!("no message");
        };
        assert_eq!(payload, number.to_string());
        client.send(Packet::Puback { packet_id });
    }
}

#[test]
fn a_client_that_does_not_read_stalls_nobody() {
    let broker = broker();
    let mut stuck = Client::clean(&broker, "stuck");
    stuck.subscribe("#", QoS::AtMostOnce);
    let mut quick = Client::clean(&broker, "quick");
    quick.subscribe("t", QoS::AtMostOnce);
    let payload = vec![0; 1 << 20];
    for _ in 0..16 {
        broker
            .publish("t", QoS::AtMostOnce, false, payload.clone())
            .unwrap();
    }
    assert_eq!(quick.ping().len(), 16);
    let is_stuck = broker.counts().publishes_sent < 32;
    assert!(is_stuck, "the socket took 16 MiB, so this proves nothing");
    // A writer that is stuck ends, too, with a reset or without.
    assert!(broker.cut("stuck"));
    let mut found = stuck.next();
    while let Found::Packet(_) = found {
        found = stuck.next();
    }
    assert_eq!(found, Found::Reset);
    let mut stuck = Client::clean(&broker, "stuck");
    stuck.subscribe("#", QoS::AtMostOnce);
    for _ in 0..16 {
        broker
            .publish("s", QoS::AtMostOnce, false, payload.clone())
            .unwrap();
    }
    drop(broker);
    assert_eq!(quick.next(), Found::End);
}

#[test]
fn the_record_has_both_directions_in_order() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    client.ping();
    let seen = broker.seen();
    let summary: Vec<_> = seen
        .iter()
        .map(|seen| (seen.connection, seen.direction, seen.packet.name()))
        .collect();
    assert_eq!(
        summary,
        [
            (1, Direction::In, "CONNECT"),
            (1, Direction::Out, "CONNACK"),
            (1, Direction::In, "PINGREQ"),
            (1, Direction::Out, "PINGRESP"),
        ]
    );
    assert!(seen.iter().all(|seen| seen.client == "c"));
    broker.record(false);
    client.ping();
    assert_eq!(broker.seen().len(), 4);
    assert_eq!((broker.counts().received, broker.counts().sent), (3, 3));
}
