//! A receipt says how its message ended, whatever the end; the ledger says the same.

use std::time::{Duration, Instant};

use mqtt_fleet::testing::{ConnectReply, Packet, Sessions, TestBroker};
use mqtt_fleet::{
    ClientSpec, Delivery, FailedCause, Fleet, Ledger, OutboxOverflow, QoS, Receipt, ReceiptError,
    Replay, Session,
};

use crate::support::fleet::wait_connects;
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, numbered, subscribed, tireless, wait_for_in, wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(10);

type End = Result<Delivery, ReceiptError>;

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

fn publish(fleet: &Fleet, qos: QoS) -> Receipt {
    let client = fleet.client("plant").unwrap();
    client.publish("t", qos, false, "1").unwrap()
}

fn ledger(fleet: &Fleet) -> Ledger {
    fleet.client("plant").unwrap().ledger()
}

/// Waits for the end of each receipt, asserts that all its calls agree, and that the ledger has as many
/// in each bucket as receipts say.
fn assert_ends(fleet: &Fleet, receipts: &[Receipt], ends: &[End]) {
    let mut expected = Ledger::default();
    for (receipt, end) in receipts.iter().zip(ends) {
        assert_eq!(receipt.wait_timeout(PATIENCE), *end);
        assert_eq!(receipt.wait(), *end);
        assert_eq!(receipt.try_result(), Some(*end));
        assert!(receipt.is_done());
        expected.accepted += 1;
        *match end {
            Ok(Delivery::Acknowledged) => &mut expected.acknowledged,
            Ok(Delivery::Sent) => &mut expected.sent,
            Err(ReceiptError::Expired) => &mut expected.expired,
            Err(ReceiptError::Dropped) => &mut expected.dropped,
            Err(ReceiptError::Failed(_)) => &mut expected.failed,
            Err(ReceiptError::Unsent) => &mut expected.unsent,
            other => panic!("{other:?} is no end"),
        } += 1;
    }
    assert_eq!(ledger(fleet), expected);
    assert_eq!((receipts.len(), expected.balances()), (ends.len(), true));
}

/// Fails when a receipt says too early that a message is acknowledged (QoS 2 is at PUBCOMP, not at
/// PUBREC), or too late; or says of QoS 0 what nobody can know.
#[test]
fn acknowledged_and_sent() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker)));
    broker.hold_acks(true);
    let receipts =
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| publish(&fleet, qos));
    wait_for_publishes(&broker, "plant", 3);
    assert_eq!(receipts[0].wait_timeout(PATIENCE), Ok(Delivery::Sent));
    for receipt in &receipts[1..] {
        assert_eq!(receipt.wait_timeout(MOMENT), Err(ReceiptError::Timeout));
        assert_eq!((receipt.try_result(), receipt.is_done()), (None, false));
    }
    // PUBACK and PUBREC of these two, and no PUBCOMP.
    assert!(broker.send_raw("plant", &[0x40, 2, 0, 1, 0x50, 2, 0, 2][..]));
    wait_for_in(&broker, "plant", 1, |it| {
        matches!(it, Packet::Pubrel { .. })
    });
    assert_eq!(
        receipts[1].wait_timeout(PATIENCE),
        Ok(Delivery::Acknowledged)
    );
    assert_eq!(receipts[2].wait_timeout(MOMENT), Err(ReceiptError::Timeout));
    assert_eq!(
        (ledger(&fleet).in_progress, ledger(&fleet).accepted),
        (1, 3)
    );
    assert!(broker.send_raw("plant", &[0x70, 2, 0, 2][..]));
    let acknowledged = Ok(Delivery::Acknowledged);
    assert_ends(
        &fleet,
        &receipts,
        &[Ok(Delivery::Sent), acknowledged, acknowledged],
    );
    fleet.stop(STOP);
}

/// Fails when an age limit is not kept while the broker is away, or takes what is young enough.
#[test]
fn expired() {
    let broker = TestBroker::start().unwrap();
    let age = Duration::from_millis(100);
    let fleet = subscribed(Fleet::builder().client(plant(&broker).max_age(age)));
    broker.stop();
    fleet
        .client("plant")
        .unwrap()
        .wait_disconnected(PATIENCE)
        .unwrap();
    let published = Instant::now();
    let mut receipts = vec![
        publish(&fleet, QoS::AtLeastOnce),
        publish(&fleet, QoS::AtMostOnce),
    ];
    let expired = Err(ReceiptError::Expired);
    assert_eq!(receipts[1].wait_timeout(PATIENCE), expired);
    assert!(published.elapsed() >= age);
    broker.restart(Sessions::Lost).unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    receipts.push(publish(&fleet, QoS::AtLeastOnce));
    assert_ends(
        &fleet,
        &receipts,
        &[expired, expired, Ok(Delivery::Acknowledged)],
    );
    assert_eq!(broker.published("t").len(), 1);
    fleet.stop(STOP);
}

