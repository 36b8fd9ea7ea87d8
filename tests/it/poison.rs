//! Messages that a broker closes the connection on: given up after a number of closes, so that what is
//! behind them goes on, and what is innocent is never given up for them.

use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, Packet, Seen, Sessions, TestBroker};
use mqtt_fleet::{
    Cause, ClientSpec, Delivery, FailedCause, Outcome, QoS, ReceiptError, Retry, Session,
};

use crate::support::fleet::{PATIENCE, ended, quick, quick_retry, spec, start, wait_connects};

/// What the broker takes at most.
const LIMIT: usize = 1_000;

fn broker() -> TestBroker {
    let broker = TestBroker::builder().max_packet_size(LIMIT);
    broker.start().unwrap()
}

fn poison() -> Vec<u8> {
    vec![7; 2 * LIMIT]
}

fn given_up(times: u32) -> Result<Delivery, ReceiptError> {
    Err(ReceiptError::Failed(FailedCause::BrokerCloses { times }))
}

/// Fails if a message that the broker closes on stays in the way, at either quality of service and with
/// either session, if it costs more connections than promised, or if anything else is lost with it.
#[test]
fn a_message_that_the_broker_closes_on_is_given_up_and_the_rest_goes_on() {
    for session in [Session::Clean, Session::Kept] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let row = format!("{session:?} {qos:?}");
            let broker = broker();
            // As many attempts as closes: it is the message that ends, and not the client.
            let fleet = start([spec("p", &broker).session(session).retry(quick_retry(3))]);
            fleet.wait_connected(PATIENCE).unwrap();
            let client = fleet.client("p").unwrap();
            let before = client.publish("before", qos, false, "1").unwrap();
            assert_eq!(before.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
            let bad = client.publish("bad/topic", qos, false, poison()).unwrap();
            let behind: Vec<_> = (0..20)
                .map(|n: u32| client.publish("behind", qos, false, n.to_string()).unwrap())
                .collect();
            assert_eq!(bad.wait_timeout(PATIENCE), given_up(3), "{row}");
            let closed_on = Cause::ClosedOn {
                topic: "bad/topic".into(),
                times: 3,
            };
            assert_eq!(bad.cause(), Some(closed_on), "{row}");
            for receipt in behind {
                let delivery = receipt.wait_timeout(PATIENCE);
                assert_eq!(delivery, Ok(Delivery::Acknowledged), "{row}");
            }
            assert_eq!(broker.connects("p"), 4, "{row}");
            let stats = client.stats();
            assert_eq!((stats.given_up, stats.published.failed), (1, 1), "{row}");
            fleet.stop(PATIENCE);
        }
    }
}

/// Fails if the setting is not kept to: 1 is at once, 0 is never.
#[test]
fn the_number_of_closes_is_a_setting() {
    let broker = broker();
    let once = spec("once", &broker).max_closes(1);
    let never = spec("never", &broker).max_closes(0);
    let fleet = start([once, never]);
    fleet.wait_connected(PATIENCE).unwrap();
    let receipts = ["once", "never"].map(|name| {
        let client = fleet.client(name).unwrap();
        client
            .publish("bad", QoS::AtLeastOnce, false, poison())
            .unwrap()
    });
    assert_eq!(receipts[0].wait_timeout(PATIENCE), given_up(1));
    let Outcome::RetriesExhausted { last_error, .. } = ended(&fleet, "never") else {
        panic!("its attempts are used up");
    };
    let closed_on = Cause::ClosedOn {
        topic: "bad".into(),
        times: 3,
    };
    assert_eq!(last_error, closed_on, "and the message is named");
    let failed = Err(ReceiptError::Failed(FailedCause::NotAcknowledged));
    assert_eq!(receipts[1].wait_timeout(PATIENCE), failed);
    fleet.stop(PATIENCE);
}

