//! The outbox without a connection: a bell that records, and steps as a network thread takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;
use crate::{
    publish::{
        batch::Batch,
        message::Progress,
        outbox::{
            moment::Moments,
            network_side::{Backlog, Settled},
            suspicion::Ended,
        },
        receipt::{Delivery, FailedCause, ReceiptError},
    },
    spec::qos::QoS,
    supervise::thread::Thread,
};

struct Recorder(Sender<Item>);

impl Bell for Recorder {
    fn ring(&self, item: Item) -> Result<(), Item> {
        self.0.send(item).map_err(|error| error.0)
    }
}

pub(super) fn outbox(settings: OutboxSettings) -> (Arc<Outbox>, Receiver<Item>) {
    let (rung, heard) = unbounded();
    let outbox = Arc::new(Outbox::new(settings));
    outbox.attach(Box::new(Recorder(rung)));
    (outbox, heard)
}

pub(super) fn settings(capacity: usize, window: u16) -> OutboxSettings {
    OutboxSettings {
        capacity,
        window,
        ..OutboxSettings::default()
    }
}

pub(super) fn message(topic: &str, qos: QoS) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        qos,
        retain: false,
        payload: Bytes::new(),
    }
}

fn offer(outbox: &Outbox, topic: &str, qos: QoS) -> Receipt {
    outbox.offer(message(topic, qos), Patience::None).unwrap()
}

fn topic(item: Option<Item>) -> String {
    match item {
        Some(Item::Publish(message)) => message.topic,
        Some(Item::Control(control)) => format!("{control:?}"),
        None => "silence".to_owned(),
    }
}

fn bell(heard: &Receiver<Item>) -> String {
    topic(heard.try_recv().ok())
}

fn feed(batch: &mut Batch) -> Vec<(Item, Option<Stub>)> {
    let mut fed = Vec::new();
    while let Some(item) = batch.feed() {
        fed.push((item, batch.fed()));
    }
    fed
}

/// The network thread's step: says what was fed, or that the outbox is closed.
fn settle(outbox: &Outbox, steps: Vec<Progress>) -> Option<Vec<(Item, Option<Stub>)>> {
    let (mut progress, mut batch) = (steps, Batch::default());
    match outbox.settle(&mut progress, &mut batch) {
        Settled::Ready { .. } => Some(feed(&mut batch)),
        Settled::Closed | Settled::Finished => None,
        Settled::Ping | Settled::Repeat(_) => {
            panic!("no broker of these tests closes on a message")
        }
        Settled::Outgrown(_) => panic!("the windows of these tests are small"),
        Settled::Born { .. } => panic!("no birth message waits in these tests"),
    }
}

/// Fails when a client that is stopped between the loss of its connection and what was seen on it ends messages
/// otherwise than they have ended.
#[test]
fn what_was_seen_before_a_loss_counts_whenever_the_client_is_stopped() {
    let (outbox, heard) = outbox(settings(10, 10));
    outbox.connected(false, None);
    settle(&outbox, Vec::new()).unwrap();
    let acknowledged = offer(&outbox, "acknowledged", QoS::AtLeastOnce);
    assert_eq!(bell(&heard), "acknowledged");
    settle(&outbox, vec![Progress::Written { packet_id: 1 }]).unwrap();
    let written = offer(&outbox, "written", QoS::AtLeastOnce);
    assert_eq!(bell(&heard), "written");
    let waiting = offer(&outbox, "waiting", QoS::AtLeastOnce);
    // Seen, and not told yet.
    let mut progress = vec![
        Progress::Written { packet_id: 2 },
        Progress::Acknowledged { packet_id: 1 },
    ];
    outbox.lost();
    outbox.close();
    assert_eq!(acknowledged.try_result(), None, "nobody knows yet");
    outbox.disconnected(
        &mut progress,
        &mut Batch::default(),
        Ended::default(),
        Backlog::default,
    );
    outbox.end();
    assert_eq!(acknowledged.try_result(), Some(Ok(Delivery::Acknowledged)));
    let not_acknowledged = ReceiptError::Failed(FailedCause::NotAcknowledged);
    assert_eq!(written.try_result(), Some(Err(not_acknowledged)));
    assert_eq!(waiting.try_result(), Some(Err(ReceiptError::Unsent)));
    assert!(outbox.ledger().balances());
}

