//! What the broker saw: packets in order, counts, and waiting for them.
//!
//! Its lock is the innermost of the broker: nothing else is locked while it is held, and the
//! functions of the user run after it is let go.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::packet::Packet;
use crate::spec::readable::Rounded;

/// How many of the last packets a [`WaitError`] shows.
const SHOWN: usize = 20;

/// One packet that the broker received or sent.
///
/// ```
/// use mqtt_fleet::testing::{Direction, Packet, TestBroker};
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::start()?;
/// let n_pings = broker
///     .seen()
///     .iter()
///     .filter(|seen| seen.direction == Direction::In && seen.packet == Packet::Pingreq)
///     .count();
/// assert_eq!(n_pings, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// When it was received, or handed to the socket.
    pub at: Instant,
    /// Which TCP connection, counted from 1 in the order in which the broker accepted them.
    pub connection: u64,
    /// The client id; the one that the broker assigned if the client sent none.
    pub client: String,
    /// From the broker's view.
    pub direction: Direction,
    /// The packet.
    pub packet: Packet,
}

/// Which way a packet went, from the broker's view.
///
/// ```
/// use mqtt_fleet::testing::Direction;
///
/// assert_ne!(Direction::In, Direction::Out);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client to the broker.
    In,
    /// From the broker to a client.
    Out,
}

/// How much went through a broker since it was started, also while recording is off.
///
/// ```
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::start()?;
/// assert_eq!(broker.counts().accepted, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// TCP connections accepted.
    pub accepted: u64,
    /// CONNECT packets received.
    pub connects: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets sent.
    pub publishes_sent: u64,
}

/// What a wait was for did not happen in time. Prints the last packets that the broker saw.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::start()?;
/// let error = broker.wait_for(|seen| !seen.is_empty(), Duration::ZERO);
/// assert!(error.is_err_and(|error| error.to_string().contains("saw no packet")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WaitError {
    wanted: String,
    timeout: Duration,
    n_seen: usize,
    last: Vec<Seen>,
}

impl std::error::Error for WaitError {}

crate::spec::readable::debug_is_text!(WaitError);

impl std::fmt::Display for WaitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (wanted, timeout) = (&self.wanted, Rounded(self.timeout));
        write!(f, "waited {timeout} for {wanted}; the broker saw ")?;
        match (self.n_seen, self.last.first()) {
            (0, _) | (_, None) => f.write_str("no packet"),
            (n_seen, Some(first)) => {
                write!(f, "{n_seen} packets, the last of them:")?;
                let start = first.at;
                for seen in &self.last {
                    let after = seen.at.saturating_duration_since(start).as_secs_f64() * 1e3;
                    write!(f, "\n  +{after:.1} ms {seen}")?;
                }
                Ok(())
            }
        }
    }
}

/// Connection, client, direction and packet on one line.
impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arrow = match self.direction {
            Direction::In => "->",
            Direction::Out => "<-",
        };
        let (connection, client, packet) = (self.connection, &self.client, &self.packet);
        write!(f, "#{connection} {client:?} {arrow} {packet}")
    }
}

/// The record of a broker, shared by all its threads.
#[derive(Debug)]
pub(super) struct Record {
    inner: Mutex<Inner>,
    grown: Condvar,
}

#[derive(Debug)]
struct Inner {
    is_on: bool,
    seen: Vec<Seen>,
    counts: Counts,
    connects: HashMap<String, usize>,
    /// Grows with each packet, also with those that are only counted.
    version: u64,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                is_on: true,
                seen: Vec::new(),
                counts: Counts::default(),
                connects: HashMap::new(),
                version: 0,
            }),
            grown: Condvar::new(),
        }
    }

    pub(super) fn turn(&self, on: bool) {
        self.inner.lock().is_on = on;
    }

    pub(super) fn accepted(&self) {
        let mut inner = self.inner.lock();
        inner.counts.accepted += 1;
        inner.version += 1;
        self.grown.notify_all();
    }

    pub(super) fn add(&self, connection: u64, client: &str, direction: Direction, packet: &Packet) {
        let mut inner = self.inner.lock();
        let is_publish = u64::from(matches!(packet, Packet::Publish { .. }));
        match direction {
            Direction::In => {
                inner.counts.received += 1;
                inner.counts.publishes_received += is_publish;
            }
            Direction::Out => {
                inner.counts.sent += 1;
                inner.counts.publishes_sent += is_publish;
            }
        }
        if let (Packet::Connect { .. }, Direction::In) = (packet, direction) {
            inner.counts.connects += 1;
            *inner.connects.entry(client.to_owned()).or_default() += 1;
        }
        if inner.is_on {
            inner.seen.push(Seen {
                at: Instant::now(),
                connection,
                client: client.to_owned(),
                direction,
                packet: packet.clone(),
            });
        }
        inner.version += 1;
        self.grown.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        self.inner.lock().counts
    }

    pub(super) fn connects(&self, client: &str) -> usize {
        let inner = self.inner.lock();
        inner.connects.get(client).copied().unwrap_or_default()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.inner.lock().seen.clone()
    }

    pub(super) fn wait_for(
        &self,
        mut is_done: impl FnMut(&[Seen]) -> bool,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now().checked_add(timeout);
        // A copy that follows the record, so that the user's function runs without the lock.
        let mut copy = Vec::new();
        let mut version;
        loop {
            {
                let inner = self.inner.lock();
                copy.extend_from_slice(&inner.seen[copy.len()..]);
                version = inner.version;
            }
            if is_done(&copy) {
                return Ok(());
            }
            let mut inner = self.inner.lock();
            while inner.version == version {
                if wait_until(&self.grown, &mut inner, deadline) {
                    drop(inner);
                    return Err(self.error("a condition on what is seen".into(), timeout));
                }
            }
        }
    }

    pub(super) fn error(&self, wanted: String, timeout: Duration) -> WaitError {
        let inner = self.inner.lock();
        let first_shown = inner.seen.len().saturating_sub(SHOWN);
        WaitError {
            wanted,
            timeout,
            n_seen: inner.seen.len(),
            last: inner.seen[first_shown..].to_vec(),
        }
    }
}

/// Waits once. True when the deadline is over; no deadline is none at all.
pub(super) fn wait_until<T>(
    condition: &Condvar,
    guard: &mut parking_lot::MutexGuard<'_, T>,
    deadline: Option<Instant>,
) -> bool {
    match deadline {
        Some(deadline) => condition.wait_until(guard, deadline).timed_out(),
        None => {
            condition.wait(guard);
            false
        }
    }
}
