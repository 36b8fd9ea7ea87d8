//! The fault matrix, on an idle connection: bytes and packets that the standard does not allow there end
//! this connection for a typed cause; the next one works, and the neighbor does not notice.

use mqtt_fleet::testing::Packet;
use mqtt_fleet::{Delivery, QoS, Session};

use crate::support::fleet::PATIENCE;
use crate::support::matrix::{CONNACK, Rig, VICTIM};
use crate::support::receiving::{numbered, tireless, wait_for_in};

/// What makes no sense behind CONNACK.
const GARBAGE: [(&str, &[u8], &str); 21] = [
    ("a packet type that is none", b"\x00\x00", "Protocol"),
    ("the other one", b"\xf0\x00", "Protocol"),
    ("TLS", b"\x15\x03\x01\x00\x02\x02\x46", "Protocol"),
    (
        "a length without end",
        b"\x30\xff\xff\xff\xff\xff",
        "Protocol",
    ),
    (
        "a length above every limit",
        b"\x30\xff\xff\xff\x7f",
        "TooLarge",
    ),
    (
        "a length just above the limit",
        b"\x30\x81\x80\x10\x00",
        "TooLarge",
    ),
    ("PUBLISH of no byte", b"\x30\x00", "Protocol"),
    ("PUBLISH of one byte", b"\x30\x01\x00", "Protocol"),
    (
        "PUBLISH whose topic is longer than it",
        b"\x30\x03\x00\x09t",
        "Protocol",
    ),
    (
        "PUBLISH whose topic is not UTF-8",
        b"\x30\x04\x00\x02\xff\xfe",
        "Protocol",
    ),
    (
        "PUBLISH of QoS 3",
        b"\x36\x06\x00\x01t\x00\x01x",
        "Protocol",
    ),
    (
        "PUBLISH of QoS 1, identifier 0",
        b"\x32\x05\x00\x01t\x00\x00",
        "Protocol",
    ),
    (
        "PUBLISH of QoS 1, no identifier",
        b"\x32\x03\x00\x01t",
        "Protocol",
    ),
    ("PUBACK of no byte", b"\x40\x00", "Protocol"),
    ("PUBACK of one byte", b"\x40\x01\x00", "Protocol"),
    ("PUBREC of one byte", b"\x50\x01\x00", "Protocol"),
    ("PUBREL of one byte", b"\x62\x01\x00", "Protocol"),
    ("PUBCOMP of one byte", b"\x70\x01\x00", "Protocol"),
    ("SUBACK of one byte", b"\x90\x01\x00", "Protocol"),
    (
        "SUBACK with an unknown code",
        b"\x90\x03\x00\x01\x07",
        "Protocol",
    ),
    ("UNSUBACK of one byte", b"\xb0\x01\x00", "Protocol"),
];

/// Fails if such bytes panic the client, are waited for, are taken for something else, or cost more than
/// this connection.
#[test]
fn garbage_ends_this_connection_only() {
    for (row, bytes, cause) in GARBAGE {
        let rig = Rig::start(row, |spec| spec);
        rig.send_raw(bytes);
        rig.lost(cause);
        rig.recovers_at_once();
    }
}

/// Fails if garbage behind each CONNACK gives the attempts back, or if the outcome does not say what it was.
#[test]
fn garbage_on_every_connection_uses_the_attempts_up() {
    for (row, bytes, cause) in GARBAGE {
        let rig = Rig::start(row, |spec| spec);
        let both = [CONNACK, bytes].concat();
        rig.broker.on_connect_raw_of(VICTIM, both);
        assert!(rig.broker.kick(VICTIM));
        rig.gives_up(3, cause);
    }
}

/// Packets that only clients send, or only once, or for something that never was.
fn out_of_place() -> Vec<Packet> {
    let packet_id = 77;
    let filters = vec!["t".to_owned()];
    vec![
        Packet::Connect {
            client_id: VICTIM.to_owned(),
            clean_session: true,
            keep_alive: 30,
            username: None,
            has_password: false,
            will: None,
        },
        Packet::Connack {
            session_present: false,
            code: 0,
        },
        Packet::Connack {
            session_present: true,
            code: 5,
        },
        Packet::Subscribe {
            packet_id,
            filters: vec![("t".to_owned(), QoS::AtMostOnce)],
        },
        Packet::Unsubscribe { packet_id, filters },
        Packet::Pingreq,
        Packet::Disconnect,
        Packet::Puback { packet_id },
        Packet::Pubrec { packet_id },
        Packet::Pubcomp { packet_id },
        Packet::Puback {
            packet_id: u16::MAX,
        },
        Packet::Pubrec {
            packet_id: u16::MAX,
        },
        Packet::Pubcomp {
            packet_id: u16::MAX,
        },
        Packet::Puback { packet_id: 0 },
        Packet::Pubrel { packet_id: 0 },
        Packet::Pubcomp { packet_id: 0 },
    ]
}

