//! What a subject has received: counted, and checked message by message.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::Histogram;
use crate::{clock, wire};

/// Per client, on a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Slot {
    next: AtomicU64,
    count: AtomicU64,
    errors: AtomicU64,
}

pub(crate) struct Check {
    slots: Vec<Slot>,
    /// Of a paced measurement.
    latencies: Option<Histogram>,
}

impl Check {
    pub(crate) fn new(clients: usize, paced: bool) -> Self {
        Self {
            slots: (0..clients).map(|_| Slot::default()).collect(),
            latencies: paced.then(Histogram::new),
        }
    }

    /// Takes a message. One client's messages come from one thread at a time, so that loads and
    /// stores do: the counting costs every subject the same few nanoseconds.
    #[inline]
    pub(crate) fn take(&self, payload: &[u8]) {
        let slot = wire::number_of(payload).and_then(|client| self.slots.get(client));
        let (Some(slot), Some(sequence)) = (slot, wire::sequence_of(payload)) else {
            if let Some(slot) = self.slots.first() {
                slot.errors.fetch_add(1, Relaxed);
            }
            return;
        };
        if slot.next.load(Relaxed) != sequence {
            slot.errors.fetch_add(1, Relaxed);
        }
        slot.next.store(sequence + 1, Relaxed);
        slot.count.store(slot.count.load(Relaxed) + 1, Relaxed);
        if let Some(latencies) = &self.latencies {
            let intended = wire::intended_of(payload).unwrap_or(0);
            latencies.record(clock::now().saturating_sub(intended));
        }
    }

    /// How many messages came, and how many of them were not the next one of their client.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let sum =
            |of: fn(&Slot) -> &AtomicU64| self.slots.iter().map(|it| of(it).load(Relaxed)).sum();
        (sum(|it| &it.count), sum(|it| &it.errors))
    }

    /// What each client has received, in 8 bytes each, after their number.
    pub(crate) fn credit(&self, frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend((self.slots.len() as u64).to_le_bytes());
        for slot in &self.slots {
            frame.extend(slot.count.load(Relaxed).to_le_bytes());
        }
    }

    pub(crate) fn latencies(&self) -> Option<&Histogram> {
        self.latencies.as_ref()
    }
}
