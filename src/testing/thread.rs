//! The one place where the test broker starts threads.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Small, because a broker has up to two threads for each connection, and thousands of those.
const STACK: usize = 128 * 1024;

/// Starts a thread named `broker-…`.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(super) fn start<T: Send + 'static>(
    role: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new()
        .name(format!("broker-{role}"))
        .stack_size(STACK)
        .spawn(body)
}