/// Fails if such a packet is obeyed, panics the client, or costs more than this connection.
#[test]
fn a_packet_out_of_place_ends_this_connection_only() {
    for packet in out_of_place() {
        let row = packet.to_string();
        let rig = Rig::start(&row, |spec| spec);
        assert!(rig.broker.send_packet(VICTIM, packet));
        rig.lost("Protocol");
        rig.recovers_at_once();
    }
}

/// Fails if an answer to a SUBSCRIBE or UNSUBSCRIBE that never was, or one PINGRESP too many, ends a
/// connection that works: they change nothing.
#[test]
fn answers_that_change_nothing_are_passed_over() {
    let codes = vec![0, 128, 2];
    let packet_id = 77;
    let packets = [
        Packet::Suback { packet_id, codes },
        Packet::Unsuback { packet_id },
        Packet::Pingresp,
    ];
    let rig = Rig::start("answers for nothing", |spec| spec);
    for packet in packets {
        assert!(rig.broker.send_packet(VICTIM, packet));
    }
    let receipt = rig.victim().publish("t", QoS::AtLeastOnce, false, "1");
    receipt.unwrap().wait_timeout(PATIENCE).unwrap();
    let stats = rig.victim().stats();
    assert_eq!((stats.losses, stats.refused_subscriptions), (0, 0));
    assert!(rig.broker.kick(VICTIM));
    rig.lost("Closed");
    rig.recovers_at_once();
}

/// Fails if a PUBREL for a message that this process never had, or one that comes again, ends the
/// connection, stays without PUBCOMP [MQTT-4.3.3-2], or acknowledges a message of ours under the same
/// identifier: the broker could never be rid of it. Before and after a reconnect, with and without a session,
/// and when the window has grown.
#[test]
fn a_release_is_answered_whatever_its_identifier() {
    let released = [2, 77, u16::MAX];
    for session in [Session::Clean, Session::Kept] {
        let row = format!("PUBREL, {session:?}");
        let rig = Rig::start(&row, |spec| spec.session(session));
        let mut answers = 0;
        let mut release = |packet_id| {
            answers += 1;
            assert!(rig.broker.send_packet(VICTIM, Packet::Pubrel { packet_id }));
            // Behind the answer, not beside it: rumqttc reads several packets at once.
            let is_answer = |packet: &Packet| matches!(packet, Packet::Pubcomp { .. });
            wait_for_in(&rig.broker, VICTIM, answers, is_answer);
        };
        rig.broker.hold_acks_of(VICTIM, true);
        let mut receipts = Vec::new();
        // The first has the identifier behind that of SUBSCRIBE; the last makes the window grow.
        for n in [1, 20] {
            for _ in 0..n {
                let published = rig.victim().publish("t", QoS::AtLeastOnce, false, "1");
                receipts.push(published.unwrap());
            }
            for packet_id in released {
                release(packet_id);
                release(packet_id);
            }
        }
        assert!(receipts.iter().all(|it| !it.is_done()), "{row}");
        assert_eq!(rig.victim().stats().losses, 0, "{row}");
        assert!(rig.broker.kick(VICTIM));
        rig.lost("Closed");
        rig.victim().wait_subscribed(PATIENCE).unwrap();
        for packet_id in released {
            release(packet_id);
            release(packet_id);
        }
        rig.broker.hold_acks_of(VICTIM, false);
        for receipt in receipts {
            let delivery = receipt.wait_timeout(PATIENCE);
            assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}");
        }
        rig.recovers_at_once();
    }
}

