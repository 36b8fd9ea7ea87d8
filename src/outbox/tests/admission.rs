//! Which messages are taken, and which make room.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::unbounded;

use super::{carried, message, offer, outbox, settings, step};
use crate::{
    outbox::{NotTaken, Patience, receipt::ReceiptError},
    spec::{
        outbox::{Offline, OutboxOverflow, OutboxSettings},
        qos::QoS,
    },
    supervise::thread::Thread,
};

#[test]
fn a_full_outbox_refuses_or_waits_or_drops_and_close_releases() {
    let (outbox, _carries) = outbox(settings(1, 10));
    let waits = offer(&outbox, "a", QoS::AtMostOnce);
    let refused = outbox.offer(message("b", QoS::AtMostOnce).into(), Patience::None);
    let (returned, refusal) = refused.unwrap_err();
    assert_eq!((returned.topic(), refusal), ("b", NotTaken::Full));
    let soon = Instant::now() + Duration::from_millis(5);
    let late = outbox.offer(
        message("c", QoS::AtMostOnce).into(),
        Patience::Until(Some(soon)),
    );
    assert_eq!(late.unwrap_err().1, NotTaken::Full);

    let (released, result) = unbounded();
    let waiting = Arc::clone(&outbox);
    let waiter = Thread::spawn("waiter", 128 * 1024, move || {
        let offered = waiting.offer(message("d", QoS::AtMostOnce).into(), Patience::Until(None));
        released.send(offered.unwrap_err().1).unwrap();
    })
    .unwrap();
    outbox.end();
    assert_eq!(result.recv(), Ok(NotTaken::Closed));
    assert!(waiter.join_until(None));
    assert_eq!(waits.wait(), Err(ReceiptError::Unsent));
    assert!(outbox.ledger().balances());
}

#[test]
fn the_oldest_is_dropped_or_expires_as_the_settings_say() {
    let (dropping, _carries) = outbox(OutboxSettings {
        overflow: OutboxOverflow::DropOldest,
        ..settings(2, 10)
    });
    let receipts: Vec<_> = ["a", "b", "c"]
        .map(|topic| offer(&dropping, topic, QoS::AtLeastOnce))
        .into();
    assert_eq!(receipts[0].wait(), Err(ReceiptError::Dropped));
    assert!(!receipts[1].is_done());
    assert_eq!(dropping.ledger().dropped, 1);

    let (aging, carries) = outbox(OutboxSettings {
        max_age: Some(Duration::ZERO),
        ..settings(2, 10)
    });
    let old = offer(&aging, "old", QoS::AtLeastOnce);
    aging.connected(false, [], None);
    assert!(step(&aging, &mut Vec::new()).unwrap().is_empty());
    assert_eq!(carried(&carries), "silence");
    assert_eq!(old.wait(), Err(ReceiptError::Expired));
    assert!(aging.ledger().balances());

    let (rejecting, _carries) = outbox(OutboxSettings {
        offline: Offline::Reject,
        ..settings(2, 10)
    });
    let refused = rejecting.offer(message("a", QoS::AtMostOnce).into(), Patience::Until(None));
    assert_eq!(refused.unwrap_err().1, NotTaken::Offline);
}

#[test]
fn what_a_long_outage_took_is_given_back() {
    const MANY: usize = 20_000;
    let (outbox, _carries) = outbox(settings(MANY, 10));
    for _ in 0..MANY {
        offer(&outbox, "plant/line/7", QoS::AtMostOnce);
    }
    assert!(outbox.state.lock().queue.memory() > MANY * "plant/line/7".len());
    outbox.connected(false, [], None);
    step(&outbox, &mut Vec::new()).unwrap();
    assert_eq!(outbox.ledger().sent, MANY as u64);
    assert!(outbox.state.lock().queue.memory() < 200_000);
}
