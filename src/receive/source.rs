//! Where messages come from: one client, as far as the receiving side needs to know it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::{
    receive::ack::{AckQueue, MOST_UNACKNOWLEDGED, Release},
    spec::qos::QoS,
    supervise::counters::Counters,
};

/// Whether a client takes messages. Closed for good when it is told to stop: what arrives later is
/// neither delivered nor acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intake(Arc<AtomicBool>);

impl Intake {
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Relaxed: a network thread that sees it late delivers a few messages more. Nothing depends on
    /// that, because workers say themselves when they handle no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Source {
    /// The client's place in the fleet.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) acks: AckQueue,
    pub(crate) intake: Intake,
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
        intake: Intake,
        release: Release,
    ) -> Self {
        Self {
            index,
            name,
            counters,
            acks: AckQueue::new(release),
            intake,
            waiting: AtomicUsize::new(0),
            unhandled: AtomicUsize::new(0),
            share,
        }
    }

    /// How many QoS 0 messages more find a place, behind those that are about to be reserved. Only the
    /// client's network thread reserves, so that looking first and adding then can't exceed the share.
    pub(crate) fn room(&self, ahead: usize) -> usize {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.share.saturating_sub(waiting + ahead)
    }

    /// Whether a QoS 1 or 2 message finds a place. A broker that keeps to its packet identifiers
    /// never has more unacknowledged; one that comes again and again with new messages while the
    /// old ones wait must not fill the memory.
    pub(crate) fn has_identifiers(&self, ahead: usize) -> bool {
        self.unhandled.load(Ordering::Relaxed) + ahead < MOST_UNACKNOWLEDGED
    }

    /// So many messages of QoS 0, and of QoS 1 and 2, go into the queue.
    pub(crate) fn reserve(&self, at_most_once: usize, acknowledged: usize) {
        if at_most_once > 0 {
            self.waiting.fetch_add(at_most_once, Ordering::Relaxed);
        }
        if acknowledged > 0 {
            self.unhandled.fetch_add(acknowledged, Ordering::Relaxed);
        }
    }

    /// A QoS 0 message came that finds no place.
    pub(crate) fn dropped(&self) {
        self.counters.received.increment();
        let dropped = &self.counters.dropped;
        dropped.increment();
        if dropped.get() % 1_000 == 1 {
            log::warn!(
                "client {}: its share of the queue is full, {} QoS 0 messages dropped",
                self.name,
                dropped.get(),
            );
        }
    }

    /// A message was taken out of the queue.
    pub(crate) fn taken(&self, qos: QoS) {
        match qos {
            QoS::AtMostOnce => self.waiting.fetch_sub(1, Ordering::Relaxed),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.unhandled.fetch_sub(1, Ordering::Relaxed),
        };
    }
}