/// Fails if a message is given up because the broker is restarted again and again while it is
/// unacknowledged.
#[test]
fn a_broker_that_is_restarted_poisons_nothing() {
    let broker = broker();
    let patient = spec("p", &broker).retry(quick(Retry::forever()));
    let fleet = start([patient]);
    let client = fleet.client("p").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    broker.hold_acks(true);
    let receipt = client.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    for n in 1..=5 {
        let arrived = broker.wait_for(|_| broker.published("t").len() >= n, PATIENCE);
        arrived.unwrap();
        // The loss is one of them, too: no connection is stable here.
        let failed = client.stats().failed_attempts;
        broker.stop();
        crate::support::proc::wait_until("an attempt finds no broker", PATIENCE, || {
            client.stats().failed_attempts >= failed + 2
        });
        broker.restart(Sessions::Lost).unwrap();
        client.wait_connected(PATIENCE).unwrap();
    }
    broker.hold_acks(false);
    broker.kick("p");
    assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    fleet.stop(PATIENCE);
}

/// Fails if an innocent message is given up for one of QoS 0 that the broker closes on, or for one that
/// is in flight beside it.
#[test]
fn an_innocent_message_is_not_given_up_for_another() {
    let broker = broker();
    let patient = spec("p", &broker).retry(quick(Retry::forever()));
    let fleet = start([patient.keep_alive(Duration::from_secs(1))]);
    let client = fleet.client("p").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    broker.hold_acks(true);
    let publish =
        |topic, qos, payload: Vec<u8>| client.publish(topic, qos, false, payload).unwrap();
    let innocent = publish("innocent", QoS::AtLeastOnce, b"1".to_vec());
    // Nothing is acknowledged, and so the first of three is the first suspect.
    let bad = publish("bad", QoS::AtLeastOnce, poison());
    let last = publish("last", QoS::ExactlyOnce, b"1".to_vec());
    for n in 2..=3 {
        wait_connects(&broker, "p", n);
        publish("zero", QoS::AtMostOnce, poison());
    }
    // Its acknowledgement is held. A connection that falls silent is none that the broker closes.
    broker.hold_acks(false);
    assert!(broker.silence("p"));
    assert_eq!(innocent.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    assert!(matches!(
        bad.wait_timeout(PATIENCE),
        Err(ReceiptError::Failed(FailedCause::BrokerCloses { times: 3 }))
    ));
    assert_eq!(last.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    assert_eq!(client.stats().given_up, 1);
    fleet.stop(PATIENCE);
}

/// Fails if a birth message that the broker closes on lets the client connect for ever, or is not named:
/// in the outcome, and in the report.
#[test]
fn a_birth_message_that_the_broker_closes_on_uses_the_attempts_up() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = broker();
        // Each connection is stable at once.
        let retry = quick_retry(3).stable_after(Duration::ZERO);
        let spec = spec("p", &broker).birth("state/p", qos, true, poison());
        let fleet = start([spec.retry(retry)]);
        let Outcome::RetriesExhausted { last_error, .. } = ended(&fleet, "p") else {
            panic!("its attempts are used up");
        };
        let Cause::ClosedOn { topic, .. } = &last_error else {
            panic!("{last_error}");
        };
        assert_eq!(topic, "state/p");
        let report = fleet.stop(PATIENCE);
        let client = report.client("p").unwrap();
        assert_eq!(client.last_cause(), Some(&last_error), "{report}");
    }
}

fn is_plain(cause: Option<&Cause>) -> bool {
    matches!(cause, Some(Cause::Closed | Cause::Broken { .. }))
}

/// Fails if a birth message of QoS 0 is blamed though the broker has read it: it has answered the ping
/// behind it, and closed for another reason.
#[test]
fn a_birth_message_that_the_broker_has_read_is_not_blamed() {
    let broker = broker();
    let patient = spec("p", &broker).retry(quick(Retry::forever()));
    let fleet = start([patient.birth("state/p", QoS::AtMostOnce, true, "1")]);
    let client = fleet.client("p").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    // Where a connection ended before an answer, the next one begins with a ping.
    for n in 1..=4 {
        let is_answer = |it: &&Seen| it.packet == Packet::Pingresp;
        let answers = |seen: &[Seen]| seen.iter().filter(is_answer).count();
        let answered = broker.wait_for(|seen| answers(seen) >= n / 2, PATIENCE);
        answered.unwrap();
        let connection = client.next_connection();
        broker.kick("p");
        connection.wait_connected(PATIENCE).unwrap();
        let cause = client.last_cause();
        assert!(is_plain(cause.as_ref()), "{cause:?}");
    }
    fleet.stop(PATIENCE);
}

