//! Memory is bounded while the broker is away, whoever keeps on publishing, and what a handler keeps
//! keeps nothing else.

use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, FleetBuilder, OutboxOverflow, PublishErrorKind, QoS};
use parking_lot::Mutex;

use crate::support::proc::{alone, resident_bytes, wait_until};
use crate::support::receiving::{PATIENCE, gate, subscribed, tireless};

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

/// How much memory kept payloads take: one of fifty that came together. The buffers that they were
/// read into are 30 MB. Each round is published, handled, and looked at by `keep`.
fn kept(builder: FleetBuilder, keep: impl Fn(&Fleet, usize) -> usize) -> u64 {
    const ROUND: usize = 2_000;
    const ROUNDS: usize = 100;
    let broker = TestBroker::start().unwrap();
    broker.record(false);
    let spec = ClientSpec::new("plant", broker.url()).subscribe("t", QoS::AtLeastOnce);
    let source = ClientSpec::new("source", broker.url());
    let fleet = subscribed(builder.client(spec).client(source));
    let source = fleet.client("source").unwrap();
    let publish = |rounds| {
        for round in 1..=rounds {
            for _ in 0..ROUND {
                let receipt = source.publish("t", QoS::AtLeastOnce, false, vec![7; 64]);
                drop(receipt.unwrap());
            }
            assert_eq!(keep(&fleet, ROUND), ROUND / 50, "round {round}");
        }
    };
    // What the threads, queues and buffers need is there from now on.
    publish(ROUNDS / 10);
    let before = resident_bytes();
    publish(ROUNDS);
    let growth = resident_bytes().saturating_sub(before);
    println!("{} KiB", growth / 1024);
    fleet.stop(Duration::from_secs(10));
    growth
}

/// Fails when a small payload that a handler keeps, or a program that takes messages itself, keeps more
/// than itself: the buffer that it was read into, or what came together with it.
#[test]
fn a_kept_payload_keeps_nothing_else() {
    const BOUND: u64 = 4 * 1024 * 1024;
    alone("memory::a_kept_payload_keeps_nothing_else", || {
        let (send, payloads) = unbounded();
        let builder = Fleet::builder().workers(1);
        let builder = builder.on_message("t", move |message, _| {
            send.send(message.payload().clone())?;
            Ok(())
        });
        let held = Mutex::new(Vec::new());
        let hold = |n: usize, payload: Bytes| {
            let is_meant = n % 50 == 0;
            held.lock().extend(is_meant.then_some(payload));
            usize::from(is_meant)
        };
        let handled = |_: &Fleet, count| {
            let came = (0..count).map(|n| hold(n, payloads.recv_timeout(PATIENCE).unwrap()));
            came.sum()
        };
        assert!(kept(builder, handled) < BOUND);
        held.lock().clear();
        let pulled = |fleet: &Fleet, count| {
            let next = || fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
            let came = (0..count).map(|n| hold(n, next().payload().clone()));
            came.sum()
        };
        assert!(kept(Fleet::builder(), pulled) < BOUND);
    });
}

/// Fails when what waits for a handler that is stuck is bounded by its number alone: at the default of 65,536
/// messages, the 300 MB that are sent here would all wait.
#[test]
fn a_flood_of_large_messages_is_bounded_by_default() {
    const MESSAGES: u64 = 6_000;
    /// Twice the 64 MiB: a message keeps the buffer that it was read into.
    const BOUND: u64 = 128 * 1024 * 1024;
    let test = "memory::a_flood_of_large_messages_is_bounded_by_default";
    alone(test, || {
        let payload = Bytes::from(vec![b'x'; 50_000]);
        let broker = TestBroker::start().unwrap();
        broker.record(false);
        let (mut gate, door) = gate();
        let spec = ClientSpec::new("plant", broker.url()).subscribe("t", QoS::AtMostOnce);
        let builder = Fleet::builder().client(spec).workers(1);
        let fleet = subscribed(builder.on_message("t", move |message, _| {
            door.pass(message);
            Ok(())
        }));
        let before = resident_bytes();
        let stats = || fleet.client("plant").unwrap().stats();
        for sent in 1..=MESSAGES {
            let published = broker.publish("t", QoS::AtMostOnce, false, payload.clone());
            published.unwrap();
            // What waits in the broker of this process is memory too.
            if sent % 100 == 0 {
                wait_until("they have come", PATIENCE, || stats().received == sent);
            }
        }
        let growth = resident_bytes().saturating_sub(before);
        println!("{} MiB, {} dropped", growth / 1024 / 1024, stats().dropped);
        assert!(growth < BOUND, "{} MiB", growth / 1024 / 1024);
        // 64 MiB by 50,048 bytes, and the one in the handler.
        assert_eq!(stats().dropped, MESSAGES - 1_340 - 1);
        gate.open();
        fleet.stop(PATIENCE);
    });
}
