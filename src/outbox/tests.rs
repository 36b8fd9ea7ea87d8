//! The outbox without a connection: an engine that records what it carries, and steps as a network thread
//! takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;
use crate::{
    outbox::{
        brief_wait::BriefWaits,
        entry::Progress,
        network_side::Taken,
        receipt::{Delivery, FailedCause, ReceiptError},
        send_batch::{Outbound, SendBatch},
        suspicion::ConnectionEnd,
    },
    session::packet::Packet,
    spec::qos::QoS,
    supervise::thread::Thread,
};

/// As many bytes as an engine takes before a flush.
pub(super) const ROOM: usize = 7_000;

/// An engine that can't be woken without something to send, as `iter`, or one that can.
pub(super) enum Recorder {
    Carrying(Sender<Packet>),
    Waking(Sender<()>),
}

impl Waker for Recorder {
    fn wake(&self) -> bool {
        match self {
            Self::Carrying(_) => false,
            Self::Waking(woken) => woken.send(()).is_ok(),
        }
    }

    fn wake_with(&self, packet: Packet) -> Result<(), Packet> {
        match self {
            Self::Carrying(carried) => carried.send(packet).map_err(|error| error.0),
            Self::Waking(_) => Err(packet),
        }
    }
}

pub(super) fn outbox(settings: OutboxSettings) -> (Arc<Outbox>, Receiver<Packet>) {
    let (carries, carried) = unbounded();
    let outbox = Arc::new(Outbox::new(settings));
    outbox.attach(Box::new(Recorder::Carrying(carries)));
    (outbox, carried)
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

fn name(packet: &Packet) -> String {
    match packet {
        Packet::Publish { message, .. } => message.topic.clone(),
        packet => format!("{packet:?}"),
    }
}

/// What was carried with a wake-up.
fn carried(carries: &Receiver<Packet>) -> String {
    let packet = carries.try_recv();
    packet.map_or("silence".to_owned(), |packet| name(&packet))
}

/// The network thread's step: says what was sent, or `None` if it is to end. Its progress is for the next
/// step.
fn step(outbox: &Outbox, progress: &mut Vec<Progress>) -> Option<Vec<String>> {
    let mut sent = Vec::new();
    loop {
        let mut batch = SendBatch::default();
        match outbox.take_or_park(progress, &mut batch, ROOM, None) {
            Taken::Batch => {}
            Taken::Parked { .. } | Taken::Carried { .. } => return Some(sent),
            Taken::Closed | Taken::Finished => return None,
            Taken::NextId(_) => panic!("any identifier will do"),
        }
        while let Some(outbound) = batch.pop() {
            sent.push(match outbound {
                Outbound::Packet(packet) => name(&packet),
                Outbound::Publish { packet_id, message } => {
                    let topic = message.topic.clone();
                    let pending = batch.sent().unwrap();
                    progress.push(match packet_id {
                        0 => Progress::SentOnce(pending),
                        _ => Progress::Sent {
                            packet_id,
                            message: Box::new(message),
                            pending,
                        },
                    });
                    topic
                }
            });
        }
    }
}

fn parked(settings: OutboxSettings) -> (Arc<Outbox>, Receiver<Packet>) {
    let (outbox, carries) = outbox(settings);
    outbox.connected(false, [], None);
    assert_eq!(step(&outbox, &mut Vec::new()), Some(vec![]));
    (outbox, carries)
}

/// Fails when a client that is stopped between the loss of its connection and what was seen on it ends messages
/// otherwise than they have ended.
#[test]
fn what_was_seen_before_a_loss_counts_whenever_the_client_is_stopped() {
    let (outbox, carries) = parked(settings(10, 10));
    let acknowledged = offer(&outbox, "acknowledged", QoS::AtLeastOnce);
    assert_eq!(carried(&carries), "acknowledged");
    step(&outbox, &mut vec![Progress::WakeSent]).unwrap();
    let written = offer(&outbox, "written", QoS::AtLeastOnce);
    assert_eq!(carried(&carries), "written");
    let waiting = offer(&outbox, "waiting", QoS::AtLeastOnce);
    // Seen, and not told yet.
    let mut progress = vec![Progress::WakeSent, Progress::Acknowledged { packet_id: 1 }];
    outbox.lost();
    outbox.close();
    assert_eq!(acknowledged.try_result(), None, "nobody knows yet");
    let mut unsent = SendBatch::default();
    outbox.disconnected(&mut progress, &mut unsent, ConnectionEnd::default(), || {
        false
    });
    outbox.end();
    assert_eq!(acknowledged.try_result(), Some(Ok(Delivery::Acknowledged)));
    let not_acknowledged = ReceiptError::Failed(FailedCause::NotAcknowledged);
    assert_eq!(written.try_result(), Some(Err(not_acknowledged)));
    assert_eq!(waiting.try_result(), Some(Err(ReceiptError::Unsent)));
    assert!(outbox.ledger().balances());
}

#[test]
fn one_packet_is_carried_at_a_time_and_what_comes_meanwhile_goes_together() {
    let (outbox, carries) = outbox(settings(10, 10));
    let _first = offer(&outbox, "first", QoS::AtMostOnce);
    assert_eq!(
        carried(&carries),
        "silence",
        "nobody is woken without a connection"
    );
    outbox.connected(false, [], None);
    let mut progress = Vec::new();
    assert_eq!(step(&outbox, &mut progress), Some(vec!["first".to_owned()]));
    let second = offer(&outbox, "second", QoS::AtMostOnce);
    assert_eq!(carried(&carries), "second", "it was parked");
    let kept: Vec<_> = ["third", "fourth"]
        .map(|topic| offer(&outbox, topic, QoS::AtMostOnce))
        .into();
    assert_eq!(carried(&carries), "silence", "it is woken already");
    assert_eq!(step(&outbox, &mut progress), Some(vec![]), "carried first");
    assert_eq!(outbox.ledger().in_progress, 3);
    progress.push(Progress::WakeSent);
    let sent = step(&outbox, &mut progress).unwrap();
    assert_eq!(sent, ["third", "fourth"]);
    assert!(second.is_done() && kept.iter().all(Receipt::is_done));
    let _fifth = offer(&outbox, "fifth", QoS::AtMostOnce);
    assert_eq!(carried(&carries), "fifth", "it was parked");
}

/// Fails when something waits for an engine that can be woken with nothing to send, or leaves twice.
#[test]
fn an_engine_that_carries_nothing_is_woken_once() {
    let (wakes, woken) = unbounded();
    let outbox = Outbox::new(settings(10, 10));
    outbox.attach(Box::new(Recorder::Waking(wakes)));
    outbox.connected(false, [], None);
    let mut progress = Vec::new();
    step(&outbox, &mut progress).unwrap();
    let receipts = ["a", "b"].map(|topic| offer(&outbox, topic, QoS::AtLeastOnce));
    assert_eq!(woken.len(), 1);
    assert_eq!(step(&outbox, &mut progress).unwrap(), ["a", "b"]);
    let answers = [1, 2].map(|packet_id| Progress::Acknowledged { packet_id });
    progress.extend(answers);
    step(&outbox, &mut progress).unwrap();
    assert!(
        receipts
            .iter()
            .all(|it| it.wait() == Ok(Delivery::Acknowledged))
    );
    outbox.close();
    assert_eq!(woken.len(), 2, "to end");
    assert_eq!(step(&outbox, &mut progress), None);
}

/// Fails when what an engine refuses to carry is lost, or keeps its identifier.
#[test]
fn what_an_engine_refuses_to_carry_is_put_back() {
    let (outbox, carries) = parked(settings(10, 1));
    drop(carries);
    let receipt = offer(&outbox, "a", QoS::AtLeastOnce);
    assert!(outbox.control(Control::Unsubscribe(vec!["b".to_owned()])));
    let mut progress = Vec::new();
    let sent = step(&outbox, &mut progress).unwrap();
    assert!(
        sent[0].starts_with("Unsubscribe") && sent[1] == "a",
        "{sent:?}"
    );
    let packet_id = outbox.state.lock().inflight.first_sent().unwrap().packet_id;
    progress.push(Progress::Acknowledged { packet_id });
    step(&outbox, &mut progress).unwrap();
    assert_eq!(receipt.wait(), Ok(Delivery::Acknowledged));
}

/// Fails when the thread parks with another identifier prepared than the next one: what the engine carries
/// would be sent under it.
#[test]
fn the_next_identifier_is_prepared_before_the_thread_parks() {
    let (outbox, _carries) = outbox(settings(10, 10));
    outbox.connected(false, [], None);
    let park = |next_id| {
        let mut batch = SendBatch::default();
        outbox.take_or_park(&mut Vec::new(), &mut batch, ROOM, Some(next_id))
    };
    assert_eq!(park(7), Taken::NextId(1));
    assert_eq!(park(1), Taken::Parked { expires_at: None });
}

#[test]
fn a_full_window_holds_publishes_and_not_acknowledgements() {
    let (outbox, carries) = parked(settings(10, 1));
    let inflight = offer(&outbox, "inflight", QoS::AtLeastOnce);
    assert_eq!(carried(&carries), "inflight");
    let _held = offer(&outbox, "held", QoS::AtLeastOnce);
    let _behind = offer(&outbox, "behind", QoS::AtMostOnce);
    assert!(
        step(&outbox, &mut vec![Progress::WakeSent])
            .unwrap()
            .is_empty()
    );
    assert!(outbox.control(Control::Acknowledge {
        packet_id: 7,
        qos: QoS::AtLeastOnce,
    }));
    assert!(carried(&carries).starts_with("Acknowledge"));
    let mut progress = vec![Progress::WakeSent, Progress::Acknowledged { packet_id: 1 }];
    assert_eq!(step(&outbox, &mut progress).unwrap(), ["held", "behind"]);
    assert!(inflight.wait().is_ok());
}

#[test]
fn a_full_outbox_refuses_or_waits_or_drops_and_close_releases() {
    let (outbox, _carries) = outbox(settings(1, 10));
    let waits = offer(&outbox, "a", QoS::AtMostOnce);
    let refused = outbox.offer(message("b", QoS::AtMostOnce), Patience::None);
    let (returned, refusal) = refused.unwrap_err();
    assert_eq!((returned.topic.as_str(), refusal), ("b", NotTaken::Full));
    let soon = Instant::now() + Duration::from_millis(5);
    let late = outbox.offer(message("c", QoS::AtMostOnce), Patience::Until(Some(soon)));
    assert_eq!(late.unwrap_err().1, NotTaken::Full);

    let (released, result) = unbounded();
    let waiting = Arc::clone(&outbox);
    let waiter = Thread::spawn("waiter", 128 * 1024, move || {
        let offered = waiting.offer(message("d", QoS::AtMostOnce), Patience::Until(None));
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
    let refused = rejecting.offer(message("a", QoS::AtMostOnce), Patience::Until(None));
    assert_eq!(refused.unwrap_err().1, NotTaken::Offline);
}

/// What is awaited ends a brief wait, and so does whatever else there is to do; nobody wakes the thread meanwhile.
#[test]
fn a_brief_wait_ends_with_what_is_brought() {
    const LONG: Duration = Duration::from_secs(20);
    let acknowledge = |packet_id| Control::Acknowledge {
        packet_id,
        qos: QoS::AtLeastOnce,
    };
    for giving_way in [Duration::ZERO, LONG] {
        for ending in ["acknowledgements", "a subscription", "a publish", "the end"] {
            let (outbox, carries) = parked(settings(10, 4));
            let (over, result) = unbounded();
            let waiting = Arc::clone(&outbox);
            let waiter = Thread::spawn("waiter", 128 * 1024, move || {
                let brought = waiting.wait_until_brought(giving_way, LONG, |_| Some(2));
                over.send(brought).unwrap();
            })
            .unwrap();
            while outbox.state.lock().awaited != 2 {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            match ending {
                "acknowledgements" => {
                    outbox.control(acknowledge(1));
                    assert_eq!(outbox.state.lock().awaited, 2, "one is not enough");
                    outbox.control(acknowledge(2));
                }
                "a subscription" => {
                    assert!(outbox.control(Control::Unsubscribe(vec!["a".to_owned()])))
                }
                "a publish" => drop(offer(&outbox, "a", QoS::AtMostOnce)),
                _ => outbox.close(),
            }
            assert_eq!(result.recv(), Ok(true), "{ending}");
            assert!(waiter.join_until(None));
            assert!(begun.elapsed() < LONG / 2, "{ending} at once");
            assert_eq!(carried(&carries), "silence", "{ending}");
        }
    }
    let (outbox, _carries) = outbox(settings(10, 4));
    outbox.connected(false, [], None);
    let short = Duration::from_micros(1);
    assert!(
        !outbox.wait_until_brought(short, short, |_| Some(1)),
        "nothing came"
    );
    assert_eq!(outbox.state.lock().awaited, 0, "over");
    assert!(
        outbox.wait_until_brought(short, LONG, |_| None),
        "nothing to wait for"
    );
}

/// A handler may wait for the receipt, and what waits for the window is to be sent.
#[test]
fn a_brief_wait_tells_first_what_was_seen() {
    let (outbox, carries) = parked(settings(10, 1));
    let first = offer(&outbox, "a", QoS::AtLeastOnce);
    let second = offer(&outbox, "b", QoS::AtLeastOnce);
    assert_eq!(
        (carried(&carries), carried(&carries)),
        ("a".into(), "silence".into())
    );
    step(&outbox, &mut vec![Progress::WakeSent]).unwrap();
    let mut progress = vec![Progress::Acknowledged { packet_id: 1 }];
    BriefWaits::default().for_acknowledgements(&outbox, &mut progress, 1);
    assert_eq!(first.try_result(), Some(Ok(Delivery::Acknowledged)));
    // What it has applied is not told twice.
    assert_eq!(step(&outbox, &mut progress).unwrap(), ["b"]);
    BriefWaits::default().for_publishes(&outbox, &mut progress);
    assert!(progress.is_empty() && second.try_result().is_none());
}

#[test]
fn closing_wakes_a_parked_thread_and_keeps_it_from_parking() {
    let (outbox, carries) = parked(settings(1, 1));
    outbox.close();
    assert_eq!(carried(&carries), "Disconnect");
    assert!(step(&outbox, &mut vec![Progress::WakeSent]).is_none());
}

/// Fails when what a connection begins with leaves in another order, or behind what waits.
#[test]
fn a_connection_begins_with_requests_then_the_birth_message_then_repeats() {
    let (outbox, carries) = parked(settings(10, 10));
    let _first = offer(&outbox, "first", QoS::AtLeastOnce);
    assert_eq!(carried(&carries), "first");
    let mut progress = vec![Progress::WakeSent];
    let _second = offer(&outbox, "second", QoS::ExactlyOnce);
    assert_eq!(step(&outbox, &mut progress).unwrap(), ["second"]);
    progress.push(Progress::Released { packet_id: 2 });
    let mut unsent = SendBatch::default();
    outbox.disconnected(&mut progress, &mut unsent, ConnectionEnd::default(), || {
        false
    });
    let _third = offer(&outbox, "third", QoS::AtMostOnce);
    let requests = [Control::Unsubscribe(vec!["u".to_owned()])];
    outbox.connected(true, requests, Some(message("birth", QoS::AtLeastOnce)));
    let sent = step(&outbox, &mut progress).unwrap();
    assert!(sent[0].starts_with("Unsubscribe"), "{sent:?}");
    let release = format!("{:?}", Packet::Release { packet_id: 2 });
    assert_eq!(sent[1..], ["birth", "first", &release, "third"]);
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
        drop(self.0.state.try_lock().expect("no lock is held"));
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
        let (outbox, carries) = outbox(OutboxSettings {
            overflow: OutboxOverflow::DropOldest,
            max_age: (ending == "expired").then_some(Duration::ZERO),
            ..settings(1, 10)
        });
        let (tell, dropped) = unbounded();
        let is_in_flight = matches!(ending, "the end in flight" | "acknowledged");
        if is_in_flight {
            outbox.connected(false, [], None);
            step(&outbox, &mut Vec::new()).unwrap();
        }
        let nosy = Outgoing {
            payload: Bytes::from_owner(Nosy(Arc::clone(&outbox), tell)),
            ..message("nosy", QoS::ExactlyOnce)
        };
        drop(outbox.offer(nosy, Patience::None).unwrap());
        if is_in_flight {
            // The engine has dropped it, and the outbox has a copy.
            drop(carries.try_recv().unwrap());
            step(&outbox, &mut vec![Progress::WakeSent]).unwrap();
        }
        assert!(dropped.is_empty(), "{ending}");
        match ending {
            "dropped" => drop(offer(&outbox, "next", QoS::AtMostOnce)),
            "expired" => drop(outbox.expire()),
            "acknowledged" => outbox.apply(&mut vec![Progress::Acknowledged { packet_id: 1 }]),
            _ => outbox.end(),
        }
        assert_eq!(dropped.len(), 1, "{ending}");
    }
}
