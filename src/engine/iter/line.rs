//! Whether the line moves: bytes that come though no packet is complete yet, and pings that stay
//! unanswered.
//!
//! A packet of 20 MB over a slow line takes many keep alives to come, and the answer to a ping waits
//! behind it. rumqttc tells nothing of a packet before it is complete, but its thread wakes for each
//! piece of it, and tokio counts how often a runtime goes to sleep.

use std::{
    sync::{Arc, OnceLock},
    task::{Wake, Waker},
    time::Instant,
};

use tokio::runtime::Handle;

/// While a silent connection waits for the time of one keep alive, its runtime wakes a few times for its
/// timers. A line that moves wakes it more often than this.
const MOST_IDLE_WAKES: u64 = 6;

/// As often does the runtime wake for a timer of some seconds, and once more for good measure: three times
/// were seen.
const MOST_TIMER_WAKES: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Line {
    /// rumqttc's runtime, once it is known.
    runtime: Arc<OnceLock<Handle>>,
    /// How often the runtime had slept when the current wait began. `None`: it was not known then.
    before: Option<u64>,
    /// How often it woke without an event, in all.
    moved: u64,
    /// As `moved`, when a packet came or a ping went out last.
    at_ping: u64,
    /// As `moved`, when a packet came or `moves` was asked last.
    at_look: u64,
    /// When the oldest ping that is not answered was sent.
    ping: Option<Instant>,
    /// A ping is not an indication before this: what was written before it may still be on its way.
    lenient_until: Option<Instant>,
    /// A ping was not answered for a keep alive, and the line did not move.
    is_dead: bool,
}

impl Line {
    /// A new connection: nothing is known.
    pub(super) fn connecting(&mut self) {
        *self = Self {
            runtime: Arc::clone(&self.runtime),
            ..Self::default()
        };
    }

    /// A wait inside rumqttc begins.
    pub(super) fn waits(&mut self) {
        self.before = self.sleeps();
    }

    /// The wait is over. One sleep is the wait itself; each further one was ended by something that
    /// made no event: a piece of a packet, or, in a wait that a timer of seconds has ended, that timer,
    /// whose wheel turns level by level.
    pub(super) fn waited(&mut self, timed_out: bool) {
        let (Some(before), Some(now)) = (self.before, self.sleeps()) else {
            return;
        };
        let sleeps = now.saturating_sub(before);
        let of_timer = if timed_out { MOST_TIMER_WAKES } else { 0 };
        self.moved += sleeps.saturating_sub(1 + of_timer);
    }

    /// A packet came.
    pub(super) fn heard(&mut self) {
        self.ping = None;
        (self.at_ping, self.at_look) = (self.moved, self.moved);
    }

    /// What was written in the time since `began` may take as long again to arrive, and so do answers.
    pub(super) fn caught_up(&mut self, began: Instant) {
        let now = Instant::now();
        self.ping = None;
        self.lenient_until = now.checked_add(now.duration_since(began));
    }

    /// A ping goes out: each keep alive. The one before it should be answered.
    pub(super) fn pinged(&mut self) {
        let now = Instant::now();
        let is_lenient = self.lenient_until.is_some_and(|until| now < until);
        let moves = self.moved - self.at_ping > MOST_IDLE_WAKES;
        if self.ping.is_some() && !moves && !is_lenient {
            self.is_dead = true;
        }
        self.ping.get_or_insert(now);
        self.at_ping = self.moved;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Whether pieces of a packet have come since this was asked last, or since a packet came.
    pub(super) fn moves(&mut self) -> bool {
        let before = std::mem::replace(&mut self.at_look, self.moved);
        self.moved - before > MOST_IDLE_WAKES
    }

    /// A waker to read from the connection with, while rumqttc's runtime is not known. rumqttc replaces
    /// it by its own when it waits next, inside its runtime: the one place to learn which that is.
    pub(super) fn finder(&self) -> Option<Waker> {
        match self.runtime.get() {
            Some(_) => None,
            None => Some(Arc::new(Finder(Arc::clone(&self.runtime))).into()),
        }
    }

    #[cfg(target_has_atomic = "64")]
    fn sleeps(&self) -> Option<u64> {
        let runtime = self.runtime.get()?;
        Some(runtime.metrics().worker_park_count(0))
    }

    /// tokio does not count there: a line that moves is not told from one that does not.
    #[cfg(not(target_has_atomic = "64"))]
    fn sleeps(&self) -> Option<u64> {
        None
    }
}

struct Finder(Arc<OnceLock<Handle>>);

impl Wake for Finder {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Finder {
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current() {
            // Another one may have been here first: it is the same runtime.
            let _ = self.0.set(runtime);
        }
    }
}
