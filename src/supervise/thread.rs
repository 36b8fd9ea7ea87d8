//! The only place that makes threads: each has a name, a stack size, and can be joined in time.

use std::{
    io,
    sync::Arc,
    thread::{Builder, JoinHandle, ThreadId, current},
    time::Instant,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, bounded};
use parking_lot::Mutex;

use crate::supervise::panic::caught;

/// A running thread.
#[derive(Debug)]
pub(crate) struct Thread {
    name: String,
    /// `None` once it is joined.
    handle: Option<JoinHandle<()>>,
    /// Disconnected when the body has returned or unwound: std has no join with a deadline.
    done: Receiver<()>,
    /// What the body panicked with.
    panic: Arc<Mutex<Option<String>>>,
}

impl Thread {
    /// Starts a thread. `name` must have no null character (names are checked at start).
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn spawn(
        name: &str,
        stack_size: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (finished, done) = bounded(0);
        let panic = Arc::<Mutex<Option<String>>>::default();
        let panicked = Arc::clone(&panic);
        let handle = Builder::new()
            .name(name.to_owned())
            .stack_size(stack_size)
            .spawn(move || {
                // Dropped last.
                let _finished = finished;
                if let Err(text) = caught(body) {
                    *panicked.lock() = Some(text);
                }
            })?;
        Ok(Self {
            name: name.to_owned(),
            handle: Some(handle),
            done,
            panic,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// To see from elsewhere whether it runs and which it is, while somebody joins it.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            id: self.handle.as_ref().map(|handle| handle.thread().id()),
            done: self.done.clone(),
            panic: Arc::clone(&self.panic),
        }
    }

    /// Whether this is the thread of the caller, which it can't join.
    pub(crate) fn is_current(&self) -> bool {
        self.watch().is_current()
    }

    /// Joins the thread, waiting until the deadline at the latest (`None`: for ever). Says
    /// whether it has ended. The caller's own thread counts as not ended.
    pub(crate) fn join_until(&mut self, deadline: Option<Instant>) -> bool {
        if self.is_current() {
            return false;
        }
        let ended = match deadline {
            Some(deadline) => self.done.recv_deadline(deadline),
            None => self.done.recv().map_err(RecvTimeoutError::from),
        };
        if ended == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        if let Some(handle) = self.handle.take() {
            // The body has returned: what is left is the thread's own end.
            let _ = handle.join();
        }
        true
    }
}

/// A look at a thread.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    id: Option<ThreadId>,
    done: Receiver<()>,
    panic: Arc<Mutex<Option<String>>>,
}

impl Watch {
    /// Whether its body has neither returned nor unwound.
    pub(crate) fn is_running(&self) -> bool {
        self.done.try_recv() == Err(TryRecvError::Empty)
    }

    /// What its body panicked with: a defect of ours, since the panics of foreign code are caught where
    /// they happen.
    pub(crate) fn panic(&self) -> Option<String> {
        self.panic.lock().clone()
    }

    /// Whether this is the thread of the caller.
    pub(crate) fn is_current(&self) -> bool {
        self.id == Some(current().id())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn join_waits_no_longer_than_its_deadline() {
        let (release, held) = bounded::<()>(0);
        let mut thread = Thread::spawn("held", 64 * 1024, move || {
            let _ = held.recv();
        })
        .unwrap();
        assert!(!thread.join_until(Some(Instant::now() + Duration::from_millis(10))));
        assert!(thread.watch().is_running());
        drop(release);
        assert!(thread.join_until(None));
        assert!(!thread.watch().is_running());
        assert!(thread.join_until(None), "a second join is no wait");
        assert_eq!(thread.watch().panic(), None);
    }

    #[test]
    fn a_body_that_panics_is_an_end_that_can_be_told() {
        let mut thread = Thread::spawn("frail", 64 * 1024, || panic!("a defect")).unwrap();
        assert!(thread.join_until(None));
        assert_eq!(thread.watch().panic().as_deref(), Some("a defect"));
    }
}
