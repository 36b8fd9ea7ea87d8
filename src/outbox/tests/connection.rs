//! What leaves on a connection, and what its loss does.

use super::{carried, message, offer, parked, settings, step};
use crate::{
    outbox::{
        entry::Progress,
        receipt::{Delivery, FailedCause, ReceiptError},
        send_batch::SendBatch,
        suspicion::ConnectionEnd,
    },
    session::packet::{Control, Packet},
    spec::qos::QoS,
};

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
