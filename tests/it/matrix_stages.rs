//! The fault matrix, in the middle of something: garbage instead of each answer, between messages, and
//! packets that never become whole. What was sent and received is accounted for all the same.

use std::thread;
use std::time::Duration;

use mqtt_fleet::testing::{Packet, PingReply, TestBroker};
use mqtt_fleet::{Delivery, QoS, Session};

use crate::support::fleet::{PATIENCE, quick_retry};
use crate::support::matrix::{Rig, VICTIM};
use crate::support::receiving::{number, numbered, wait_for_in};

/// Nothing that a client may get, of each kind.
const GARBAGE: [(&str, &[u8], &str); 4] = [
    ("no packet type", b"\xf0\x00", "Protocol"),
    (
        "a length without end",
        b"\x90\xff\xff\xff\xff\xff",
        "Protocol",
    ),
    ("an oversized packet", b"\x30\xff\xff\xff\x7f", "TooLarge"),
    ("PINGREQ", b"\xc0\x00", "Protocol"),
];

/// Fails if the client believes in a subscription that was never answered, or does not ask again.
#[test]
fn garbage_instead_of_suback() {
    for (row, bytes, cause) in GARBAGE {
        let broker = TestBroker::start().unwrap();
        let rig = Rig::begin(row, broker, |spec| spec);
        rig.victim().wait_subscribed(PATIENCE).unwrap();
        rig.broker.never_suback(true);
        rig.victim().subscribe("more", QoS::AtLeastOnce).unwrap();
        wait_for_in(&rig.broker, VICTIM, 2, is_subscribe);
        // This one stays unanswered; that of the next connection, which may come at any time, is answered.
        rig.broker.never_suback(false);
        rig.victim().wait_subscribed(Duration::ZERO).unwrap_err();
        rig.send_raw(bytes);
        rig.lost(cause);
        rig.recovers();
    }
}

/// Fails if an answer with too few or too many codes is taken for one.
#[test]
fn a_suback_that_does_not_fit_its_subscribe() {
    for codes in [vec![], vec![1, 1]] {
        let row = format!("{} codes for one filter", codes.len());
        let rig = Rig::start(&row, |spec| spec);
        rig.broker.never_suback(true);
        rig.victim().subscribe("more", QoS::AtLeastOnce).unwrap();
        wait_for_in(&rig.broker, VICTIM, 2, is_subscribe);
        // This one stays unanswered; that of the next connection, which may come at any time, is answered.
        rig.broker.never_suback(false);
        let packet_id = 2;
        assert!(
            rig.broker
                .send_packet(VICTIM, Packet::Suback { packet_id, codes })
        );
        rig.lost("Protocol");
        rig.recovers();
    }
}

/// Fails if the message is lost, taken for acknowledged, or counted twice.
#[test]
fn garbage_instead_of_an_acknowledgement() {
    for (row, bytes, cause) in GARBAGE {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for session in [Session::Clean, Session::Kept] {
                let row = format!("{row}, {qos:?}, {session:?}");
                let rig = Rig::start(&row, |spec| spec.session(session));
                rig.broker.hold_acks_of(VICTIM, true);
                let receipt = rig.victim().publish("t", qos, false, "1").unwrap();
                let came = rig
                    .broker
                    .wait_for(|_| rig.broker.published("t").len() == 1, PATIENCE);
                came.unwrap();
                rig.send_raw(bytes);
                rig.lost(cause);
                rig.broker.hold_acks_of(VICTIM, false);
                let delivery = receipt.wait_timeout(PATIENCE);
                assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}");
                let ledger = rig.victim().ledger();
                assert_eq!((ledger.accepted, ledger.acknowledged), (1, 1), "{row}");
                assert_eq!(ledger.in_progress, 0, "{row}");
                rig.recovers_at_once();
            }
        }
    }
}

