//! Whether a client that has ended, or is told to, refused a publish of the function that this thread is
//! running, or did not deliver what it had published. Where that is for a stop of the caller's own client,
//! such a function has not failed, and what it was called for is not done.
//!
//! Noted where the publish is refused, or its receipt read, and not taken from the function's error, which
//! may be of any type.

use std::cell::Cell;

thread_local! {
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// A client that is told to stop has refused a message of the caller, or a receipt of the caller says that
/// the client ended before it could deliver the message.
pub(crate) fn record() {
    REFUSED.set(true);
}

/// Calls a function, which must not unwind. Says whether that was noted meanwhile.
pub(crate) fn watched<T>(function: impl FnOnce() -> T) -> (T, bool) {
    REFUSED.set(false);
    let result = function();
    (result, REFUSED.replace(false))
}
