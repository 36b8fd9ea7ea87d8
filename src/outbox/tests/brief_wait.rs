//! Short waits before the network thread parks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::unbounded;

use super::{carried, offer, outbox, parked, settings, step};
use crate::{
    outbox::{brief_wait::BriefWaits, entry::Progress, receipt::Delivery},
    session::packet::Control,
    spec::qos::QoS,
    supervise::thread::Thread,
};

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
