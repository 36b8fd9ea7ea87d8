//! The faults, one after the other.

use super::*;
use crate::testing::ConnectReply;

#[test]
fn connack_codes_are_sent_as_told() {
    let broker = broker();
    for code in 1..=5 {
        broker.on_connect(ConnectReply::Code(code));
        let mut client = Client::open(&broker);
        client.send(connect("c", true, None));
        assert_eq!(client.packet(), connack(code, false));
        assert_eq!(client.next(), Found::End);
    }
    broker.on_connect_of("special", ConnectReply::Accept);
    Client::clean(&broker, "special").ping();
    assert_eq!(broker.connects_total(), 6);
}

#[test]
fn the_codes_of_the_standard() {
    let broker = TestBroker::builder()
        .login("user", "right")
        .start()
        .unwrap();
    let answer = |id: &str, clean, username: Option<&str>, password: Option<&str>| {
        let mut client = Client::open(&broker);
        let mut packet = connect(id, clean, None);
        if let Packet::Connect { username: name, .. } = &mut packet {
            *name = username.map(Into::into);
        }
        client.send_with(packet, password);
        match client.packet() {
            Packet::Connack { code, .. } => code,
            other => panic!("{other}"),
        }
    };
    assert_eq!(answer("c", true, Some("user"), Some("right")), 0);
    assert_eq!(answer("c", true, Some("user"), Some("wrong")), 4);
    assert_eq!(answer("c", true, Some("user"), None), 4);
    assert_eq!(answer("c", true, Some("other"), Some("right")), 4);
    assert_eq!(answer("c", true, None, None), 5);
    assert_eq!(answer("", false, Some("user"), Some("right")), 2);
    assert_eq!(answer("", true, Some("user"), Some("right")), 0);
    let shown = format!("{broker:?}{:?}", TestBroker::builder().login("u", "right"));
    assert!(!shown.contains("right"), "a password is shown");
}

#[test]
fn another_protocol_version_is_refused() {
    let broker = broker();
    for bytes in [
        &b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x02me"[..],
        b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x00\x00\x02me",
    ] {
        let mut client = Client::open(&broker);
        client.socket.write_all(bytes).unwrap();
        assert_eq!(client.packet(), connack(1, false));
        assert_eq!(client.next(), Found::End);
    }
}

#[test]
fn a_connect_that_is_never_answered() {
    let broker = broker();
    broker.on_connect(ConnectReply::Never);
    let mut client = Client::open(&broker);
    client.send(connect("c", true, Some(will("w"))));
    client.send(Packet::Pingreq);
    let is_ping =
        |seen: &[crate::testing::Seen]| seen.iter().any(|seen| seen.packet == Packet::Pingreq);
    broker.wait_for(is_ping, LIMIT).unwrap();
    assert!(broker.connected().is_empty());
    assert!(broker.kick("c"));
    assert_eq!(client.next(), Found::End);
    assert!(!broker.kick("c"));
}

#[test]
fn accept_then_kick_and_close() {
    let broker = broker();
    broker.on_connect_of("kick", ConnectReply::AcceptThenKick);
    broker.on_connect_of("close", ConnectReply::Close);
    let mut client = Client::clean(&broker, "kick");
    assert_eq!(client.next(), Found::End);
    let mut client = Client::open(&broker);
    client.send(connect("close", true, None));
    assert_eq!(client.next(), Found::End);
}

#[test]
fn a_late_connack() {
    let broker = broker();
    let delay = Duration::from_millis(60);
    broker.on_connect(ConnectReply::Delay(delay));
    let start = std::time::Instant::now();
    let mut client = Client::clean(&broker, "c");
    assert!(start.elapsed() >= delay);
    client.ping();
    // Who gives up is not connected, and does not take over who came later.
    broker.on_connect(ConnectReply::Delay(Duration::from_secs(3600)));
    let mut impatient = Client::open(&broker);
    impatient.send(connect("c", true, None));
    broker
        .wait_for(|_| broker.connects("c") == 2, LIMIT)
        .unwrap();
    drop(impatient);
    client.ping();
    assert_eq!(broker.connected(), ["c"]);
}

#[test]
fn a_kick_comes_after_what_was_queued() {
    let broker = broker();
    for n_messages in [1, 10, 100] {
        let mut client = Client::clean(&broker, "c");
        client.subscribe("t", QoS::AtMostOnce);
        for _ in 0..n_messages {
            broker.publish("t", QoS::AtMostOnce, false, "x").unwrap();
        }
        assert!(broker.kick("c"));
        for _ in 0..n_messages {
            assert_eq!(client.packet(), publish("t", QoS::AtMostOnce, 0, "x"));
        }
        assert_eq!(client.next(), Found::End);
    }
}

