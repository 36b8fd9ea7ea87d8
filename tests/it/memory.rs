//! Memory is bounded while the broker is away, whoever keeps on publishing.

use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, OutboxOverflow, PublishErrorKind, QoS};

use crate::support::proc::{alone, resident_bytes, wait_until};
use crate::support::receiving::{PATIENCE, subscribed, tireless};

const PUBLISHERS: usize = 10;
/// Calls of each publisher, and how large their messages are: 200 MB in all.
const CALLS: usize = 20_000;
const PAYLOAD: usize = 1_000;
const CAPACITY: usize = 1_000;
/// Generous: the outbox may hold 1 MB of payloads, and kept receipts 200,000 small slots.
const BOUND: u64 = 16 * 1024 * 1024;

/// All publishers publish at a client that is away; says how much memory that took.
fn growth(fleet: &Fleet, overflow: OutboxOverflow, keep_receipts: bool) -> u64 {
    let client = fleet.client("plant").unwrap();
    let before = resident_bytes();
    let kept = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut receipts = Vec::new();
                    for _ in 0..CALLS {
                        let payload = vec![b'x'; PAYLOAD];
                        match client.try_publish("t", QoS::AtLeastOnce, false, payload) {
                            Ok(receipt) if keep_receipts => receipts.push(receipt),
                            Ok(_) => {}
                            Err(error) => assert_eq!(error.kind(), PublishErrorKind::Full),
                        }
                    }
                    receipts
                })
            })
            .collect();
        let receipts = publishers.into_iter().flat_map(|it| it.join().unwrap());
        receipts.collect::<Vec<_>>()
    });
    let after = resident_bytes();
    let ledger = client.ledger();
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!(ledger.in_progress, CAPACITY as u64);
    let calls = (PUBLISHERS * CALLS) as u64;
    let accepted = match overflow {
        OutboxOverflow::DropOldest => calls,
        _ => CAPACITY as u64,
    };
    assert_eq!(ledger.accepted, accepted);
    assert_eq!(kept.len() as u64, if keep_receipts { accepted } else { 0 });
    let done = kept.iter().filter(|it| it.is_done()).count() as u64;
    assert_eq!(done, if keep_receipts { ledger.dropped } else { 0 });
    after.saturating_sub(before)
}

fn bounded(overflow: OutboxOverflow, keep_receipts: bool) {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .outbox_capacity(CAPACITY)
        .outbox_overflow(overflow)
        .retry(tireless());
    let fleet = subscribed(Fleet::builder().client(spec));
    broker.stop();
    let client = fleet.client("plant").unwrap();
    // The loss is known before the outbox is told; by the next attempt both are.
    wait_until("the outbox knows", PATIENCE, || {
        client.stats().failed_attempts > 0
    });
    let growth = growth(&fleet, overflow, keep_receipts);
    assert!(growth < BOUND, "{} KiB", growth / 1024);
    println!(
        "{overflow:?}, receipts kept {keep_receipts}: {} KiB",
        growth / 1024
    );
    let report = fleet.stop(Duration::from_secs(10));
    assert_eq!(report.total().published.unsent, CAPACITY as u64);
}

/// Fails when the outbox grows beyond its bound, or when what it refused leaves something behind.
#[test]
fn refused_messages_leave_nothing_behind() {
    alone("memory::refused_messages_leave_nothing_behind", || {
        bounded(OutboxOverflow::Refuse, false);
        bounded(OutboxOverflow::Refuse, true);
    });
}

/// Fails when dropped messages stay in memory: their payloads are 200 times what the outbox may hold.
#[test]
fn dropped_messages_leave_nothing_behind() {
    alone("memory::dropped_messages_leave_nothing_behind", || {
        bounded(OutboxOverflow::DropOldest, false);
    });
}

/// Fails when a kept receipt keeps more than the little that says how its message ended.
#[test]
fn a_kept_receipt_keeps_no_message() {
    alone("memory::a_kept_receipt_keeps_no_message", || {
        bounded(OutboxOverflow::DropOldest, true);
    });
}
