//! Bytes on the wire: in pieces, cut in the middle, and left unread.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn each_piece_is_a_write_of_its_own() {
    let broker = broker();
    let mut other = Client::clean(&broker, "other");
    // With an hour between two pieces there is one to be seen.
    for (sizes, first) in [(&[1][..], 1), (&[0], 1), (&[3, 1], 3)] {
        broker.write_in_pieces_of("c", sizes, HOUR);
        let mut client = Client::open(&broker);
        client.send(connect("c", true, None));
        assert_eq!(client.bytes(first), b"\x20\x02\x00\x00"[..first]);
        other.ping();
        client.finds_nothing();
        assert!(broker.kick("c"));
        assert_eq!(client.next(), Found::End);
    }
    // The last piece of a packet is followed by the pause, too.
    let mut client = Client::open(&broker);
    broker.write_in_pieces_of("c", &[4], HOUR);
    client.send(connect("c", true, None));
    assert_eq!(client.packet(), connack(0, false));
    client.send(Packet::Pingreq);
    other.ping();
    client.finds_nothing();
    assert!(broker.cut("c"));
    assert_eq!(client.next(), Found::Reset);
}

#[test]
fn pieces_add_up_to_the_packets() {
    let broker = broker();
    broker.write_in_pieces(&[1], Duration::ZERO);
    broker.write_in_pieces_of("slow", &[1, 2, 30], Duration::from_micros(100));
    broker.write_in_pieces_of("whole", &[], HOUR);
    for id in ["byte", "slow", "whole"] {
        let mut client = Client::clean(&broker, id);
        client.subscribe("t", QoS::AtMostOnce);
        let payload = "x".repeat(300);
        for _ in 0..3 {
            broker
                .publish("t", QoS::AtMostOnce, false, payload.clone())
                .unwrap();
        }
        for _ in 0..3 {
            assert_eq!(client.packet(), publish("t", QoS::AtMostOnce, 0, &payload));
        }
        client.ping();
    }
}

#[test]
fn a_cut_after_bytes_to_a_client() {
    let broker = broker();
    let mut watcher = Client::clean(&broker, "watcher");
    watcher.subscribe("will", QoS::AtMostOnce);
    // CONNACK has four bytes, SUBACK five.
    for n_bytes in 0..=9 {
        broker.cut_after_bytes_to("c", n_bytes);
        let mut client = Client::open(&broker);
        client.send_together(&[
            connect("c", true, Some(will("will"))),
            subscribe("t", QoS::AtMostOnce),
        ]);
        let mut n_packets = 0;
        let mut found = client.next();
        while let Found::Packet(packet) = found {
            n_packets += 1;
            let name = if n_packets == 1 { "CONNACK" } else { "SUBACK" };
            assert_eq!(packet.name(), name);
            found = client.next();
        }
        assert_eq!(found, Found::Reset);
        let n_whole = [0, 4, 9].iter().filter(|end| n_bytes >= **end).count() - 1;
        assert_eq!(n_packets, n_whole, "with {n_bytes} bytes");
        assert_eq!(client.buffer.len(), n_bytes - [0, 4, 9][n_whole]);
        broker.wait_disconnected("c", LIMIT).unwrap();
        assert_eq!(watcher.packet().name(), "PUBLISH");
        // What was begun is in the record, what was not is not.
        let seen = broker.seen();
        let of_last = seen.iter().rev().take_while(|seen| {
            let is_connect = matches!(seen.packet, Packet::Connect { .. });
            !(is_connect && seen.client == "c")
        });
        let is_answer = |name: &str| name == "CONNACK" || name == "SUBACK";
        let n_recorded = of_last
            .filter(|seen| seen.client == "c" && is_answer(seen.packet.name()))
            .count();
        assert_eq!(
            n_recorded,
            [0, 4].iter().filter(|begin| n_bytes > **begin).count()
        );
        // Once only.
        Client::clean(&broker, "c").ping();
        broker.wait_disconnected("c", LIMIT).unwrap();
        assert_eq!(broker.connected(), ["watcher"]);
    }
}

