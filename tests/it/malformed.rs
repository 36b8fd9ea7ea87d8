//! Sequences of bytes that the standard calls malformed: those that are refused, and those that rumqttc's
//! decoder lets pass, which `docs/GUARANTEES.md` names.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Delivery, Fleet, QoS, Refusal, Session};

use crate::support::fleet::{next_state, start};
use crate::support::receiving::{PATIENCE, subscribed, tireless};

const STOP: Duration = Duration::from_secs(10);

/// What ends the connection.
const REFUSED: [(&str, &[u8]); 28] = [
    ("dup at QoS 0", b"\x38\x03\x00\x01t"),
    ("packet type 0", b"\x00\x00"),
    ("packet type 15", b"\xf0\x00"),
    ("a length of five bytes", b"\x30\x80\x80\x80\x80\x01"),
    ("QoS 3", b"\x36\x05\x00\x01t\x00\x01"),
    ("QoS 3 and dup", b"\x3e\x05\x00\x01t\x00\x01"),
    ("an empty topic", b"\x30\x02\x00\x00"),
    ("NUL in a topic", b"\x30\x03\x00\x01\x00"),
    ("# in a topic", b"\x30\x03\x00\x01#"),
    ("+ in a topic", b"\x30\x05\x00\x03a/+"),
    ("a topic that is no UTF-8", b"\x30\x04\x00\x02\xc3\x28"),
    ("a surrogate in a topic", b"\x30\x05\x00\x03\xed\xa0\x80"),
    ("a topic longer than the packet", b"\x30\x03\x00\x05t"),
    ("QoS 1 and identifier 0", b"\x32\x05\x00\x01t\x00\x00"),
    ("QoS 2 and identifier 0", b"\x34\x05\x00\x01t\x00\x00"),
    ("QoS 1 without identifier", b"\x32\x03\x00\x01t"),
    ("PUBACK without identifier", b"\x40\x00"),
    ("PUBREL without identifier", b"\x62\x00"),
    ("PUBREL with identifier 0", b"\x62\x02\x00\x00"),
    ("PUBCOMP of one byte", b"\x70\x01\x00"),
    ("SUBACK without a code", b"\x90\x02\x00\x01"),
    ("SUBACK with code 3", b"\x90\x03\x00\x09\x03"),
    ("SUBACK with code 0x7f", b"\x90\x03\x00\x09\x7f"),
    ("UNSUBACK that is too long", b"\xb0\x03\x00\x01\x00"),
    ("a second CONNACK", b"\x20\x02\x00\x00"),
    ("SUBSCRIBE", b"\x82\x06\x00\x01\x00\x01t\x00"),
    ("PINGREQ", b"\xc0\x00"),
    ("DISCONNECT", b"\xe0\x00"),
];

/// What the decoder lets pass. None of it changes anything.
const PASSED: [(&str, &[u8]); 7] = [
    ("PINGRESP with reserved flags", b"\xdf\x00"),
    ("PINGRESP with a body", b"\xd0\x01\x00"),
    ("SUBACK with reserved flags", b"\x9f\x03\x00\x63\x00"),
    ("UNSUBACK with reserved flags", b"\xbf\x02\x00\x63"),
    ("PUBREL with other reserved flags", b"\x60\x02\x00\x63"),
    ("PUBREL that is too long", b"\x62\x03\x00\x64\x00"),
    ("a length in more bytes than needed", b"\xd0\x80\x00"),
];

/// Fails if one of these is obeyed, or is shown to anybody.
#[test]
fn what_is_refused() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
        .subscribe("#", QoS::ExactlyOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    let states = fleet.states();
    for (row, bytes) in REFUSED {
        fleet.wait_subscribed(PATIENCE).unwrap();
        assert!(broker.send_raw("plant", bytes), "{row}");
        let is_lost = |state: &ClientState| matches!(state, ClientState::Lost { .. });
        let lost = next_state(&states, "plant", is_lost);
        let cause = lost.cause().unwrap();
        assert!(matches!(cause, Cause::Protocol { .. }), "{row}: {cause:?}");
    }
    assert!(fleet.messages().unwrap().is_empty());
    fleet.stop(STOP);
}

/// Fails if one of these ends the connection after all: then it is no exception any more.
#[test]
fn what_the_decoder_drops() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .subscribe("t", QoS::AtMostOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    for (row, bytes) in PASSED {
        assert!(broker.send_raw("plant", bytes), "{row}");
        broker.publish("t", QoS::AtMostOnce, false, row).unwrap();
        let came = std::iter::from_fn(|| fleet.messages().unwrap().recv_timeout(PATIENCE).ok());
        let last = came.into_iter().find(|it| it.topic() == "t").unwrap();
        assert_eq!(last.text(), row);
    }
    assert_eq!(fleet.client("plant").unwrap().stats().losses, 0);
    fleet.stop(STOP);
}

/// CONNACKs that are refused, with what they say.
const REFUSED_CONNACKS: [(&[u8], &str); 4] = [
    (
        b"\x20\x02\x01\x00",
        "protocol error: CONNACK says that there is a session, but a clean one was asked for [MQTT-3.2.2-1]",
    ),
    (b"\x20\x02\x00\x06", "does not speak MQTT"),
    (b"\x20\x01\x00", "does not speak MQTT"),
    (b"\x90\x03\x00\x01\x00", "does not speak MQTT"),
];

