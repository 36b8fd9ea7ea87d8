//! Names for files and directories of a test, which nothing else has.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A path in the system's directory for temporary files at which nothing is, ending with `name`.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only the numbers matter, not what happened before.
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    // A process that is killed leaves its files behind, and its id is given to another one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_nanos();
    let process = std::process::id();
    std::env::temp_dir().join(format!("mqtt-fleet-{process}-{now}-{n}-{name}"))
}
