//! The fault matrix, while a client connects: each row is tried as often as promised and no more, for a
//! typed cause, and its neighbor does not notice. Refusals by code are in `refusals.rs`, ports that
//! nobody listens on in `retry.rs`, names without an address in `credentials.rs`.

use std::thread;
use std::time::{Duration, Instant};

use mqtt_fleet::Retry;
use mqtt_fleet::testing::{ConnectReply, TestBroker};

use crate::support::fleet::{PATIENCE, quick, quick_retry, wait_connects};
use crate::support::matrix::{CONNACK, Rig, VICTIM};
use crate::support::proc::wait_until;

const TIMEOUT: Duration = Duration::from_secs(1);

/// What is no CONNACK, and never becomes one.
const NO_CONNACK: [(&str, &[u8]); 16] = [
    ("a byte that is no packet type", b"\x00\x00"),
    ("the other one", b"\xf0\x00"),
    ("random bytes", b"\xde\xad\xbe\xef\x00\x01\x02\x03"),
    ("TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
    ("a length without end", b"\x20\xff\xff\xff\xff\xff"),
    ("a length above every limit", b"\x20\xff\xff\xff\x7f"),
    ("CONNACK of no byte", b"\x20\x00"),
    ("CONNACK of one byte", b"\x20\x01\x00"),
    ("CONNACK with an unknown code", b"\x20\x02\x00\x06"),
    ("CONNACK with a failure of MQTT 5", b"\x20\x02\x00\x87"),
    ("CONNACK of MQTT 5, refused", b"\x20\x03\x00\x84\x00"),
    ("PUBLISH", b"\x30\x04\x00\x01tx"),
    ("PINGRESP", b"\xd0\x00"),
    ("SUBACK", b"\x90\x03\x00\x01\x00"),
    ("PUBACK", b"\x40\x02\x00\x01"),
    (
        "its own CONNECT",
        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x1e\x00\x01c",
    ),
];

/// Fails if such a peer is tried again, panics the client, or is waited for until the timeout.
#[test]
fn garbage_instead_of_the_first_connack_ends_the_client() {
    for (row, bytes) in NO_CONNACK {
        let broker = TestBroker::start().unwrap();
        broker.on_connect_raw_of(VICTIM, bytes);
        Rig::begin(row, broker, |spec| spec).finds_no_broker();
    }
}

/// Fails if a broker that was reached before is given up for a single answer that is none, or gets more
/// than the attempts that it has.
#[test]
fn garbage_instead_of_a_later_connack_is_a_failed_attempt() {
    for (row, bytes) in NO_CONNACK {
        let rig = Rig::start(row, |spec| spec);
        rig.broker.on_connect_raw_of(VICTIM, bytes);
        assert!(rig.broker.kick(VICTIM), "{row}");
        rig.gives_up(3, "NotMqtt");
    }
}

/// Fails if an answer that was none is the end of all further ones.
#[test]
fn a_broker_that_finds_its_words_again_is_connected_to() {
    let rig = Rig::start("garbage, then none", |spec| {
        spec.retry(quick(Retry::forever()))
    });
    rig.broker.on_connect_raw_of(VICTIM, NO_CONNACK[2].1);
    assert!(rig.broker.kick(VICTIM));
    rig.lost("Closed");
    rig.failed("Closed");
    rig.failed("NotMqtt");
    rig.broker.clear_faults();
    rig.recovers();
}

/// Fails if a CONNACK that never comes whole is waited for longer than one that never comes, or is taken
/// for something permanent. Each attempt costs one connect timeout.
#[test]
fn half_a_connack_and_silence_is_a_timeout() {
    let half = |bytes: &'static [u8]| {
        let row = format!("{bytes:?} and no more");
        let broker = TestBroker::start().unwrap();
        broker.on_connect_raw_of(VICTIM, bytes);
        let begin = Instant::now();
        let rig = Rig::begin(&row, broker, |spec| {
            spec.retry(quick_retry(2)).connect_timeout(TIMEOUT)
        });
        rig.gives_up(2, "ConnectTimeout");
        let took = begin.elapsed();
        assert!(took >= 2 * TIMEOUT, "{row}: {took:?}");
        assert!(took < 2 * TIMEOUT + PATIENCE / 4, "{row}: {took:?}");
    };
    thread::scope(|scope| {
        for bytes in [&CONNACK[..1], &CONNACK[..3], b"\x20\x7f\x00"] {
            scope.spawn(move || half(bytes));
        }
    });
}

/// Fails if a peer that closes within its first packet is a mystery, or is asked again.
#[test]
fn half_a_connack_and_fin_is_no_broker() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect_raw_of(VICTIM, &CONNACK[..3]);
    let rig = Rig::begin("half a CONNACK, FIN", broker, |spec| spec);
    wait_connects(&rig.broker, VICTIM, 1);
    assert!(rig.broker.kick(VICTIM));
    rig.finds_no_broker();
}

/// Fails if a reset instead of CONNACK is permanent, untyped, or tried more often than promised.
#[test]
fn a_reset_instead_of_connack_is_a_failed_attempt() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect_of(VICTIM, ConnectReply::Never);
    let rig = Rig::begin("RST instead of CONNACK", broker, |spec| spec);
    for n in 1..=3 {
        wait_connects(&rig.broker, VICTIM, n);
        wait_until("there is a connection to reset", PATIENCE, || {
            rig.broker.cut(VICTIM)
        });
    }
    rig.gives_up(3, "Broken");
}

/// Fails if a CONNACK within the timeout is late all the same, or one behind it is taken for an answer to
/// the attempt that follows.
#[test]
fn a_late_connack_counts_within_the_timeout_only() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect_of(VICTIM, ConnectReply::Delay(TIMEOUT / 2));
    let rig = Rig::begin("late", broker, |spec| spec.retry(quick_retry(2)));
    rig.victim().wait_subscribed(PATIENCE).unwrap();
    rig.broker.clear_faults();
    assert!(rig.broker.kick(VICTIM));
    rig.lost("Closed");
    rig.recovers_at_once();

    let broker = TestBroker::start().unwrap();
    broker.on_connect_of(VICTIM, ConnectReply::Delay(3 * TIMEOUT));
    let rig = Rig::begin("too late", broker, |spec| {
        spec.retry(quick_retry(2)).connect_timeout(TIMEOUT)
    });
    rig.gives_up(2, "ConnectTimeout");
}
