//! Logging from our threads: the `log` crate's macros, with a logger that panics kept apart.
//!
//! A logger is the user's code. Its panic, or that of a value it formats, costs the record and nothing else.
//! Files that log import this module under the name of the crate: `tests/it/tidy.rs` sees to it.

use crate::supervise::panic::caught;

/// Writes one record.
pub(crate) fn guarded(write: impl FnOnce()) {
    // There is nobody left to tell: the logger is what failed. The panic hook has announced it.
    let _ = caught(write);
}

macro_rules! error {
    ($($arg:tt)+) => { $crate::supervise::log::guarded(|| ::log::error!($($arg)+)) };
}
/// Everything else that warns is thinned: see `log_lines.rs`.
#[cfg(any(feature = "tls", feature = "testing"))]
macro_rules! warn_ {
    ($($arg:tt)+) => { $crate::supervise::log::guarded(|| ::log::warn!($($arg)+)) };
}
macro_rules! info {
    ($($arg:tt)+) => { $crate::supervise::log::guarded(|| ::log::info!($($arg)+)) };
}
macro_rules! debug {
    ($($arg:tt)+) => { $crate::supervise::log::guarded(|| ::log::debug!($($arg)+)) };
}

#[cfg(any(feature = "tls", feature = "testing"))]
pub(crate) use warn_ as warn;
pub(crate) use {debug, error, info};
