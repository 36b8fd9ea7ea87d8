//! Answers that are late, missing, repeated, or not what the standard says.

use super::*;
use crate::testing::{ConnectReply, Direction, PingReply};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn pings_are_answered_late_or_never() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    let mut other = Client::clean(&broker, "other");
    for reply in [PingReply::Never, PingReply::Delay(HOUR)] {
        broker.on_ping_of("c", reply);
        client.send(Packet::Pingreq);
        // Another answer comes, and overtakes the late one.
        client.subscribe("t", QoS::AtMostOnce);
        other.ping();
    }
    let delay = Duration::from_millis(30);
    broker.on_ping_of("c", PingReply::Delay(delay));
    let start = std::time::Instant::now();
    // What is to come in an hour does not hold it up.
    client.send(Packet::Pingreq);
    assert_eq!(client.packet(), Packet::Pingresp);
    assert!(start.elapsed() >= delay);
    broker.on_ping(PingReply::Never);
    other.send(Packet::Pingreq);
    other.subscribe("t", QoS::AtMostOnce);
    assert!(broker.kick("c"));
    assert_eq!(client.next(), Found::End);
    broker.clear_faults();
    other.ping();
}

#[test]
fn what_is_picked_is_sent_twice() {
    let broker = broker();
    let mut other = Client::clean(&broker, "other");
    other.subscribe("t", QoS::AtLeastOnce);
    let mut client = Client::clean(&broker, "c");
    broker.send_twice_of("c", |packet| *packet != Packet::Pingresp);
    client.subscribe("t", QoS::ExactlyOnce);
    assert_eq!(client.packet().name(), "SUBACK");

    broker.publish("t", QoS::AtMostOnce, false, "0").unwrap();
    broker.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    broker.publish("t", QoS::ExactlyOnce, false, "2").unwrap();
    assert_eq!(
        client.ping(),
        [
            publish("t", QoS::AtMostOnce, 0, "0"),
            publish("t", QoS::AtMostOnce, 0, "0"),
            publish("t", QoS::AtLeastOnce, 1, "1"),
            repeated("t", QoS::AtLeastOnce, 1, "1"),
            publish("t", QoS::ExactlyOnce, 2, "2"),
            repeated("t", QoS::ExactlyOnce, 2, "2"),
        ]
    );
    // Nobody else gets anything twice.
    assert_eq!(other.ping().len(), 3);
    let pairs = [
        (Packet::Pubrec { packet_id: 2 }, "PUBREL"),
        (publish("x", QoS::AtLeastOnce, 5, ""), "PUBACK"),
        (publish("x", QoS::ExactlyOnce, 6, ""), "PUBREC"),
        (Packet::Pubrel { packet_id: 6 }, "PUBCOMP"),
    ];
    for (sent, answer) in pairs {
        client.send(sent);
        let answers: Vec<_> = client.ping().iter().map(Packet::name).collect();
        assert_eq!(answers, [answer; 2]);
    }
    let is_publish = |seen: &&crate::testing::Seen| {
        seen.client == "c" && seen.direction == Direction::Out && seen.packet.name() == "PUBLISH"
    };
    assert_eq!(broker.seen().iter().filter(is_publish).count(), 6);

    broker.send_twice_of("c", |_| false);
    broker.send_twice(|packet| packet.name() == "PUBLISH");
    broker.publish("t", QoS::AtMostOnce, false, "3").unwrap();
    assert_eq!(client.ping().len(), 1);
    assert_eq!(other.ping().len(), 2);
    broker.clear_faults();
    broker.publish("t", QoS::AtMostOnce, false, "4").unwrap();
    assert_eq!(other.ping().len(), 1);
}

#[test]
fn any_packet_can_be_sent() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    let packets = [
        Packet::Puback { packet_id: 4711 },
        Packet::Pubrel { packet_id: 0 },
        Packet::Suback {
            packet_id: 3,
            codes: vec![0, 3, 0x80, 0xFF],
        },
        publish("not/a/+/topic", QoS::ExactlyOnce, 0, "x"),
        connect("you", true, Some(will("w"))),
        connack(42, true),
        Packet::Unsubscribe {
            packet_id: 1,
            filters: vec!["a".into()],
        },
        subscribe("a", QoS::AtMostOnce),
        Packet::Pingreq,
        Packet::Disconnect,
    ];
    for packet in &packets {
        assert!(broker.send_packet("c", packet.clone()));
    }
    // As bytes: the codec of the tests would not read all of them.
    let expected = encoded(&packets);
    assert_eq!(client.bytes(expected.len()), expected);
    client.ping();
    for packet in packets {
        let is_it =
            |seen: &crate::testing::Seen| seen.direction == Direction::Out && seen.packet == packet;
        assert!(broker.seen().iter().any(is_it), "{packet}");
    }
    assert!(!broker.send_packet("nobody", Packet::Pingreq));

    // To one that is not connected, too.
    broker.on_connect_of("mute", ConnectReply::Never);
    let mut mute = Client::open(&broker);
    mute.send(connect("mute", true, None));
    broker
        .wait_for(|_| broker.connects("mute") == 1, LIMIT)
        .unwrap();
    assert!(broker.send_packet("mute", connack(0, false)));
    assert!(broker.send_raw("mute", &b"\xD0\x00"[..]));
    assert_eq!(mute.packet(), connack(0, false));
    assert_eq!(mute.packet(), Packet::Pingresp);

    let too_long = publish(&"x".repeat(1 << 16), QoS::AtMostOnce, 0, "");
    assert!(broker.send_packet("c", too_long));
    assert_eq!(client.next(), Found::End);
}

#[test]
fn a_connect_is_answered_with_bytes() {
    let broker = broker();
    broker.on_connect_raw(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]);
    broker.on_connect_raw_of("c", &b"\x20\x02\x00"[..]);
    let mut any = Client::open(&broker);
    any.send(connect("any", true, None));
    assert_eq!(any.bytes(28), b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let mut client = Client::open(&broker);
    client.send(connect("c", true, None));
    client.send(Packet::Pingreq);
    assert_eq!(client.bytes(3), b"\x20\x02\x00");
    broker.on_connect_of("fine", ConnectReply::Accept);
    Client::clean(&broker, "fine").ping();
    let is_ping = |seen: &[crate::testing::Seen]| {
        let mut pings = seen.iter().filter(|seen| seen.packet == Packet::Pingreq);
        pings.any(|seen| seen.client == "c")
    };
    broker.wait_for(is_ping, LIMIT).unwrap();
    client.finds_nothing();
    any.finds_nothing();
    assert!(!broker.connected().contains(&"c".to_owned()));
    assert!(broker.kick("c"));
    assert_eq!(client.next(), Found::End);
    broker.on_connect_of("c", ConnectReply::Accept);
    Client::clean(&broker, "c").ping();
}