#[test]
fn one_bell_is_out_at_a_time_and_what_comes_meanwhile_goes_together() {
    let (outbox, heard) = outbox(settings(10, 10));
    let _first = offer(&outbox, "first", QoS::AtMostOnce);
    assert_eq!(
        bell(&heard),
        "silence",
        "nothing rings without a connection"
    );
    outbox.connected(false, None);
    settle(&outbox, Vec::new()).unwrap();
    assert_eq!(bell(&heard), "first");
    let kept: Vec<_> = ["second", "third", "fourth"]
        .map(|topic| offer(&outbox, topic, QoS::AtMostOnce))
        .into();
    assert_eq!(bell(&heard), "silence", "a bell is out");
    let fed = settle(&outbox, vec![Progress::Written { packet_id: 0 }]).unwrap();
    let fed_topics = fed.iter().map(|(item, _)| match item {
        Item::Publish(message) => message.topic.clone(),
        Item::Control(control) => format!("{control:?}"),
    });
    assert_eq!(fed_topics.collect::<Vec<_>>(), ["second", "third"]);
    assert_eq!(bell(&heard), "fourth");
    assert_eq!(outbox.ledger().in_progress, 3);
    let mut steps: Vec<_> = fed
        .into_iter()
        .filter_map(|(_, stub)| stub)
        .map(|stub| Progress::Fed { packet_id: 0, stub })
        .collect();
    steps.push(Progress::Written { packet_id: 0 });
    assert!(settle(&outbox, steps).unwrap().is_empty());
    assert!(kept.iter().all(Receipt::is_done));
    let _fifth = offer(&outbox, "fifth", QoS::AtMostOnce);
    assert_eq!(bell(&heard), "fifth", "it slept");
}

#[test]
fn a_full_window_holds_publishes_and_not_acknowledgements() {
    let (outbox, heard) = outbox(settings(10, 1));
    outbox.connected(false, None);
    settle(&outbox, Vec::new()).unwrap();
    let flying = offer(&outbox, "flying", QoS::AtLeastOnce);
    assert_eq!(bell(&heard), "flying");
    let _held = offer(&outbox, "held", QoS::AtLeastOnce);
    let _behind = offer(&outbox, "behind", QoS::AtMostOnce);
    settle(&outbox, vec![Progress::Written { packet_id: 1 }]).unwrap();
    assert_eq!(bell(&heard), "silence");
    assert!(outbox.control(Control::Acknowledge {
        packet_id: 7,
        qos: QoS::AtLeastOnce,
    }));
    assert!(bell(&heard).starts_with("Acknowledge"));
    let landed = vec![Progress::Heard, Progress::Acknowledged { packet_id: 1 }];
    let fed = settle(&outbox, landed).unwrap();
    assert_eq!(fed.len(), 1);
    assert_eq!(bell(&heard), "behind");
    assert!(flying.wait().is_ok());
}

#[test]
fn a_full_outbox_refuses_or_waits_or_drops_and_close_releases() {
    let (outbox, _heard) = outbox(settings(1, 10));
    let waits = offer(&outbox, "a", QoS::AtMostOnce);
    let refused = outbox.offer(message("b", QoS::AtMostOnce), Patience::None);
    let (returned, refusal) = refused.unwrap_err();
    assert_eq!((returned.topic.as_str(), refusal), ("b", Refusal::Full));
    let soon = Instant::now() + Duration::from_millis(5);
    let late = outbox.offer(message("c", QoS::AtMostOnce), Patience::Until(Some(soon)));
    assert_eq!(late.unwrap_err().1, Refusal::Full);

    let (released, result) = unbounded();
    let waiting = Arc::clone(&outbox);
    let waiter = Thread::spawn("waiter", 128 * 1024, move || {
        let offered = waiting.offer(message("d", QoS::AtMostOnce), Patience::Until(None));
        released.send(offered.unwrap_err().1).unwrap();
    })
    .unwrap();
    outbox.end();
    assert_eq!(result.recv(), Ok(Refusal::Closed));
    assert!(waiter.join_until(None));
    assert_eq!(waits.wait(), Err(ReceiptError::Unsent));
    assert!(outbox.ledger().balances());
}