/// Fails if a client believes in a connection of one of these. The first one would leave it without its
/// subscriptions after a reconnect: with a session the broker is not asked for them again.
#[test]
fn connacks_that_are_refused() {
    for (bytes, says) in REFUSED_CONNACKS {
        let broker = TestBroker::start().unwrap();
        broker.on_connect_raw(bytes);
        let spec = ClientSpec::new("plant", broker.url())
            .client_id("plant")
            .retry(tireless().refusals_too())
            .subscribe("t", QoS::AtLeastOnce);
        let fleet = start([spec]);
        let states = fleet.states();
        let failed = next_state(&states, "plant", |state| {
            matches!(state, ClientState::AttemptFailed { .. })
        });
        let cause = failed.cause().unwrap();
        assert!(cause.to_string().contains(says), "{bytes:x?}: {cause}");
        // It goes on as after any failed attempt.
        broker.clear_faults();
        fleet.wait_subscribed(PATIENCE).unwrap();
        assert_eq!(fleet.client("plant").unwrap().stats().connects, 1);
        fleet.stop(STOP);
    }
}

/// Fails if a session that was asked for is refused, too.
#[test]
fn a_session_that_was_asked_for_is_taken() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect_raw(&b"\x20\x02\x01\x00"[..]);
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(Session::Kept)
        .retry(tireless());
    let fleet = start([spec]);
    fleet.wait_connected(PATIENCE).unwrap();
    fleet.stop(STOP);
}

/// CONNACKs of which the decoder lets something pass, and whether they refuse.
const PASSED_CONNACKS: [(&str, &[u8], Option<Refusal>); 4] = [
    ("reserved flags", b"\x2f\x02\x00\x00", None),
    ("too long", b"\x20\x03\x00\x00\x00", None),
    ("reserved acknowledge flags", b"\x20\x02\xfe\x00", None),
    (
        "a refusal with session present",
        b"\x20\x02\x01\x05",
        Some(Refusal::NotAuthorized),
    ),
];

/// Fails if one of these is no CONNACK any more: then it is no exception any more.
#[test]
fn what_the_decoder_drops_of_connack() {
    for (row, bytes, refusal) in PASSED_CONNACKS {
        let broker = TestBroker::start().unwrap();
        broker.on_connect_raw(bytes);
        let spec = ClientSpec::new("plant", broker.url()).retry(tireless().refusals_too());
        let fleet = start([spec]);
        let state = next_state(&fleet.states(), "plant", |state| {
            matches!(
                state,
                ClientState::AttemptFailed { .. } | ClientState::Connected { .. }
            )
        });
        match (refusal, state.cause()) {
            (None, None) => {}
            (Some(refusal), Some(Cause::Refused(code))) => assert_eq!(*code, refusal),
            (_, cause) => panic!("{row}: {cause:?}"),
        }
        fleet.stop(STOP);
    }
}

/// The answers to a publish, of which the decoder lets something pass. The identifier is to be filled in.
const PASSED_ANSWERS: [(&str, QoS, &[&[u8]]); 4] = [
    (
        "PUBACK with reserved flags",
        QoS::AtLeastOnce,
        &[b"\x4f\x02"],
    ),
    ("PUBACK that is too long", QoS::AtLeastOnce, &[b"\x40\x03"]),
    (
        "PUBREC and PUBCOMP with reserved flags",
        QoS::ExactlyOnce,
        &[b"\x5f\x02", b"\x7f\x02"],
    ),
    (
        "PUBREC and PUBCOMP that are too long",
        QoS::ExactlyOnce,
        &[b"\x50\x03", b"\x70\x03"],
    ),
];

/// Fails if one of these does not answer any more: then it is no exception any more.
#[test]
fn what_the_decoder_drops_of_acknowledgements() {
    for (row, qos, answers) in PASSED_ANSWERS {
        let broker = TestBroker::start().unwrap();
        broker.hold_acks(true);
        let spec = ClientSpec::new("plant", broker.url()).client_id("plant");
        let fleet = start([spec]);
        let client = fleet.client("plant").unwrap();
        let receipt = client.publish("t", qos, false, "1").unwrap();
        let came = |is_it: &dyn Fn(&Packet) -> Option<u16>| {
            let find = |seen: &[mqtt_fleet::testing::Seen]| {
                let incoming = seen.iter().filter(|it| it.direction == Direction::In);
                incoming.map(|it| is_it(&it.packet)).find_map(|id| id)
            };
            broker
                .wait_for(|seen| find(seen).is_some(), PATIENCE)
                .unwrap();
            find(&broker.seen()).unwrap()
        };
        let id = came(&|packet| match packet {
            Packet::Publish { packet_id, .. } => Some(*packet_id),
            _ => None,
        });
        for (n, answer) in answers.iter().enumerate() {
            if n == 1 {
                // PUBREC was taken for one.
                came(&|packet| match packet {
                    Packet::Pubrel { packet_id } => Some(*packet_id),
                    _ => None,
                });
            }
            let mut bytes = answer.to_vec();
            bytes.extend(id.to_be_bytes());
            bytes.resize(2 + usize::from(answer[1]), 0);
            assert!(broker.send_raw("plant", bytes), "{row}");
        }
        let delivery = receipt.wait_timeout(PATIENCE);
        assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}");
        assert_eq!(client.stats().losses, 0);
        fleet.stop(STOP);
    }
}
