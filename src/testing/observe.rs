//! What a test can ask the broker, and wait for.

use std::time::Duration;

use bytes::Bytes;

use super::broker::TestBroker;
use super::packet::Packet;
use super::record::{Counts, Direction, Seen, WaitError};

/// Watching the broker. A packet from a client is in the record when it takes effect: a call made
/// after it was seen finds it handled. A packet to a client is in the record when it is handed to
/// the socket, not when it is queued.
impl TestBroker {
    /// Whether packets are kept in the record. Off, they are only counted: a run of millions of
    /// messages needs the memory. Defaults to true.
    pub fn record(&self, on: bool) {
        self.hub.record.turn(on);
    }

    /// Everything recorded until now, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.hub.record.seen()
    }

    /// Blocks until the record is as wanted. The function is asked at once and after each packet
    /// or accepted connection; it runs without a lock, so it may call the broker.
    ///
    /// # Errors
    ///
    /// The time is over. The error prints the last packets.
    pub fn wait_for(
        &self,
        is_done: impl FnMut(&[Seen]) -> bool,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.hub.record.wait_for(is_done, timeout)
    }

    /// Blocks until this many clients are connected at once.
    ///
    /// # Errors
    ///
    /// The time is over. The error prints the last packets.
    pub fn wait_connected(&self, n_clients: usize, timeout: Duration) -> Result<(), WaitError> {
        self.hub.wait(
            || format!("{n_clients} connected clients"),
            |state| state.links.len() >= n_clients,
            timeout,
        )
    }

    /// Blocks until a client is not connected.
    ///
    /// # Errors
    ///
    /// The time is over. The error prints the last packets.
    pub fn wait_disconnected(&self, client_id: &str, timeout: Duration) -> Result<(), WaitError> {
        self.hub.wait(
            || format!("{client_id:?} to be disconnected"),
            |state| !state.links.contains_key(client_id),
            timeout,
        )
    }

    /// The ids of the clients that are connected now, sorted. A silent one counts as connected,
    /// one whose CONNECT was not answered with yes does not.
    pub fn connected(&self) -> Vec<String> {
        let state = self.hub.lock();
        let mut clients: Vec<_> = state.links.keys().map(|it| it.to_string()).collect();
        clients.sort_unstable();
        clients
    }

    /// How many CONNECT packets came with this client id.
    pub fn connects(&self, client_id: &str) -> usize {
        self.hub.record.connects(client_id)
    }

    /// How many CONNECT packets came.
    pub fn connects_total(&self) -> usize {
        // The cast cannot lose anything on a system that could have counted so far.
        self.counts().connects as usize
    }

    /// How many TCP connections were accepted.
    pub fn accepted(&self) -> u64 {
        self.counts().accepted
    }

    /// How much went through the broker, also while recording was off.
    pub fn counts(&self) -> Counts {
        self.hub.record.counts()
    }

    /// The payloads that clients published on this topic, as recorded: repetitions too, and not
    /// what [`TestBroker::publish`] sent.
    pub fn published(&self, topic: &str) -> Vec<Bytes> {
        let seen = self.seen().into_iter();
        seen.filter_map(|seen| match seen.packet {
            Packet::Publish {
                topic: on, payload, ..
            } if seen.direction == Direction::In && on == topic => Some(payload),
            _ => None,
        })
        .collect()
    }
}
