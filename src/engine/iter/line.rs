//! Whether the line moves: bytes that come though no packet is complete yet. A packet of 20 MB over a slow
//! line takes many keep alives to come, and the answer to a ping waits behind it.

use std::{task::Waker, time::Instant};

use crate::{engine::iter::wakes::Wakes, session::keep_alive::KeepAlive};

/// While a silent connection waits for the time of one keep alive, its runtime wakes a few times for its
/// timers. A line that moves wakes it more often than this.
const MOST_IDLE_WAKES: u64 = 6;

#[derive(Debug, Default)]
pub(super) struct Line {
    wakes: Wakes,
    keep_alive: KeepAlive,
    /// The wakes when a packet came or a ping went out last.
    at_ping: u64,
    /// The wakes when a packet came or `moves` was asked last.
    at_look: u64,
}

impl Line {
    /// A new connection: nothing is known.
    pub(super) fn connecting(&mut self) {
        self.wakes.reset();
        self.keep_alive = KeepAlive::default();
        (self.at_ping, self.at_look) = (0, 0);
    }

    /// A wait inside rumqttc begins.
    pub(super) fn waits(&mut self) {
        self.wakes.waits();
    }

    /// The wait is over; a timer of seconds may have ended it.
    pub(super) fn waited(&mut self, timed_out: bool) {
        self.wakes.waited(timed_out);
    }

    /// A packet came.
    pub(super) fn heard(&mut self) {
        self.keep_alive.heard();
        (self.at_ping, self.at_look) = (self.wakes.count(), self.wakes.count());
    }

    /// A flush is done that began then.
    pub(super) fn caught_up(&mut self, began: Instant) {
        self.keep_alive.flushed(began, Instant::now());
    }

    /// A ping goes out.
    pub(super) fn pinged(&mut self) {
        let moves = self.wakes.count() - self.at_ping > MOST_IDLE_WAKES;
        self.keep_alive.pinged(moves, Instant::now());
        self.at_ping = self.wakes.count();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.keep_alive.is_dead()
    }

    /// Whether pieces of a packet have come since this was asked last, or since a packet came.
    pub(super) fn moves(&mut self) -> bool {
        let before = std::mem::replace(&mut self.at_look, self.wakes.count());
        self.wakes.count() - before > MOST_IDLE_WAKES
    }

    /// A waker to read from the connection with, while rumqttc's runtime is not known.
    pub(super) fn finder(&self) -> Option<Waker> {
        self.wakes.finder()
    }
}
