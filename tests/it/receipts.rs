//! A receipt says how its message ended, whatever the end; the ledger says the same.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{
    ClientSpec, Delivery, FailedCause, Fleet, Ledger, OutboxOverflow, Outcome, QoS, Receipt,
    ReceiptError, Replay, Session,
};

use crate::support::fleet::{MARGIN, ended, quick_retry};
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, numbered, subscribed, take, tireless, wait_for_in, wait_for_publishes,
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
    fleet.stop(STOP);
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
    broker.hold_acks(true);
    let receipts: Vec<_> = (0..20).map(|_| publish(&fleet, QoS::AtLeastOnce)).collect();
    wait_for_publishes(&broker, "plant", 20);
    // The next connection ends with its first repetition, the one after it is never made.
    broker.cut_after("plant", 2);
    broker.cut("plant");
    wait_for_publishes(&broker, "plant", 21);
    broker.stop();
    fleet.stop(STOP);
    let failed = Err(ReceiptError::Failed(FailedCause::NotAcknowledged));
    assert_ends(&fleet, &receipts, &[failed; 20]);
}

/// Fails when a client that gives up leaves somebody waiting for a receipt, in any thread.
#[test]
fn giving_up_ends_every_receipt() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).retry(quick_retry(2)).window(2)));
    broker.hold_acks(true);
    let receipts: Vec<_> = (0..10).map(|_| publish(&fleet, QoS::AtLeastOnce)).collect();
    wait_for_publishes(&broker, "plant", 2);
    thread::scope(|scope| {
        // Several for each receipt, and one thread that waits for all.
        let waiters: Vec<_> = receipts
            .iter()
            .chain(&receipts)
            .map(|receipt| scope.spawn(|| receipt.wait()))
            .collect();
        broker.stop();
        assert!(matches!(
            ended(&fleet, "plant"),
            Outcome::RetriesExhausted { .. }
        ));
        for (n, waiter) in waiters.into_iter().enumerate() {
            let expected = match n % 10 < 2 {
                true => ReceiptError::Failed(FailedCause::NotAcknowledged),
                false => ReceiptError::Unsent,
            };
            assert_eq!(waiter.join().unwrap(), Err(expected));
        }
    });
    assert_eq!((ledger(&fleet).failed, ledger(&fleet).unsent), (2, 8));
    fleet.stop(STOP);
}

/// Fails when only one of the threads that wait for a receipt is woken, or when a receipt that is dropped
/// at once takes its message, or another's end, with it.
#[test]
fn many_threads_wait_for_one_and_nobody_for_others() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker)));
    broker.hold_acks(true);
    let kept = publish(&fleet, QoS::AtLeastOnce);
    for _ in 0..50 {
        drop(publish(&fleet, QoS::AtLeastOnce));
    }
    let last = publish(&fleet, QoS::AtLeastOnce);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..8)
            .map(|n| {
                let kept = &kept;
                scope.spawn(move || match n % 2 {
                    0 => kept.wait(),
                    _ => kept.wait_timeout(PATIENCE),
                })
            })
            .collect();
        wait_for_publishes(&broker, "plant", 52);
        assert!(!kept.is_done() && !last.is_done());
        broker.hold_acks(false);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(Delivery::Acknowledged));
        }
    });
    assert_eq!(last.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    assert_eq!(ledger(&fleet).acknowledged, 52);
    fleet.stop(STOP);
}

/// Fails when a handler or a pub function that waits for a receipt keeps the client from sending what it
/// waits for.
#[test]
fn handlers_and_pub_functions_may_wait() {
    let broker = TestBroker::start().unwrap();
    let (sink, ends) = unbounded();
    let from_handler = sink.clone();
    let spec = plant(&broker)
        .subscribe("in", QoS::ExactlyOnce)
        .publish_every(MOMENT, move |client| {
            let receipt = client.publish("tick", QoS::ExactlyOnce, false, "1")?;
            sink.send(("tick", receipt.wait_timeout(PATIENCE)))?;
            Ok(())
        });
    let builder = Fleet::builder().client(spec).workers(1);
    let fleet = subscribed(builder.on_message("in", move |_message, clients| {
        let receipt = clients
            .get("plant")?
            .publish("out", QoS::ExactlyOnce, false, "1")?;
        from_handler.send(("out", receipt.wait_timeout(PATIENCE)))?;
        Ok(())
    }));
    for _ in 0..5 {
        broker.publish("in", QoS::ExactlyOnce, false, "1").unwrap();
    }
    let mut handled = 0;
    while handled < 5 {
        let (who, end) = take(&ends, 1)[0];
        assert_eq!(end, Ok(Delivery::Acknowledged), "{who}");
        handled += usize::from(who == "out");
    }
    let stopped = Instant::now();
    fleet.stop(STOP);
    assert!(stopped.elapsed() < STOP + MARGIN);
}