/// Fails if an acknowledgement of the wrong kind is taken for one, if the message it names is lost or
/// counted twice, or if the client does not get over it.
#[test]
fn an_acknowledgement_of_the_wrong_kind_acknowledges_nothing() {
    let packet_id = 2; // Behind the SUBSCRIBE.
    let rows = [
        (QoS::AtLeastOnce, Packet::Pubcomp { packet_id }),
        (QoS::ExactlyOnce, Packet::Pubcomp { packet_id }),
    ];
    for (qos, packet) in rows {
        for session in [Session::Clean, Session::Kept] {
            let row = format!("{packet} for {qos:?}, {session:?}");
            let rig = Rig::start(&row, |spec| spec.session(session));
            rig.broker.hold_acks_of(VICTIM, true);
            let receipt = rig.victim().publish("t", qos, false, "1").unwrap();
            let sent = |n: usize| {
                let came = rig
                    .broker
                    .wait_for(|_| rig.broker.published("t").len() >= n, PATIENCE);
                came.unwrap_or_else(|error| panic!("{row}: {error}"));
            };
            sent(1);
            assert!(rig.broker.send_packet(VICTIM, packet.clone()));
            rig.lost("Protocol");
            assert_eq!(receipt.try_result(), None, "{row}");
            // Sent again, because nobody has acknowledged it.
            sent(2);
            rig.broker.hold_acks_of(VICTIM, false);
            let delivery = receipt.wait_timeout(PATIENCE);
            assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}");
            let ledger = rig.victim().ledger();
            assert_eq!((ledger.accepted, ledger.acknowledged), (1, 1), "{row}");
            rig.recovers_at_once();
        }
    }
}

/// Fails if an acknowledgement of the other quality of service leaves the message in no bucket or in two,
/// ends the client, or keeps its identifier for ever.
#[test]
fn an_acknowledgement_of_the_other_qos_harms_one_message_at_most() {
    let packet_id = 2; // Behind the SUBSCRIBE.
    let rows = [
        (QoS::AtLeastOnce, Packet::Pubrec { packet_id }),
        (QoS::ExactlyOnce, Packet::Puback { packet_id }),
    ];
    for (qos, packet) in rows {
        for session in [Session::Clean, Session::Kept] {
            let row = format!("{packet} for {qos:?}, {session:?}");
            let rig = Rig::start(&row, |spec| {
                spec.session(session).retry(tireless()).window(2)
            });
            let victim = rig.victim();
            rig.broker.hold_acks_of(VICTIM, true);
            let receipt = victim.publish("t", qos, false, "1").unwrap();
            let came = rig
                .broker
                .wait_for(|_| !rig.broker.published("t").is_empty(), PATIENCE);
            came.unwrap();
            assert!(rig.broker.send_packet(VICTIM, packet.clone()));
            rig.broker.hold_acks_of(VICTIM, false);
            let _ = receipt.wait_timeout(PATIENCE);
            assert!(receipt.is_done(), "{row}");
            for n in 0..10 {
                let receipt = victim.publish("t", qos, false, numbered(n)).unwrap();
                let delivery = receipt.wait_timeout(PATIENCE);
                assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}, {n}");
            }
            let ledger = victim.ledger();
            assert!(ledger.balances(), "{row}: {ledger:?}");
            assert_eq!((ledger.accepted, ledger.in_progress), (11, 0), "{row}");
            let report = rig.fleet.stop(PATIENCE);
            // Lost, if it is: QoS 1 and 2 promise more.
            let lost = i32::from(ledger.failed > 0);
            assert_eq!(report.exit_code(), lost, "{row}: {report}");
        }
    }
}

/// Fails if the second of two acknowledgements is counted, acknowledges the next message, or has the first
/// one sent again.
#[test]
fn an_acknowledgement_that_comes_twice_counts_once() {
    let rows: [(QoS, &str); 3] = [
        (QoS::AtLeastOnce, "PUBACK"),
        (QoS::ExactlyOnce, "PUBREC"),
        (QoS::ExactlyOnce, "PUBCOMP"),
    ];
    for (qos, name) in rows {
        let row = format!("{name} twice");
        let rig = Rig::start(&row, |spec| spec.session(Session::Kept).retry(tireless()));
        let twice = rig.broker.counts();
        rig.broker
            .send_twice_of(VICTIM, move |packet| packet.name() == name);
        let receipt = rig.victim().publish("t", qos, false, numbered(1)).unwrap();
        rig.lost("Protocol");
        rig.broker.clear_faults();
        let delivery = receipt.wait_timeout(PATIENCE);
        assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}");
        assert_eq!(rig.broker.published("t").len(), 1, "{row}");
        let ledger = rig.victim().ledger();
        assert_eq!((ledger.accepted, ledger.acknowledged), (1, 1), "{row}");
        assert!(rig.broker.counts().sent > twice.sent, "{row}");
        rig.recovers();
    }
}
