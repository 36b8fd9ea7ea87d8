//! How the faults take effect: what the threads of connections ask the hub, and what it does to
//! connections at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::{Conn, How, finish};
use super::delivery::Delivery;
use super::faults::{Faults, cut_within};
use super::hub::Hub;

impl Hub {
    /// Changes the faults. What it returns is dropped by the caller, without the lock: it may be a
    /// function of the user.
    pub(super) fn set<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let mut state = self.lock();
        let replaced = change(&mut state.faults);
        self.bump();
        replaced
    }

    /// Makes writers ask for the faults again. Called with the lock held.
    pub(super) fn bump(&self) {
        // Pairs with the load below: who sees the new number finds the change under the lock. That
        // it is seen in time follows from the queue, into which what it holds for is put later.
        self.faults_version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn faults_version(&self) -> u64 {
        self.faults_version.load(Ordering::Acquire)
    }

    /// What a writer has to know.
    pub(super) fn delivery(&self, conn: &Conn) -> Delivery {
        self.lock().faults.delivery(conn.client())
    }

    /// How long a reader has to wait before it reads.
    pub(super) fn read_pause(&self, conn: &Conn) -> Option<Duration> {
        let state = self.lock();
        state.faults.read_pauses.get(conn.client()).copied()
    }

    /// Counts bytes that are sent next. After how many of them to cut, if at all.
    pub(super) fn count_sent(&self, conn: &Conn, n_bytes: usize) -> Option<usize> {
        // Nothing to send is no reason to cut, even if nothing is left.
        if n_bytes == 0 {
            return None;
        }
        let mut state = self.lock();
        cut_within(&mut state.faults.cut_after_to, conn.client(), n_bytes)
    }

    /// Counts bytes that came. After how many of them to cut, if at all.
    pub(super) fn count_received(&self, conn: &Conn, n_bytes: usize) -> Option<usize> {
        if n_bytes == 0 {
            return None;
        }
        let mut state = self.lock();
        cut_within(&mut state.faults.cut_after_from, conn.client(), n_bytes)
    }

    /// Resets a connection, for its own writer.
    pub(super) fn cut(&self, conn: &Conn) {
        self.unlink(self.lock(), conn);
        conn.close(How::Reset);
    }

    /// Ends the connections that a predicate picks. Returns how many.
    pub(super) fn close(&self, how: How, is_meant: impl Fn(&Conn) -> bool) -> usize {
        let mut conns = Vec::new();
        {
            let mut state = self.lock();
            for conn in state.conns.values() {
                if is_meant(conn) && !conn.is_closed() {
                    conns.push(conn.clone());
                }
            }
            for conn in &conns {
                if let (true, Some(client)) = (state.is_linked(conn), conn.client.get()) {
                    state.end(client);
                }
            }
            self.changed.notify_all();
        }
        match how {
            How::Fin => finish(&conns),
            How::Reset => conns.iter().for_each(|conn| conn.close(how)),
        }
        conns.len()
    }

    /// Does something to a client's connections that are open, and waits until their threads keep
    /// to it. Returns how many there are.
    pub(super) fn each_of(&self, client: &str, act: impl Fn(&Conn)) -> usize {
        let is_meant = |conn: &&Arc<Conn>| conn.client() == client && !conn.is_closed();
        let conns = {
            let state = self.lock();
            let conns: Vec<_> = state.conns.values().filter(is_meant).cloned().collect();
            for conn in &conns {
                act(conn);
            }
            conns
        };
        for conn in &conns {
            conn.settled();
        }
        conns.len()
    }
}
