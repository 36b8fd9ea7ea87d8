//! The only place that makes threads: each has a name, a stack size, can be joined in time, and says
//! when it has no work in hand.

use std::{
    io,
    sync::{Arc, OnceLock},
    thread::{Builder, JoinHandle, ThreadId, current},
    time::Instant,
};

use parking_lot::{Condvar, Mutex};

use crate::supervise::panic::caught;

/// A running thread, for as many threads as want to wait for it.
#[derive(Debug)]
pub(crate) struct Thread {
    name: String,
    /// Set by the thread itself, before anything else.
    id: OnceLock<ThreadId>,
    state: Mutex<ThreadState>,
    changed: Condvar,
    /// `None` once it is joined.
    handle: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct ThreadState {
    /// Its body has returned or unwound.
    ended: bool,
    /// It has no user's function in hand and will call none any more.
    idle: bool,
    /// How many stops of the fleet it is inside of: a stop that waited for it would wait for itself.
    stops: usize,
    /// What the body panicked with.
    panic: Option<String>,
}

/// Set when the body has returned or unwound: std has no join with a deadline.
struct Ended(Arc<Thread>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

impl Thread {
    /// Starts a thread. `name` must have no null character (names are checked at start).
    #[cfg(test)]
    pub(crate) fn spawn(
        name: &str,
        stack_size: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        Self::spawn_knowing(name, stack_size, |_| body())
    }

    /// Starts a thread whose body is told which it is. `name` must have no null character (names are
    /// checked at start).
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn spawn_knowing(
        name: &str,
        stack_size: usize,
        body: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let thread = Arc::new(Self {
            name: name.to_owned(),
            id: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
            handle: Mutex::new(None),
        });
        let own = Arc::clone(&thread);
        let handle = Builder::new()
            .name(name.to_owned())
            .stack_size(stack_size)
            .spawn(move || {
                let _ = own.id.set(current().id());
                // Dropped last.
                let ended = Ended(own);
                if let Err(text) = caught(|| body(&ended.0)) {
                    ended.0.change(|state| state.panic = Some(text));
                }
            })?;
        *thread.handle.lock() = Some(handle);
        Ok(thread)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is the thread of the caller, which it can't join.
    pub(crate) fn is_current(&self) -> bool {
        self.id.get() == Some(&current().id())
    }

    /// Whether its body has neither returned nor unwound.
    pub(crate) fn is_running(&self) -> bool {
        !self.state.lock().ended
    }

    /// What its body panicked with: a defect of ours, since the panics of foreign code are caught where
    /// they happen.
    pub(crate) fn panic(&self) -> Option<String> {
        self.state.lock().panic.clone()
    }

    /// Whether it is inside a stop of its own fleet.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().stops > 0
    }

    /// It has no function of the user in hand, and will call none any more.
    pub(crate) fn set_idle(&self) {
        self.change(|state| state.idle = true);
    }

    /// Waits until the thread is idle, has ended, or asks for a stop itself; until the deadline at
    /// the latest (`None`: for ever). Says whether it need not be waited for any more.
    pub(crate) fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |state| {
            state.idle || state.ended || state.stops > 0
        })
    }

    /// Joins the thread, waiting until the deadline at the latest (`None`: for ever). Says whether
    /// it has ended. One that is inside a stop of its own is not waited for, the caller's included.
    pub(crate) fn join_until(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |state| state.ended || state.stops > 0);
        if self.is_running() || self.is_current() {
            return false;
        }
        let handle = self.handle.lock().take();
        if let Some(handle) = handle {
            // The body has returned: what is left is the thread's own end. A panic of the body
            // was reported by whoever wrote the body.
            let _ = handle.join();
        }
        true
    }

    fn wait(&self, deadline: Option<Instant>, is_over: impl Fn(&ThreadState) -> bool) -> bool {
        let mut state = self.state.lock();
        while !is_over(&state) {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return is_over(&state);
                    }
                }
            }
        }
        true
    }

    fn change(&self, change: impl FnOnce(&mut ThreadState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// For as long as it lives, the thread is inside a stop of its fleet.
#[derive(Debug)]
pub(crate) struct InsideStop(Arc<Thread>);

impl InsideStop {
    pub(crate) fn new(thread: Arc<Thread>) -> Self {
        thread.change(|state| state.stops += 1);
        Self(thread)
    }
}

impl Drop for InsideStop {
    fn drop(&mut self) {
        self.0.change(|state| state.stops -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn join_waits_no_longer_than_its_deadline() {
        let (release, held) = bounded::<()>(0);
        let thread = Thread::spawn("held", 64 * 1024, move || {
            let _ = held.recv();
        })
        .unwrap();
        assert!(!thread.join_until(Some(Instant::now() + Duration::from_millis(10))));
        assert!(thread.is_running());
        drop(release);
        assert!(thread.join_until(None));
        assert!(!thread.is_running());
        assert!(thread.join_until(None), "a second join is no wait");
        assert_eq!(thread.panic(), None);
    }

    #[test]
    fn a_body_that_panics_is_an_end_that_can_be_told() {
        let thread = Thread::spawn("frail", 64 * 1024, || panic!("a defect")).unwrap();
        assert!(thread.join_until(None));
        assert_eq!(thread.panic().as_deref(), Some("a defect"));
    }

    /// Fails if a stop waits for a thread that is inside a stop itself: two of them would wait for each
    /// other.
    #[test]
    fn a_thread_inside_a_stop_is_not_waited_for() {
        let (release, held) = bounded::<()>(0);
        let thread = Thread::spawn("inside", 64 * 1024, move || {
            let _ = held.recv();
        })
        .unwrap();
        let inside = InsideStop::new(Arc::clone(&thread));
        let late = Instant::now() + Duration::from_secs(20);
        assert!(thread.wait_idle(Some(late)));
        assert!(!thread.join_until(Some(late)), "it has not ended");
        assert!(Instant::now() < late, "neither has waited");
        drop(inside);
        let soon = Some(Instant::now() + Duration::from_millis(10));
        assert!(!thread.wait_idle(soon), "it may be busy again");
        drop(release);
        assert!(thread.join_until(None));
    }
}