/// Fails if what came before the garbage is lost, what came behind it is read, or the order changes.
#[test]
fn garbage_between_messages() {
    for (row, bytes, cause) in GARBAGE {
        let rig = Rig::start(row, |spec| spec.session(Session::Kept));
        let send = |numbers: std::ops::Range<usize>| {
            for n in numbers {
                let topic = format!("to/{VICTIM}");
                let sent = rig
                    .broker
                    .publish(topic, QoS::AtLeastOnce, false, numbered(n));
                sent.unwrap();
            }
        };
        send(0..10);
        rig.send_raw(bytes);
        send(10..20);
        rig.lost(cause);
        // Pulled messages are acknowledged: those of the old connection come a second time.
        let mut first = Vec::new();
        while first.len() < 20 {
            let message = rig.fleet.messages().unwrap().recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|error| panic!("{row}: {error}; {first:?}"));
            let n = number(message.payload());
            if !first.contains(&n) {
                first.push(n);
            }
        }
        assert_eq!(first, (0..20).collect::<Vec<_>>(), "{row}");
        rig.recovers_at_once();
    }
}

/// Fails if a message above the limit is delivered, if one of QoS 0 costs more than its connection, or if
/// one that the broker sends again and again is fetched without end.
#[test]
fn a_message_above_the_limit() {
    let oversized = vec![0; 256 * 1024];
    for (qos, comes_again) in [(QoS::AtMostOnce, false), (QoS::AtLeastOnce, true)] {
        let row = format!("oversized, {qos:?}");
        let rig = Rig::start(&row, |spec| spec.session(Session::Kept));
        let topic = format!("to/{VICTIM}");
        let sent = rig.broker.publish(topic, qos, false, oversized.clone());
        sent.unwrap();
        rig.lost("TooLarge");
        assert_eq!(rig.victim().stats().received, 0, "{row}");
        match comes_again {
            true => rig.gives_up(3, "TooLarge"),
            false => rig.recovers_at_once(),
        }
    }
}

/// The first bytes of packets that never become whole.
const TRUNCATED: [(&str, &[u8]); 5] = [
    ("half a header", b"\x30"),
    ("half a length", b"\x30\x80\x80"),
    ("half a topic", b"\x30\x20\x00\x08to/v"),
    ("half a payload", b"\x32\x40\x00\x01t\x00\x01half"),
    ("half a PUBACK", b"\x40\x02\x00"),
];

/// Fails if the client waits for the rest for ever, or delivers what came of it.
#[test]
fn a_packet_that_never_becomes_whole_costs_a_keep_alive() {
    let half = |row, bytes: &'static [u8]| {
        let rig = Rig::start(row, |spec| spec.keep_alive(Duration::from_secs(1)));
        rig.broker.on_ping_of(VICTIM, PingReply::Never);
        rig.send_raw(bytes);
        rig.lost("KeepAlive");
        rig.broker.clear_faults();
        assert_eq!(rig.victim().stats().received, 0, "{row}");
        rig.recovers_at_once();
    };
    thread::scope(|scope| {
        for (row, bytes) in TRUNCATED {
            scope.spawn(move || half(row, bytes));
        }
    });
}

/// Fails if a connection that ends within a packet is taken for a protocol error, or if half of the packet
/// is delivered.
#[test]
fn a_connection_that_ends_within_a_packet_is_broken() {
    for (row, bytes) in TRUNCATED {
        for fin in [true, false] {
            let row = format!("{row}, {}", if fin { "FIN" } else { "RST" });
            let rig = Rig::start(&row, |spec| spec.retry(quick_retry(2)));
            rig.send_raw(bytes);
            match fin {
                true => assert!(rig.broker.kick(VICTIM)),
                false => assert!(rig.broker.cut(VICTIM)),
            }
            rig.lost("Broken");
            assert_eq!(rig.victim().stats().received, 0, "{row}");
            rig.recovers_at_once();
        }
    }
}

fn is_subscribe(packet: &Packet) -> bool {
    matches!(packet, Packet::Subscribe { .. })
}