/// Fails if a birth message of QoS 0 is blamed for a single connection that ended before the broker could
/// have read it: on the one before, it has acknowledged what came behind.
#[test]
fn a_birth_message_is_not_blamed_for_one_close() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = broker();
        let birth = spec("p", &broker).birth("state/p", QoS::AtMostOnce, true, "1");
        let fleet = start([birth.retry(quick_retry(2))]);
        let client = fleet.client("p").unwrap();
        client.wait_connected(PATIENCE).unwrap();
        let receipt = client.publish("t", qos, false, "1").unwrap();
        assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
        broker.on_connect(ConnectReply::AcceptThenKick);
        broker.kick("p");
        ended(&fleet, "p");
        assert_eq!(broker.connects("p"), 2);
        let cause = client.last_cause();
        assert!(is_plain(cause.as_ref()), "{cause:?}");
        fleet.stop(PATIENCE);
    }
}

/// Fails if the report does not name the topics of messages that were given up, names more than ten, or
/// does not count the rest; and if it blames another client beside the message.
#[test]
fn the_report_names_what_was_given_up() {
    let broker = broker();
    let fleet = start([spec("p", &broker)
        .max_closes(1)
        .retry(quick(Retry::forever()))]);
    fleet.wait_connected(PATIENCE).unwrap();
    let client = fleet.client("p").unwrap();
    for n in [0, 0].into_iter().chain(0..12) {
        let topic = format!("bad/{n}");
        let receipt = client.publish(topic, QoS::AtLeastOnce, false, poison());
        assert_eq!(receipt.unwrap().wait_timeout(PATIENCE), given_up(1));
    }
    let report = fleet.stop(PATIENCE);
    let found = report.client("p").unwrap().given_up();
    let found: Vec<_> = found.iter().map(|it| (&*it.topic, it.messages)).collect();
    assert_eq!(
        (found.len(), found[0], found[1]),
        (10, ("bad/0", 3), ("bad/1", 1))
    );
    let text = report.to_string();
    for line in [
        "given up: bad/0 (messages: 3), the broker closed the connection on it",
        "… and 2 more messages given up",
        "lost: 14 failed",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("in a row"), "it was once: {text}");
    assert!(!text.contains("another client"), "{text}");
    assert_eq!(report.exit_code(), 1, "{text}");
}

/// Fails if a connection that ends with the same message in hand as the one before gives the attempts back,
/// because it was old enough; the same for a message of the broker that is too large.
#[test]
fn connections_that_end_on_the_same_packet_use_the_attempts_up() {
    let broker = broker();
    let retry = || quick_retry(3).stable_after(Duration::ZERO);
    let large = ClientSpec::new("in", broker.url())
        .client_id("in")
        .subscribe("large", QoS::AtLeastOnce)
        .max_packet_size(200);
    let out = spec("out", &broker).max_closes(0);
    let fleet = start([large, out].map(|spec| spec.retry(retry())));
    fleet.wait_subscribed(PATIENCE).unwrap();
    let out = fleet.client("out").unwrap();
    let receipt = out.publish("bad", QoS::AtLeastOnce, false, poison());
    drop(receipt);
    let retained = broker.publish("large", QoS::AtLeastOnce, true, vec![7; 500]);
    retained.unwrap();
    for name in ["in", "out"] {
        let outcome = ended(&fleet, name);
        let exhausted = matches!(outcome, Outcome::RetriesExhausted { attempts: 3, .. });
        assert!(exhausted, "{name}: {outcome}");
    }
    fleet.stop(PATIENCE);
}
