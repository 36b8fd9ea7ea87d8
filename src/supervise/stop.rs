//! The stop signal: raised once, seen by everybody, and it ends every pause at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// Whether a client takes messages from its broker. Closed for good when it is told to stop: what
/// arrives later is neither delivered nor acknowledged. Later, what was delivered before is not
/// acknowledged any more either.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intake(Arc<Gate>);

#[derive(Debug, Default)]
struct Gate {
    closed: StopSignal,
    /// The network thread has passed the gate and is yet to hand over what it has.
    inside: AtomicBool,
    /// The clients of the fleet end: what is given back from here on is not acknowledged.
    no_acks: AtomicBool,
    /// In pull mode, shared by the clients of a fleet: a stop has refused a message that the
    /// application wanted to publish.
    refused: Option<Arc<AtomicBool>>,
}

impl Intake {
    /// That of a client whose messages the application takes itself. The flag is the fleet's.
    pub(crate) fn of_pull_mode(refused: &Arc<AtomicBool>) -> Self {
        Self(Arc::new(Gate {
            refused: Some(Arc::clone(refused)),
            ..Gate::default()
        }))
    }

    /// From here on nothing is acknowledged. For all clients of a fleet before the first of them
    /// refuses what is published, or ends what it has: what could not be passed on because of that
    /// must not be acknowledged.
    pub(crate) fn end_acks(&self) {
        self.0.no_acks.store(true, Ordering::SeqCst);
    }

    /// A stop has refused a message. Which received one it was made of only the application knows, in
    /// pull mode.
    pub(crate) fn note_refusal(&self) {
        if let Some(refused) = &self.0.refused {
            refused.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a message that is given back now may be acknowledged.
    pub(crate) fn acknowledges(&self) -> bool {
        let refused = self.0.refused.as_ref();
        let has_refused = refused.is_some_and(|it| it.load(Ordering::SeqCst));
        let is_void = has_refused && self.is_closed();
        !is_void && !self.0.no_acks.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.0.closed.raise();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.is_raised()
    }

    /// The network thread begins to deliver. Says whether it may; `leave` has to follow then.
    pub(crate) fn enter(&self) -> bool {
        // Before the look, as closing comes before `wait_quiet` looks: one of the two sees the other.
        self.0.inside.store(true, Ordering::SeqCst);
        let is_open = !self.is_closed();
        if !is_open {
            self.leave();
        }
        is_open
    }

    /// What was delivered has been handed over.
    pub(crate) fn leave(&self) {
        self.0.inside.store(false, Ordering::SeqCst);
        if self.is_closed() {
            drop(self.0.closed.lock.lock());
            self.0.closed.changed.notify_all();
        }
    }

    /// It is closed: waits until what has passed before is handed over, and nothing follows.
    pub(crate) fn wait_quiet(&self, deadline: Option<Instant>) {
        let Gate { closed, inside, .. } = &*self.0;
        let mut guard = closed.lock.lock();
        while inside.load(Ordering::SeqCst) {
            match deadline {
                None => closed.changed.wait(&mut guard),
                Some(deadline) => {
                    if closed.changed.wait_until(&mut guard, deadline).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until it is closed, at most this long. Says whether it is closed.
    pub(crate) fn pause(&self, at_most: Duration) -> bool {
        self.0.closed.pause(at_most)
    }
}

/// A flag that can be waited on.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    raised: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl StopSignal {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        // Taking the lock orders the store before the sleep of whoever looked just before it.
        drop(self.lock.lock());
        self.changed.notify_all();
    }

    pub(crate) fn is_raised(&self) -> bool {
        // SeqCst: "raised" must be seen by whoever then finds the outbox asleep, and the lock of
        // the outbox alone would leave that to the reader to prove. It costs nothing on a load.
        self.raised.load(Ordering::SeqCst)
    }

    /// Waits until the signal is raised, at most this long. Says whether it is raised.
    pub(crate) fn pause(&self, at_most: Duration) -> bool {
        let deadline = deadline_after(at_most);
        let mut guard = self.lock.lock();
        while !self.is_raised() {
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut guard, deadline).timed_out() {
                        return self.is_raised();
                    }
                }
                None => self.changed.wait(&mut guard),
            }
        }
        true
    }
}

/// The moment after this long; `None` is never, for durations that no clock can count.
pub(crate) fn deadline_after(duration: Duration) -> Option<Instant> {
    Instant::now().checked_add(duration)
}

/// What is left of this long, whenever it is asked.
pub(crate) fn time_left(duration: Duration) -> impl Fn() -> Duration {
    let deadline = deadline_after(duration);
    move || match deadline {
        Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        None => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lasts_as_said_or_until_the_signal() {
        let signal = StopSignal::default();
        assert!(!signal.pause(Duration::from_millis(1)));
        signal.raise();
        assert!(signal.pause(Duration::MAX));
    }
}
