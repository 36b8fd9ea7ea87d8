//! The outbox without a connection: a bell that records, and steps as a network thread takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use proptest::prelude::*;

use super::*;
use crate::{
    publish::{
        flight::Repeat,
        message::{Parcel, Progress},
        outbox::{
            moment::Moments,
            network_side::{Backlog, Settled},
        },
        receipt::{Delivery, ReceiptError},
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

fn outbox(settings: OutboxSettings) -> (Arc<Outbox>, Receiver<Item>) {
    let (rung, heard) = unbounded();
    let outbox = Arc::new(Outbox::new(settings));
    outbox.attach(Box::new(Recorder(rung)));
    (outbox, heard)
}

fn settings(capacity: usize, window: u16) -> OutboxSettings {
    OutboxSettings {
        capacity,
        window,
        ..OutboxSettings::default()
    }
}

fn message(topic: &str, qos: QoS) -> Outgoing {
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

/// The network thread's step: says what was fed, or that the outbox is closed.
fn settle(outbox: &Outbox, steps: Vec<Progress>) -> Option<Vec<Parcel>> {
    let (mut progress, mut parcels) = (steps, Vec::new());
    match outbox.settle(&mut progress, &mut parcels) {
        Settled::Ready => Some(parcels),
        Settled::Closed => None,
        Settled::Outgrown(_) => panic!("the windows of these tests are small"),
    }
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
    let fed_topics = fed.iter().map(|it| match &it.item {
        Item::Publish(message) => message.topic.clone(),
        Item::Control(control) => format!("{control:?}"),
    });
    assert_eq!(fed_topics.collect::<Vec<_>>(), ["second", "third"]);
    assert_eq!(bell(&heard), "fourth");
    assert_eq!(outbox.ledger().in_progress, 3);
    let mut steps: Vec<_> = fed
        .into_iter()
        .filter_map(|parcel| parcel.stub)
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
    let mut waiter = Thread::spawn("waiter", 128 * 1024, move || {
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
            let mut moment = Thread::spawn("moment", 128 * 1024, move || {
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

/// What a made-up broker and rumqttc have of one client.
#[derive(Default)]
struct Wire {
    next: u16,
    unacknowledged: Vec<(u16, Outgoing)>,
    sent: Vec<String>,
}

impl Wire {
    fn write(&mut self, message: Outgoing) -> u16 {
        self.sent.push(message.topic.clone());
        if message.qos == QoS::AtMostOnce {
            return 0;
        }
        self.next = self.next % Window::first_ids(5) + 1;
        assert!(self.unacknowledged.iter().all(|(id, _)| *id != self.next));
        self.unacknowledged.push((self.next, message));
        self.next
    }
}

proptest! {
    /// Whatever happens in whatever order: the bell is never lost, the ledger balances after each
    /// step, no message is lost without a word, and the first sendings are in order.
    #[test]
    fn the_ledger_balances(steps in prop::collection::vec((0_u8..10, 0_usize..5), 0..200)) {
        let (outbox, heard) = outbox(settings(20, 5));
        let mut wire = Wire::default();
        let mut connected = false;
        let mut receipts = Vec::new();
        let mut progress = Vec::new();
        for (step, n) in steps {
            match step {
                0..=2 => {
                    let qos = if n == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                    let name = receipts.len().to_string();
                    if let Ok(receipt) = outbox.offer(message(&name, qos), Patience::None) {
                        receipts.push(receipt);
                    }
                }
                3 | 4 if connected => {
                    match heard.try_recv() {
                        Ok(Item::Publish(message)) => {
                            progress.push(Progress::Written { packet_id: wire.write(message) });
                        }
                        Ok(Item::Control(_)) => progress.push(Progress::Heard),
                        Err(_) => {}
                    }
                    let mut parcels = Vec::new();
                    outbox.settle(&mut progress, &mut parcels);
                    for Parcel { item, stub } in parcels {
                        if let (Item::Publish(message), Some(stub)) = (item, stub) {
                            progress.push(Progress::Fed { packet_id: wire.write(message), stub });
                        }
                    }
                }
                9 if connected => {
                    outbox.note(&mut progress);
                    outbox.wait_until_brought(Duration::ZERO, Duration::ZERO, |_| Some(n + 1));
                }
                5 if connected && !wire.unacknowledged.is_empty() => {
                    let at = n % wire.unacknowledged.len();
                    let (packet_id, _) = wire.unacknowledged.remove(at);
                    progress.push(Progress::Acknowledged { packet_id });
                }
                6 if connected => {
                    connected = false;
                    outbox.disconnected(&mut progress, &mut Vec::new(), || Backlog {
                        unwritten: match heard.try_recv() {
                            Ok(Item::Publish(message)) => Some(message),
                            _ => None,
                        },
                        unacknowledged: std::mem::take(&mut wire.unacknowledged),
                    });
                }
                7 if !connected => {
                    connected = true;
                    for repeat in outbox.connected(n > 1, None).repeats {
                        if let Repeat::Publish { packet_id, message } = repeat {
                            wire.unacknowledged.push((packet_id, message));
                        }
                    }
                }
                8 => {
                    outbox.control(Control::Acknowledge { packet_id: 1, qos: QoS::AtLeastOnce });
                }
                _ => {}
            }
            prop_assert!(!outbox.inner.lock().is_stuck(), "the bell was lost");
            let ledger = outbox.ledger();
            prop_assert!(ledger.balances(), "{ledger:?}");
            prop_assert_eq!(ledger.accepted, receipts.len() as u64);
        }
        let mut first = wire.sent.clone();
        let mut seen = std::collections::HashSet::new();
        first.retain(|name| seen.insert(name.clone()));
        prop_assert!(first.is_sorted_by_key(|name| name.parse::<u32>().unwrap_or(0)), "{first:?}");
        outbox.disconnected(&mut progress, &mut Vec::new(), Backlog::default);
        outbox.end();
        let ledger = outbox.ledger();
        prop_assert!(ledger.balances() && ledger.in_progress == 0, "{ledger:?}");
        prop_assert!(receipts.iter().all(Receipt::is_done));
    }
}