/// Fails when a message that was sent expires: the broker may have it, and "expired" says that it has not.
#[test]
fn what_was_sent_does_not_expire() {
    let broker = TestBroker::start().unwrap();
    let age = Duration::from_millis(50);
    let fleet = subscribed(Fleet::builder().client(plant(&broker).max_age(age)));
    broker.hold_acks(true);
    let receipts: Vec<_> = [QoS::AtLeastOnce, QoS::ExactlyOnce]
        .map(|qos| publish(&fleet, qos))
        .into();
    let accepted = Instant::now();
    wait_for_publishes(&broker, "plant", 2);
    wait_until("they are old", PATIENCE, || accepted.elapsed() > 2 * age);
    // A clean session: what follows is sent as new.
    broker.cut("plant");
    wait_for_publishes(&broker, "plant", 4);
    broker.hold_acks(false);
    assert_ends(&fleet, &receipts, &[Ok(Delivery::Acknowledged); 2]);
    fleet.stop(STOP);
}

/// Fails when the newest message is dropped instead of the oldest, or more than is needed.
#[test]
fn dropped() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let spec = plant(&broker)
        .outbox_capacity(2)
        .outbox_overflow(OutboxOverflow::DropOldest);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let client = fleet.client("plant").unwrap();
    let receipts: Vec<_> = (0..5)
        .map(|n| {
            client
                .publish("t", QoS::AtLeastOnce, false, numbered(n))
                .unwrap()
        })
        .collect();
    assert!(receipts[..3].iter().all(Receipt::is_done));
    assert!(!receipts[3].is_done() && !receipts[4].is_done());
    broker.restart(Sessions::Lost).unwrap();
    let (dropped, acknowledged) = (Err(ReceiptError::Dropped), Ok(Delivery::Acknowledged));
    assert_ends(
        &fleet,
        &receipts,
        &[dropped, dropped, dropped, acknowledged, acknowledged],
    );
    assert_eq!(broker.published("t"), ["3", "4"]);
    fleet.stop(STOP);
}

/// Fails when `Replay::OnlyWithSession` repeats without one, hangs, or gives up with one.
#[test]
fn failed_with_the_session() {
    for (sessions, end) in [
        (
            Sessions::Lost,
            Err(ReceiptError::Failed(FailedCause::SessionLost)),
        ),
        (Sessions::Kept, Ok(Delivery::Acknowledged)),
    ] {
        let broker = TestBroker::start().unwrap();
        let spec = plant(&broker)
            .session(Session::Kept)
            .replay(Replay::OnlyWithSession);
        let fleet = subscribed(Fleet::builder().client(spec));
        broker.hold_acks(true);
        let receipts = [
            publish(&fleet, QoS::AtLeastOnce),
            publish(&fleet, QoS::ExactlyOnce),
        ];
        wait_for_publishes(&broker, "plant", 2);
        broker.stop();
        broker.hold_acks(false);
        broker.restart(sessions).unwrap();
        assert_ends(&fleet, &receipts, &[end, end]);
        let times = if end.is_ok() { 2 } else { 1 };
        assert_eq!(broker.published("t").len(), 2 * times);
        fleet.stop(STOP);
    }
}

/// Fails when a stop leaves a receipt without an end, or gives one that was sent the end of one that was
/// not: only of that one is it certain that the broker does not have it.
#[test]
fn a_stop_tells_what_was_sent_from_what_was_not() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).window(1)));
    broker.hold_acks(true);
    let receipts =
        [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce].map(|qos| publish(&fleet, qos));
    wait_for_publishes(&broker, "plant", 1);
    fleet.stop_now(STOP);
    let unsent = Err(ReceiptError::Unsent);
    let failed = Err(ReceiptError::Failed(FailedCause::NotAcknowledged));
    assert_ends(&fleet, &receipts, &[failed, unsent, unsent]);

    let broker = TestBroker::start().unwrap();
    broker.stop();
    let fleet = Fleet::builder().client(plant(&broker)).start().unwrap();
    let receipts = [
        publish(&fleet, QoS::AtLeastOnce),
        publish(&fleet, QoS::AtMostOnce),
    ];
    fleet.stop(STOP);
    assert_ends(&fleet, &receipts, &[unsent, unsent]);
}

/// Fails when a message that was sent, and waits to be sent again in a new session, ends as one that was
/// never sent.
#[test]
fn what_was_sent_is_never_unsent() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).window(20)));
    let client = fleet.client("plant").unwrap();
    broker.hold_acks(true);
    let large = || vec![0; 7_000];
    let receipts: Vec<_> = (0..20)
        .map(|_| {
            client
                .publish("t", QoS::AtLeastOnce, false, large())
                .unwrap()
        })
        .collect();
    wait_for_publishes(&broker, "plant", 20);
    // The next connections end before all of them are sent again.
    broker.on_connect(ConnectReply::AcceptThenKick);
    broker.cut("plant");
    wait_connects(&broker, "plant", 4);
    broker.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    fleet.stop(STOP);
    let failed = Err(ReceiptError::Failed(FailedCause::NotAcknowledged));
    assert_ends(&fleet, &receipts, &[failed; 20]);
}
