//! Ctrl-C and SIGTERM stop a fleet; a second one ends the process at once.
//!
//! The process's handler is only installed when a program asks for it, stays for good, and serves
//! whichever fleets have asked since. A signal that the process began with ignored stays ignored: under
//! `nohup` SIGHUP means nothing, and in the background of a shell script SIGINT means nothing.

use std::{
    io, process,
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
    System(#[source] io::Error),
}

crate::spec::readable::debug_is_text!(SignalError);

/// Calls `on_signal` at the first SIGINT, SIGTERM or SIGHUP, for as long as it is alive, on a thread
/// that belongs to the process.
pub(crate) fn listen(on_signal: &Arc<OnSignal>) -> Result<(), SignalError> {
    {
        let mut listeners = LISTENERS.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(on_signal));
    }
    // A new listener has not seen the first signal.
    STOPPING.store(false, Ordering::SeqCst);
    // The listener is there before the first signal can come.
    let mut installed = INSTALLED.lock();
    if !*installed {
        install()?;
        *installed = true;
    }
    Ok(())
}

fn install() -> Result<(), SignalError> {
    match ignored() {
        0 => install_ctrlc(),
        ignored => install_all_but(ignored),
    }
}

fn install_ctrlc() -> Result<(), SignalError> {
    ctrlc::set_handler(received).map_err(|error| match error {
        ctrlc::Error::MultipleHandlers => SignalError::AlreadyHandled,
        ctrlc::Error::System(error) => SignalError::System(error),
        ctrlc::Error::NoSuchSignal(_) => SignalError::System(io::ErrorKind::Unsupported.into()),
    })
}

/// The ctrlc crate takes all three signals or none.
#[cfg(unix)]
fn install_all_but(ignored: u64) -> Result<(), SignalError> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };

    use crate::supervise::thread::Thread;

    /// A logger runs on it, and what the last signal's `exit` calls.
    const STACK: usize = 256 * 1024;

    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let wanted = wanted.filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted).map_err(SignalError::System)?;
    let listening = Thread::spawn_knowing("signals", STACK, move |_| {
        for _signal in signals.forever() {
            received();
        }
    });
    listening.map(drop).map_err(SignalError::System)
}

#[cfg(not(unix))]
fn install_all_but(_: u64) -> Result<(), SignalError> {
    install_ctrlc()
}

/// Which of SIGHUP, SIGINT and SIGTERM the process ignores: bit n - 1 is signal n. Only Linux says it
/// without unsafe code; elsewhere none counts as ignored.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_by(&status)
}

fn ignored_by(status: &str) -> u64 {
    // SIGHUP is 1, SIGINT 2, SIGTERM 15.
    const OURS: u64 = 1 | 1 << 1 | 1 << 14;

    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) & OURS
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status =
            "SigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000004\n";
        // SIGPIPE, which std ignores, is not one of ours.
        assert_eq!(ignored_by(status), 1);
        assert_eq!(ignored_by("SigIgn:\t0000000000004003\n"), 0x4003);
        assert_eq!(ignored_by(""), 0);
    }
}
