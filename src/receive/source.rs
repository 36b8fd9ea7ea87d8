//! Where messages come from: one client, as far as the receiving side needs to know it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    receive::ack::{AckQueue, MOST_UNACKNOWLEDGED, Release},
    spec::qos::QoS,
    supervise::counters::Counters,
};

#[derive(Debug)]
pub(crate) struct Source {
    /// The client's place in the fleet.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) acks: AckQueue,
    /// QoS 0 messages of this client that wait in the queue.
    waiting: AtomicUsize,
    /// QoS 1 and 2 messages that wait, those of earlier connections included.
    unhandled: AtomicUsize,
    /// How many may wait: a loud client fills its own share and nobody else's.
    share: usize,
}

impl Source {
    pub(crate) fn new(
        index: usize,
        name: Arc<str>,
        counters: Arc<Counters>,
        share: usize,
        release: Release,
    ) -> Self {
        Self {
            index,
            name,
            counters,
            acks: AckQueue::new(release),
            waiting: AtomicUsize::new(0),
            unhandled: AtomicUsize::new(0),
            share,
        }
    }

    /// Reserves a place for a QoS 0 message. Only the client's network thread reserves, so that
    /// looking first and adding then can't exceed the share.
    pub(crate) fn reserve(&self) -> bool {
        if self.waiting.load(Ordering::Relaxed) >= self.share {
            return false;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Reserves a place for a QoS 1 or 2 message. A broker that keeps to its packet identifiers
    /// never has more unacknowledged; one that comes again and again with new messages while the
    /// old ones wait must not fill the memory.
    pub(crate) fn reserve_acknowledged(&self) -> bool {
        if self.unhandled.load(Ordering::Relaxed) >= MOST_UNACKNOWLEDGED {
            return false;
        }
        self.unhandled.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A message was taken out of the queue.
    pub(crate) fn taken(&self, qos: QoS) {
        match qos {
            QoS::AtMostOnce => self.waiting.fetch_sub(1, Ordering::Relaxed),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.unhandled.fetch_sub(1, Ordering::Relaxed),
        };
    }
}
