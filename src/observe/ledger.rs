//! What became of each message that was accepted for publishing.

use std::fmt;

/// The ledger of a client, or of all together: every message that `publish`, `try_publish` or
/// `publish_timeout` accepted is in exactly one of these buckets, or still in progress.
///
/// Taken under one lock: the equation holds whenever it is read.
///
/// ```
/// use mqtt_fleet::Ledger;
///
/// let ledger = Ledger::default();
/// assert!(ledger.balances());
/// assert_eq!(ledger.to_string(), "accepted 0");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Ledger {
    /// Messages that were taken.
    pub accepted: u64,
    /// QoS 1 and 2: PUBACK or PUBCOMP came.
    pub acknowledged: u64,
    /// QoS 0: written to the connection, which is all that can be known.
    pub sent: u64,
    /// Older than the client's `max_age` before they could be sent.
    pub expired: u64,
    /// Dropped by policy: the outbox was full and makes room by dropping the oldest.
    pub dropped: u64,
    /// Sent, and what became of them can't be known any more: a QoS 0 message whose connection broke while
    /// it was written, an unacknowledged one whose session was lost or whose client has ended.
    pub failed: u64,
    /// Never sent: still in the outbox when the client ended.
    pub unsent: u64,
    /// In the outbox or sent and not acknowledged yet. The number at this moment, not a sum.
    pub in_progress: u64,
}

impl Ledger {
    /// Whether nothing is unaccounted for: accepted is the sum of all the others.
    pub fn balances(&self) -> bool {
        self.accepted == self.finished() + self.in_progress
    }

    /// How many messages have come to an end, of whatever kind.
    pub fn finished(&self) -> u64 {
        self.acknowledged + self.sent + self.expired + self.dropped + self.failed + self.unsent
    }
}

/// How many were accepted, and the other buckets that are not empty:
/// `accepted 7, acknowledged 5, in progress 2`.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted {}", self.accepted)?;
        for (bucket, n) in [
            ("acknowledged", self.acknowledged),
            ("sent", self.sent),
            ("expired", self.expired),
            ("dropped", self.dropped),
            ("failed", self.failed),
            ("unsent", self.unsent),
            ("in progress", self.in_progress),
        ] {
            if n > 0 {
                write!(f, ", {bucket} {n}")?;
            }
        }
        Ok(())
    }
}

/// Which of the failed messages no promise was broken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unpromised {
    /// QoS 0: the connection broke while they were written.
    pub(crate) cut_off: u64,
    /// QoS 1 and 2: their session was lost, and the spec says not to repeat them then.
    pub(crate) not_repeated: u64,
}

impl std::ops::AddAssign for Unpromised {
    fn add_assign(&mut self, other: Self) {
        self.cut_off += other.cut_off;
        self.not_repeated += other.not_repeated;
    }
}

impl std::ops::AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.acknowledged += other.acknowledged;
        self.sent += other.sent;
        self.expired += other.expired;
        self.dropped += other.dropped;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.in_progress += other.in_progress;
    }
}
