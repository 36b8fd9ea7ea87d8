//! Waiting, and the clock that two processes share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since the epoch: the one clock that two processes share without `unsafe`.
pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn now() -> u64 {
    nanoseconds(SystemTime::now())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement lasts a given time"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