#[test]
fn the_oldest_is_dropped_or_expires_as_the_settings_say() {
    let (dropping, _heard) = outbox(OutboxSettings {
        overflow: OutboxOverflow::DropOldest,
        ..settings(2, 10)
    });
    let receipts: Vec<_> = ["a", "b", "c"]
        .map(|topic| offer(&dropping, topic, QoS::AtLeastOnce))
        .into();
    assert_eq!(receipts[0].wait(), Err(ReceiptError::Dropped));
    assert!(!receipts[1].is_done());
    assert_eq!(dropping.ledger().dropped, 1);

    let (aging, heard) = outbox(OutboxSettings {
        max_age: Some(Duration::ZERO),
        ..settings(2, 10)
    });
    let old = offer(&aging, "old", QoS::AtLeastOnce);
    aging.connected(false, None);
    settle(&aging, Vec::new()).unwrap();
    assert_eq!(bell(&heard), "silence");
    assert_eq!(old.wait(), Err(ReceiptError::Expired));
    assert!(aging.ledger().balances());

    let (rejecting, _heard) = outbox(OutboxSettings {
        offline: Offline::Reject,
        ..settings(2, 10)
    });
    let refused = rejecting.offer(message("a", QoS::AtMostOnce), Patience::Until(None));
    assert_eq!(refused.unwrap_err().1, Refusal::Offline);
}

