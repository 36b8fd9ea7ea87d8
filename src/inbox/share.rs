//! How much of one client waits in the queue, counted so that no client takes the place of another.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{session::ack_order::MOST_UNACKNOWLEDGED, spec::qos::QoS};

/// Bytes are counted in units of this many, rounded up.
const UNIT: usize = 64;

/// How much waits: messages in the upper half, the units of their bytes in the lower half, so that one
/// addition counts both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load(u64);

impl Load {
    /// One message of this many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        // A packet has less than 2^28 bytes, and a share less than 2^32 units.
        Self(1 << 32 | bytes.div_ceil(UNIT) as u64)
    }

    fn messages(self) -> u64 {
        self.0 >> 32
    }

    fn units(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// What of a client may wait: a loud client fills its own share and nobody else's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    messages: u64,
    units: u64,
}

impl Share {
    /// The share of one of this many clients.
    pub(crate) fn new(messages: usize, bytes: usize, clients: usize) -> Self {
        // Half of what the halves of a `Load` hold: a message on top of a full share fits too.
        let of = |all: usize| (all / clients.max(1)).clamp(1, 1 << 31) as u64;
        Self {
            messages: of(messages),
            units: of(bytes / UNIT),
        }
    }
}

/// What may still come: a lower bound, kept by the network thread between two looks at [`Waiting`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    messages: u64,
    units: u64,
}

impl Room {
    /// Takes the place of a message, if there is one.
    pub(crate) fn take(&mut self, message: Load) -> bool {
        let fits = self.messages > 0 && self.units >= message.units();
        if fits {
            self.messages -= 1;
            self.units -= message.units();
        }
        fits
    }
}

/// What of one client waits in the queue, and its share of that.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Messages of QoS 0.
    at_most_once: AtomicU64,
    /// Messages of QoS 1 and 2, those of earlier connections included.
    unhandled: AtomicUsize,
    share: Share,
}

impl Waiting {
    pub(crate) fn new(share: Share) -> Self {
        Self {
            at_most_once: AtomicU64::new(0),
            unhandled: AtomicUsize::new(0),
            share,
        }
    }

    /// What more of QoS 0 finds a place, behind what is about to be reserved; if nothing waits, the next
    /// message, however large. Only the client's network thread reserves, so that looking first and adding
    /// then can't exceed the share.
    pub(crate) fn room(&self, ahead: Load, next: Load) -> Room {
        let waiting = Load(self.at_most_once.load(Ordering::Relaxed) + ahead.0);
        let units = self.share.units.saturating_sub(waiting.units());
        Room {
            messages: self.share.messages.saturating_sub(waiting.messages()),
            units: match waiting.messages() {
                0 => units.max(next.units()),
                _ => units,
            },
        }
    }

    /// Whether a QoS 1 or 2 message finds a place. A broker that keeps to its packet identifiers
    /// never has more unacknowledged; one that comes again and again with new messages while the
    /// old ones wait must not fill the memory.
    pub(crate) fn has_identifiers(&self, ahead: usize) -> bool {
        self.unhandled.load(Ordering::Relaxed) + ahead < MOST_UNACKNOWLEDGED
    }

    /// So much of QoS 0, and this many messages of QoS 1 and 2, go into the queue.
    pub(crate) fn reserve(&self, at_most_once: Load, acknowledged: usize) {
        if at_most_once != Load::default() {
            self.at_most_once
                .fetch_add(at_most_once.0, Ordering::Relaxed);
        }
        if acknowledged > 0 {
            self.unhandled.fetch_add(acknowledged, Ordering::Relaxed);
        }
    }

    /// A message of this many bytes was taken out of the queue.
    pub(crate) fn taken(&self, qos: QoS, bytes: usize) {
        match qos {
            QoS::AtMostOnce => {
                self.at_most_once
                    .fetch_sub(Load::of(bytes).0, Ordering::Relaxed);
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                self.unhandled.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(messages: usize, bytes: usize, clients: usize) -> Waiting {
        Waiting::new(Share::new(messages, bytes, clients))
    }

    /// How many messages of this size find a place, one after the other, while none is taken.
    fn fit(waiting: &Waiting, bytes: usize) -> usize {
        let message = Load::of(bytes);
        let mut n = 0;
        while n < 1_000 && waiting.room(Load::default(), message).take(message) {
            waiting.reserve(message, 0);
            n += 1;
        }
        n
    }

    /// Fails when bytes are not counted, or are not given back, or a message that is larger than the share
    /// finds no place though nothing waits.
    #[test]
    fn a_share_has_messages_and_bytes() {
        let by_messages = waiting(10, 1 << 20, 1);
        assert_eq!(fit(&by_messages, 0), 10);
        let by_bytes = waiting(1_000, 64 * 1024, 2);
        assert_eq!(fit(&by_bytes, 1_024), 32);
        assert_eq!(fit(&by_bytes, 1), 0, "it is full");
        assert_eq!(fit(&by_bytes, 0), 468, "the messages are not");
        let large = waiting(10, 1_000, 1);
        assert_eq!(fit(&large, 1 << 28), 1);
        assert_eq!(fit(&large, 1), 0);
        large.taken(QoS::AtMostOnce, 1 << 28);
        assert_eq!(fit(&large, 1 << 28), 1);
        assert_eq!(
            large.at_most_once.load(Ordering::Relaxed),
            Load::of(1 << 28).0
        );
    }

    /// Fails when what one wake-up has collected does not count before it is reserved.
    #[test]
    fn what_is_about_to_be_reserved_counts() {
        let waiting = waiting(10, 10 * 64, 1);
        let mut ahead = Load::default();
        for _ in 0..10 {
            assert!(waiting.room(ahead, Load::of(64)).take(Load::of(64)));
            ahead.add(Load::of(64));
        }
        assert!(!waiting.room(ahead, Load::of(64)).take(Load::of(64)));
        assert!(!waiting.room(ahead, Load::of(0)).take(Load::of(0)));
    }

    /// Fails when the largest settings overflow the halves, or the smallest leave no place.
    #[test]
    fn any_setting_has_a_place_and_a_bound() {
        let none = waiting(0, 0, 1_000);
        assert_eq!(fit(&none, 1 << 20), 1);
        let all = waiting(usize::MAX, usize::MAX, 1);
        let room = all.room(Load::default(), Load::of(0));
        assert!(room.messages < u64::from(u32::MAX) && room.units < u64::from(u32::MAX));
    }
}
