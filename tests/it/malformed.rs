//! Sequences of bytes that the standard calls malformed: those that are refused, and those that rumqttc's
//! decoder lets pass, which `docs/GUARANTEES.md` names.

use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{Cause, ClientSpec, ClientState, Fleet, QoS};

use crate::support::fleet::next_state;
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
    assert!(fleet.messages().is_empty());
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
        let came = std::iter::from_fn(|| fleet.messages().recv_timeout(PATIENCE).ok());
        let last = came.into_iter().find(|it| it.topic() == "t").unwrap();
        assert_eq!(last.text(), row);
    }
    assert_eq!(fleet.client("plant").unwrap().stats().losses, 0);
    fleet.stop(STOP);
}