/// What is awaited ends a moment, and so does whatever else there is to do; nobody rings meanwhile.
#[test]
fn a_moment_ends_with_what_is_brought() {
    const LONG: Duration = Duration::from_secs(20);
    let acknowledge = |packet_id| Control::Acknowledge {
        packet_id,
        qos: QoS::AtLeastOnce,
    };
    for giving_way in [Duration::ZERO, LONG] {
        for ending in ["acknowledgements", "a subscription", "a publish", "the end"] {
            let (outbox, heard) = outbox(settings(10, 4));
            outbox.connected(false, None);
            assert!(settle(&outbox, Vec::new()).unwrap().is_empty());
            let (over, result) = unbounded();
            let waiting = Arc::clone(&outbox);
            let moment = Thread::spawn("moment", 128 * 1024, move || {
                let brought = waiting.wait_until_brought(giving_way, LONG, |_| Some(2));
                over.send(brought).unwrap();
            })
            .unwrap();
            while outbox.inner.lock().awaited != 2 {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            match ending {
                "acknowledgements" => {
                    outbox.control(acknowledge(1));
                    assert_eq!(outbox.inner.lock().awaited, 2, "one is not enough");
                    outbox.control(acknowledge(2));
                }
                "a subscription" => assert!(outbox.control(Control::Unsubscribe("a".to_owned()))),
                "a publish" => drop(offer(&outbox, "a", QoS::AtMostOnce)),
                _ => outbox.close(),
            }
            assert_eq!(result.recv(), Ok(true), "{ending}");
            assert!(moment.join_until(None));
            assert!(begun.elapsed() < LONG / 2, "{ending} at once");
            assert_eq!(bell(&heard), "silence", "{ending}");
        }
    }
    let (outbox, _heard) = outbox(settings(10, 4));
    outbox.connected(false, None);
    let short = Duration::from_micros(1);
    assert!(
        !outbox.wait_until_brought(short, short, |_| Some(1)),
        "in vain"
    );
    assert_eq!(outbox.inner.lock().awaited, 0, "over");
    assert!(
        outbox.wait_until_brought(short, LONG, |_| None),
        "nothing to wait for"
    );
}

/// A handler may wait for the receipt, and what waits for the window is to be sent.
#[test]
fn a_moment_tells_first_what_was_seen() {
    let (outbox, heard) = outbox(settings(10, 1));
    outbox.connected(false, None);
    settle(&outbox, Vec::new()).unwrap();
    let first = offer(&outbox, "a", QoS::AtLeastOnce);
    let second = offer(&outbox, "b", QoS::AtLeastOnce);
    assert_eq!((bell(&heard), bell(&heard)), ("a".into(), "silence".into()));
    settle(&outbox, vec![Progress::Written { packet_id: 1 }]).unwrap();
    let mut progress = vec![Progress::Acknowledged { packet_id: 1 }];
    Moments::default().for_acknowledgements(&outbox, &mut progress, 1);
    assert_eq!(first.try_result(), Some(Ok(Delivery::Acknowledged)));
    // What it had noted is not told twice.
    settle(&outbox, progress).unwrap();
    assert_eq!(bell(&heard), "b");
    let mut progress = vec![Progress::Written { packet_id: 2 }];
    Moments::default().for_publishes(&outbox, &mut progress);
    assert!(progress.is_empty() && second.try_result().is_none());
}

#[test]
fn closing_wakes_a_sleeping_thread_and_forbids_sleep() {
    let (outbox, heard) = outbox(settings(1, 1));
    outbox.connected(false, None);
    settle(&outbox, Vec::new()).unwrap();
    outbox.close();
    assert_eq!(bell(&heard), "Disconnect");
    assert!(settle(&outbox, Vec::new()).is_none());
}

#[test]
fn what_a_long_outage_took_is_given_back() {
    const MANY: usize = 20_000;
    let (outbox, heard) = outbox(settings(MANY, 10));
    for _ in 0..MANY {
        offer(&outbox, "plant/line/7", QoS::AtMostOnce);
    }
    assert!(outbox.inner.lock().publishes.memory() > MANY * "plant/line/7".len());
    outbox.connected(false, None);
    let mut progress = Vec::new();
    while outbox.ledger().sent < MANY as u64 {
        let fed = settle(&outbox, std::mem::take(&mut progress)).unwrap();
        let stubs = fed.into_iter().filter_map(|(_, stub)| stub);
        progress.extend(stubs.map(|stub| Progress::Fed { packet_id: 0, stub }));
        progress.extend(heard.try_iter().map(|_| Progress::Written { packet_id: 0 }));
    }
    assert!(outbox.inner.lock().publishes.memory() < 200_000);
}

/// A payload of a user's own type, which looks into the outbox when it is dropped. It is too large to
/// be packed.
struct Nosy(Arc<Outbox>, Sender<()>);

impl AsRef<[u8]> for Nosy {
    fn as_ref(&self) -> &[u8] {
        &[7; 2_000]
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        // A deadlock, if the lock is held.
        drop(self.0.inner.try_lock().expect("no lock is held"));
        self.1.send(()).unwrap();
        // Nor does its panic go any further.
        panic!("dropped");
    }
}

#[test]
fn a_payload_is_dropped_where_no_lock_is_held() {
    for ending in [
        "dropped",
        "expired",
        "the end",
        "the end in flight",
        "acknowledged",
    ] {
        let (outbox, heard) = outbox(OutboxSettings {
            overflow: OutboxOverflow::DropOldest,
            max_age: (ending == "expired").then_some(Duration::ZERO),
            ..settings(1, 10)
        });
        let (tell, dropped) = unbounded();
        let is_in_flight = matches!(ending, "the end in flight" | "acknowledged");
        if is_in_flight {
            outbox.connected(false, None);
            settle(&outbox, Vec::new()).unwrap();
        }
        let nosy = Outgoing {
            payload: Bytes::from_owner(Nosy(Arc::clone(&outbox), tell)),
            ..message("nosy", QoS::ExactlyOnce)
        };
        drop(outbox.offer(nosy, Patience::None).unwrap());
        if is_in_flight {
            // rumqttc has dropped it at PUBREC, and the outbox has a copy.
            drop(heard.try_recv().unwrap());
            settle(&outbox, vec![Progress::Written { packet_id: 1 }]).unwrap();
        }
        assert!(dropped.is_empty(), "{ending}");
        match ending {
            "dropped" => drop(offer(&outbox, "next", QoS::AtMostOnce)),
            "expired" => drop(outbox.expire()),
            "acknowledged" => outbox.note(&mut vec![Progress::Acknowledged { packet_id: 1 }]),
            _ => outbox.end(),
        }
        assert_eq!(dropped.len(), 1, "{ending}");
    }
}
