//! How often rumqttc's runtime has woken without an event: the only trace of a packet that is still coming.
//!
//! rumqttc tells nothing of a packet before it is complete, but its thread wakes for each piece of it, and
//! tokio counts how often a runtime goes to sleep.

use std::{
    sync::{Arc, OnceLock},
    task::{Wake, Waker},
};

use tokio::runtime::Handle;

/// As often does the runtime wake for a timer of some seconds, and once more for good measure: three times
/// were seen.
const MOST_TIMER_WAKES: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Wakes {
    /// rumqttc's runtime, once it is known.
    runtime: Arc<OnceLock<Handle>>,
    /// How often the runtime had slept when the current wait began. `None`: it was not known then.
    before: Option<u64>,
    /// How often it woke without an event, in all.
    count: u64,
}

impl Wakes {
    /// A new connection on the same runtime.
    pub(super) fn reset(&mut self) {
        *self = Self {
            runtime: Arc::clone(&self.runtime),
            ..Self::default()
        };
    }

    pub(super) fn count(&self) -> u64 {
        self.count
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
        self.count += sleeps.saturating_sub(1 + of_timer);
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