#[test]
fn a_slow_read_fills_the_socket_of_the_client() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    broker.read_slowly("c", Duration::from_secs(3600));
    // The read that waits already is not slow; the next one is.
    client.ping();
    client.socket.set_nonblocking(true).unwrap();
    let chunk = vec![0; 1 << 16];
    let error = loop {
        if let Err(error) = client.socket.write(&chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    Client::clean(&broker, "other").ping();
    assert!(broker.kick("c"));
}

#[test]
fn cut_resets() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    assert!(broker.cut("c"));
    assert!(!broker.cut("c"));
    assert_eq!(client.next(), Found::Reset);
    assert!(broker.connected().is_empty());
}

#[test]
fn cut_after_some_packets() {
    let broker = broker();
    broker.cut_after("c", 3);
    let mut client = Client::clean(&broker, "c");
    client.ping();
    client.send(publish("t", QoS::AtLeastOnce, 1, "x"));
    assert_eq!(client.next(), Found::Reset);
    assert_eq!(broker.published("t"), ["x"]);
    Client::clean(&broker, "c").ping();
}

#[test]
fn silence_is_half_open() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    client.subscribe("t", QoS::AtMostOnce);
    assert!(broker.silence("c"));
    let n_seen = broker.seen().len();
    broker.publish("t", QoS::AtMostOnce, false, "x").unwrap();
    client.send(Packet::Pingreq);
    // Another client's round trip gives the broker the time to do wrong.
    let mut other = Client::clean(&broker, "other");
    other.ping();
    client.finds_nothing();
    assert_eq!(broker.connected(), ["c", "other"]);
    let of_client = broker.seen().into_iter().filter(|seen| seen.client == "c");
    assert_eq!(of_client.count(), n_seen);
    assert!(broker.kick("c"));
    assert_eq!(client.next(), Found::End);
}

#[test]
fn held_acknowledgements_come_in_order_when_released() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    let mut other = Client::clean(&broker, "other");
    broker.hold_acks_of("c", true);
    client.send(publish("t", QoS::AtLeastOnce, 1, "1"));
    client.send(publish("t", QoS::ExactlyOnce, 2, "2"));
    assert!(client.ping().is_empty());
    other.send(publish("t", QoS::AtLeastOnce, 7, "3"));
    assert_eq!(other.packet(), Packet::Puback { packet_id: 7 });
    broker.hold_acks_of("c", false);
    assert_eq!(client.packet(), Packet::Puback { packet_id: 1 });
    assert_eq!(client.packet(), Packet::Pubrec { packet_id: 2 });

    broker.hold_acks(true);
    client.send(publish("t", QoS::AtLeastOnce, 3, "4"));
    client.send(publish("t", QoS::AtLeastOnce, 4, "5"));
    assert!(client.ping().is_empty());
    broker.release_acks_reversed("c");
    assert_eq!(client.packet(), Packet::Puback { packet_id: 4 });
    assert_eq!(client.packet(), Packet::Puback { packet_id: 3 });
    assert_eq!(broker.published("t"), ["1", "2", "3", "4", "5"]);
}

#[test]
fn subscriptions_fail_or_are_not_answered() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    broker.fail_subscribe("no/#");
    client.send(Packet::Subscribe {
        packet_id: 9,
        filters: vec![
            ("no/#".into(), QoS::AtLeastOnce),
            ("yes".into(), QoS::AtLeastOnce),
        ],
    });
    let codes = vec![0x80, 1];
    assert_eq!(
        client.packet(),
        Packet::Suback {
            packet_id: 9,
            codes
        }
    );
    broker.publish("no/1", QoS::AtMostOnce, false, "x").unwrap();
    assert!(client.ping().is_empty());
    broker.never_suback(true);
    client.send(subscribe("late", QoS::AtMostOnce));
    assert!(client.ping().is_empty());
    broker.clear_faults();
    client.subscribe("no/#", QoS::AtMostOnce);
}

#[test]
fn raw_bytes_and_kicking_everybody() {
    let broker = broker();
    let mut clients = ["a", "b"].map(|id| Client::clean(&broker, id));
    assert!(broker.send_raw("a", &b"\xD0\x00"[..]));
    assert!(!broker.send_raw("nobody", &b"\xD0\x00"[..]));
    assert_eq!(clients[0].packet(), Packet::Pingresp);
    assert_eq!(broker.kick_all(), 2);
    for client in &mut clients {
        assert_eq!(client.next(), Found::End);
    }
}
