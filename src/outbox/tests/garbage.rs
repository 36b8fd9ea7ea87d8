//! What is dropped, and where: a payload may be of the user's own type.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use crossbeam_channel::{Sender, unbounded};

use super::{message, offer, outbox, settings, step};
use crate::{
    outbox::{Outbox, Patience, entry::Progress},
    session::packet::Outgoing,
    spec::{
        outbox::{OutboxOverflow, OutboxSettings},
        qos::QoS,
    },
};

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
        drop(outbox.offer(nosy.into(), Patience::None).unwrap());
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