#[test]
fn a_cut_goes_on_counting_over_connections_and_in_pieces() {
    let broker = broker();
    broker.cut_after_bytes_to("c", 7);
    broker.write_in_pieces_of("c", &[2], Duration::ZERO);
    Client::clean(&broker, "c");
    broker.wait_disconnected("c", LIMIT).unwrap();
    let mut client = Client::open(&broker);
    client.send(connect("c", true, None));
    assert_eq!(client.next(), Found::Reset);
    assert_eq!(client.buffer, &b"\x20\x02\x00"[..]);
}

#[test]
fn a_cut_after_bytes_from_a_client() {
    let broker = broker();
    let first = publish("t", QoS::AtLeastOnce, 1, "first");
    let second = publish("t", QoS::AtLeastOnce, 2, "second");
    let length = encoded(std::slice::from_ref(&first)).len();
    for (n_bytes, n_published) in [
        (0, 0),
        (1, 0),
        (length - 1, 0),
        (length, 1),
        (length + 9, 1),
    ] {
        for together in [false, true] {
            let before = broker.published("t").len();
            broker.cut_after_bytes_from("c", n_bytes);
            let mut client = Client::open(&broker);
            // Together, the bytes come before the broker knows whose they are.
            if together {
                client.send_together(&[connect("c", true, None), first.clone(), second.clone()]);
            } else {
                client.send(connect("c", true, None));
                assert_eq!(client.packet(), connack(0, false));
                client.send_together(&[first.clone(), second.clone()]);
            }
            let mut found = client.next();
            while let Found::Packet(_) = found {
                found = client.next();
            }
            assert_eq!(found, Found::Reset);
            broker.wait_disconnected("c", LIMIT).unwrap();
            let n_new = broker.published("t").len() - before;
            assert_eq!(n_new, n_published, "with {n_bytes} bytes");
            let mut client = Client::clean(&broker, "c");
            client.send(first.clone());
            assert_eq!(client.packet(), Packet::Puback { packet_id: 1 });
        }
    }
}

#[test]
fn a_client_that_is_not_read_finds_its_socket_full() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    assert!(broker.stop_reading("c"));
    assert!(!broker.stop_reading("nobody"));
    client.socket.set_nonblocking(true).unwrap();
    let chunk = vec![0; 1 << 16];
    let error = loop {
        if let Err(error) = client.socket.write(&chunk) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.socket.set_nonblocking(false).unwrap();
    assert_eq!(broker.connected(), ["c"]);
    assert!(broker.cut("c"));
    assert_eq!(client.next(), Found::Reset);
    // The next connection is read.
    let mut client = Client::clean(&broker, "c");
    client.ping();
    // And one that is not read stops no broker.
    assert!(broker.stop_reading("c"));
    drop(broker);
    assert_eq!(client.next(), Found::End);
}

#[test]
fn reading_stops_at_once_and_is_resumed() {
    let broker = broker();
    let mut client = Client::clean(&broker, "c");
    client.subscribe("t", QoS::AtMostOnce);
    let mut other = Client::clean(&broker, "other");
    for number in 0..20_u8 {
        assert!(broker.stop_reading("c"));
        let payload = number.to_string();
        client.send(publish("x", QoS::AtMostOnce, 0, &payload));
        other.ping();
        assert_eq!(broker.published("x").len(), usize::from(number));
        // It still gets what there is.
        broker.publish("t", QoS::AtMostOnce, false, "y").unwrap();
        assert_eq!(client.packet(), publish("t", QoS::AtMostOnce, 0, "y"));
        assert!(broker.resume_reading("c"));
        client.ping();
        assert_eq!(broker.published("x").last().unwrap(), &payload);
    }
}

#[test]
fn a_client_that_is_not_read_is_not_too_late() {
    let broker = broker();
    let [mut unread, mut late] = ["unread", "late"].map(|id| {
        let mut client = Client::open(&broker);
        let mut packet = connect(id, true, None);
        if let Packet::Connect { keep_alive, .. } = &mut packet {
            *keep_alive = 1;
        }
        client.send(packet);
        assert_eq!(client.packet(), connack(0, false));
        client
    });
    assert!(broker.stop_reading("unread"));
    // One and a half seconds after it came, which was after the other.
    assert_eq!(late.next(), Found::End);
    assert_eq!(broker.connected(), ["unread"]);
    assert!(broker.resume_reading("unread"));
    unread.ping();
}
