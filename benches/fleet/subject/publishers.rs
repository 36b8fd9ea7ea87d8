//! The threads that publish in every subject alike.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread::{self, Scope, ScopedJoinHandle},
};

use crate::{Result, wire};

/// One for each client, and not more than this: then each has several clients, and publishes one
/// message on each in turn.
const MOST: usize = 10;

/// Publishes a payload as a client; returns how many messages were taken: 0 or 1, or more of raw
/// sockets, which number those that follow themselves.
pub(crate) type Publish<'a> = dyn Fn(usize, &[u8]) -> u64 + Sync + 'a;

#[derive(Default)]
pub(crate) struct Publishing {
    halted: AtomicBool,
    published: AtomicU64,
}

impl Publishing {
    pub(crate) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        clients: usize,
        payload: usize,
        publish: &'scope Publish<'scope>,
    ) -> Result<Vec<ScopedJoinHandle<'scope, ()>>> {
        let threads = clients.min(MOST);
        let mut started = Vec::new();
        for first in 0..threads {
            let mut own: Vec<(usize, u64, Vec<u8>)> = (first..clients)
                .step_by(threads)
                .map(|client| (client, 0, wire::payload(payload, client)))
                .collect();
            let work = move || {
                let mut taken = 0;
                while !self.halted.load(Relaxed) {
                    for (client, sequence, payload) in &mut own {
                        payload[..8].copy_from_slice(&sequence.to_le_bytes());
                        let count = publish(*client, payload);
                        *sequence += count;
                        taken += count;
                    }
                }
                self.published.fetch_add(taken, Relaxed);
            };
            started.push(thread::Builder::new().spawn_scoped(scope, work)?);
        }
        Ok(started)
    }

    /// Ends the threads, and says how many messages were taken.
    pub(crate) fn halt(&self, threads: Vec<ScopedJoinHandle<'_, ()>>) -> Result<u64> {
        self.halted.store(true, Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a publisher thread panicked")?;
        }
        Ok(self.published.load(Relaxed))
    }
}
