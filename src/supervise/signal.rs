//! Ctrl-C and SIGTERM stop a fleet; a second one ends the process at once.
//!
//! A process has one handler for these signals, for good (the ctrlc crate's rule). It is only
//! installed when a program asks for it, and it serves whichever fleets have asked since.

use std::{
    process,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

/// The exit code of a process that a second signal ended: 128 + SIGINT, as shells count.
const EXIT_AT_ONCE: i32 = 130;

/// What the first signal does. Weak: a fleet that is gone is not kept alive by its handler.
pub(crate) type OnSignal = dyn Fn() + Send + Sync;

static LISTENERS: Mutex<Vec<Weak<OnSignal>>> = Mutex::new(Vec::new());
static INSTALLED: Mutex<bool> = Mutex::new(false);
static STOPPING: AtomicBool = AtomicBool::new(false);

/// The process's signal handler could not be set.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The program has set a handler of its own through the ctrlc crate. It can call
    /// `StopHandle::stop` there.
    #[error("the process already has a signal handler")]
    AlreadyHandled,
    /// The operating system refused.
    #[error("the signal handler could not be set")]
    System(#[source] std::io::Error),
}

crate::spec::readable::debug_is_text!(SignalError);

/// Calls `on_signal` at the first SIGINT, SIGTERM or SIGHUP, for as long as it is alive. It runs
/// on the ctrlc crate's own thread.
pub(crate) fn listen(on_signal: &Arc<OnSignal>) -> Result<(), SignalError> {
    let mut installed = INSTALLED.lock();
    if !*installed {
        ctrlc::set_handler(received).map_err(|error| match error {
            ctrlc::Error::MultipleHandlers => SignalError::AlreadyHandled,
            ctrlc::Error::System(error) => SignalError::System(error),
            ctrlc::Error::NoSuchSignal(_) => {
                SignalError::System(std::io::ErrorKind::Unsupported.into())
            }
        })?;
        *installed = true;
    }
    let mut listeners = LISTENERS.lock();
    listeners.retain(|listener| listener.strong_count() > 0);
    listeners.push(Arc::downgrade(on_signal));
    // Who listens now has not been asked to stop yet.
    STOPPING.store(false, Ordering::SeqCst);
    Ok(())
}

fn received() {
    if STOPPING.swap(true, Ordering::SeqCst) {
        process::exit(EXIT_AT_ONCE);
    }
    let listeners: Vec<_> = LISTENERS.lock().iter().filter_map(Weak::upgrade).collect();
    // The lock is let go before foreign code runs.
    for listener in &listeners {
        listener();
    }
    if listeners.is_empty() {
        // Nobody is left who could stop: a signal still ends the process.
        process::exit(EXIT_AT_ONCE);
    }
}
