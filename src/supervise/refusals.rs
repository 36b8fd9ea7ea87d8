//! Whether a stop refused a publish of the function that this thread is running: such a function has not
//! failed, and what it was called for is not done.
//!
//! Noted where the publish is refused and not read from the function's error, which may be of any type.

use std::cell::Cell;

thread_local! {
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// A client that is told to stop has refused a message of the caller.
pub(crate) fn note() {
    REFUSED.set(true);
}

/// Calls a function, which must not unwind. Says whether a stop has refused a message of it meanwhile.
pub(crate) fn watched<T>(function: impl FnOnce() -> T) -> (T, bool) {
    REFUSED.set(false);
    let result = function();
    (result, REFUSED.replace(false))
}
