//! Violations, waits, threads, many clients.

use super::*;

#[test]
fn a_client_that_breaks_the_protocol_is_closed() {
    let broker = TestBroker::builder().max_packet_size(1000).start().unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xC0\x00",             // PINGREQ first
        b"\x10\x02\x00\x04",     // a CONNECT that ends too early
        b"\xFF\xFF\xFF\xFF\xFF", // no length
        b"\x10\xFF\xFF\xFF\x7F", // 256 MiB to come
        b"\x30\x00",             // nothing in it
    ] {
        let mut client = Client::open(&broker);
        client.socket.write_all(bytes).unwrap();
        assert!(matches!(client.next(), Found::End | Found::Reset));
    }
    for packet in [
        connect("c", true, None),
        Packet::Suback {
            packet_id: 1,
            codes: vec![0],
        },
        subscribe("a#", QoS::AtMostOnce),
        publish("a/#", QoS::AtMostOnce, 0, ""),
        publish("a", QoS::AtMostOnce, 0, &"x".repeat(1001)),
    ] {
        let mut client = Client::clean(&broker, "c");
        client.send(packet);
        assert!(matches!(client.next(), Found::End | Found::Reset));
    }
    let mut client = Client::clean(&broker, "c");
    client.socket.write_all(b"\x60\x02\x00\x01").unwrap(); // PUBREL with wrong flags
    assert_eq!(client.next(), Found::End);
    Client::clean(&broker, "c").ping();
}

#[test]
fn waits_end_with_an_error_that_shows_the_packets() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    let soon = Duration::from_millis(20);
    let error = broker.wait_for(|_| false, soon).unwrap_err().to_string();
    assert!(error.contains("the broker saw 2 packets"), "{error}");
    assert!(error.contains("#1 \"c\" -> CONNECT"), "{error}");
    assert!(error.contains("#1 \"c\" <- CONNACK code 0"), "{error}");
    let error = broker.wait_connected(2, soon).unwrap_err().to_string();
    assert!(error.contains("for 2 connected clients"), "{error}");
    assert!(broker.wait_disconnected("c", soon).is_err());
    broker.wait_disconnected("nobody", soon).unwrap();

    // A wait sees what happens while it waits.
    let is_ping =
        |seen: &[crate::testing::Seen]| seen.iter().any(|seen| seen.packet == Packet::Pingreq);
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| broker.wait_for(is_ping, LIMIT));
        client.ping();
        wait.join().unwrap().unwrap();
    });
}

#[test]
fn dropping_the_broker_joins_its_threads() {
    let broker = broker();
    let mute = Client::open(&broker);
    let mut client = Client::clean(&broker, "c");
    let silent = Client::clean(&broker, "silent");
    // Each thread holds the hub: the accepting one, and two for each connection, of which the
    // mute client's writer may not have started yet.
    let hub = std::sync::Arc::downgrade(&broker.hub);
    assert!(hub.strong_count() > 1 + 1 + 2 + 2);
    broker.silence("silent");
    drop(broker);
    assert_eq!(hub.strong_count(), 0);
    assert_eq!(client.next(), Found::End);
    drop((mute, silent));
}

#[test]
fn three_hundred_clients_at_once() {
    let broker = broker();
    let mut clients: Vec<_> = (0..300)
        .map(|number| {
            let mut client = Client::open(&broker);
            client.send(connect(&format!("c{number}"), true, None));
            client.send(subscribe("all", QoS::AtMostOnce));
            client
        })
        .collect();
    broker.wait_connected(300, LIMIT).unwrap();
    for client in &mut clients {
        client.ping();
    }
    broker.publish("all", QoS::AtMostOnce, false, "x").unwrap();
    for client in &mut clients {
        assert_eq!(client.packet(), publish("all", QoS::AtMostOnce, 0, "x"));
    }
    assert_eq!(broker.accepted(), 300);
}
