//! Writes the log lines of clients, thinned: see `thinning.rs` for which ones.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;

use crate::{
    observe::thinning::{About, Crowd, Repeats, Rest},
    supervise::panic::caught,
};

/// What happened, as the line that counts others says it.
pub(crate) mod what {
    pub(crate) const LOST: &str = "disconnected from";
    pub(crate) const LOST_AGAIN_AND_AGAIN: &str = "disconnected soon after CONNACK from";
    pub(crate) const ATTEMPT_FAILED: &str = "an attempt failed at";
    pub(crate) const CONNECTED: &str = "connected again to";
    pub(crate) const STABLE: &str = "stable again at";
    pub(crate) const ENDED: &str = "ended at";
    pub(crate) const REFUSED: &str = "the broker refused";
    pub(crate) const LOWERED: &str = "the broker lowered";
    pub(crate) const QUEUE_FULL: &str = "dropped QoS 0 messages, a share of the queue is full";
    pub(crate) const HANDLER: &str = "a handler failed";
    pub(crate) const PUB_FUNCTION: &str = "a pub function failed";
    pub(crate) const DEAD_LETTER: &str = "the dead-letter function failed";
    pub(crate) const STATE_CALLBACK: &str = "the state callback failed";

    /// What an outage is told by.
    pub(crate) const OF_AN_OUTAGE: [&str; 5] = [
        STABLE,
        LOST,
        LOST_AGAIN_AND_AGAIN,
        ATTEMPT_FAILED,
        CONNECTED,
    ];
}

/// No count waits.
const NEVER: u64 = u64::MAX;

/// The log of one client.
#[derive(Debug)]
pub(crate) struct ClientLog {
    client: Arc<str>,
    repeats: Mutex<Repeats>,
    fleet: Arc<FleetLog>,
}

impl ClientLog {
    pub(crate) fn new(client: Arc<str>, fleet: Arc<FleetLog>) -> Self {
        Self {
            client,
            repeats: Mutex::default(),
            fleet,
        }
    }

    pub(crate) fn error(&self, about: &About<'_>, line: fmt::Arguments<'_>) -> bool {
        self.line(log::Level::Error, about, line)
    }

    pub(crate) fn warn(&self, about: &About<'_>, line: fmt::Arguments<'_>) -> bool {
        self.line(log::Level::Warn, about, line)
    }

    /// Says whether the line was passed on to the fleet, which has then written or counted it.
    pub(crate) fn info(&self, about: &About<'_>, line: fmt::Arguments<'_>) -> bool {
        self.line(log::Level::Info, about, line)
    }

    /// An outage is over: the first lines of the next one are written again.
    pub(crate) fn outage_is_over(&self) {
        self.repeats.lock().forget(&what::OF_AN_OUTAGE);
    }

    /// Writes the counts whose time has come. Costs next to nothing if there is none.
    pub(crate) fn write_counts(&self) {
        self.fleet.write_counts();
    }

    fn line(&self, level: log::Level, about: &About<'_>, line: fmt::Arguments<'_>) -> bool {
        if level > log::max_level() {
            return true;
        }
        let passed = self.repeats.lock().line(about, Instant::now());
        match passed {
            None => false,
            Some(0) => {
                self.fleet.line(level, &self.client, about, line);
                true
            }
            Some(n) => {
                let line = format_args!("{line} ({n} more like it left out)");
                self.fleet.line(level, &self.client, about, line);
                true
            }
        }
    }
}

/// The log of all clients of a fleet.
#[derive(Debug)]
pub(crate) struct FleetLog {
    crowd: Mutex<Crowd>,
    began: Instant,
    /// When a count is to be written next, in milliseconds since `began`: looked at without a lock.
    next_count: AtomicU64,
}

impl FleetLog {
    pub(crate) fn new() -> Self {
        Self {
            crowd: Mutex::default(),
            began: Instant::now(),
            next_count: AtomicU64::new(NEVER),
        }
    }

    /// A line of a client that only the fleet thins.
    pub(crate) fn error(&self, client: &Arc<str>, about: &About<'_>, line: fmt::Arguments<'_>) {
        self.line(log::Level::Error, client, about, line);
    }

    fn line(
        &self,
        level: log::Level,
        client: &Arc<str>,
        about: &About<'_>,
        line: fmt::Arguments<'_>,
    ) {
        self.write_counts();
        let is_written = {
            let mut crowd = self.crowd.lock();
            let is_written = crowd.line(about, client, level, Instant::now());
            self.note_next(&crowd);
            is_written
        };
        // Without the lock: a logger is foreign code.
        if is_written {
            write(level, line);
        }
    }

    fn write_counts(&self) {
        let next = self.next_count.load(Ordering::Relaxed);
        if next == NEVER || next > self.millis(Instant::now()) {
            return;
        }
        let due = {
            let mut crowd = self.crowd.lock();
            let due = crowd.due(Instant::now());
            self.note_next(&crowd);
            due
        };
        write_all(due);
    }

    /// Writes all counts, at the end.
    pub(crate) fn finish(&self) {
        let all = {
            let mut crowd = self.crowd.lock();
            let all = crowd.all();
            self.note_next(&crowd);
            all
        };
        write_all(all);
    }

    fn note_next(&self, crowd: &Crowd) {
        let next = crowd.next_count().map_or(NEVER, |at| self.millis(at));
        self.next_count.store(next, Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(NEVER - 1)
    }
}

impl Drop for FleetLog {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write_all(rest: Vec<Rest>) {
    for rest in rest {
        write(rest.level, format_args!("{rest}"));
    }
}

/// A logger is foreign code: its panic ends here.
fn write(level: log::Level, line: fmt::Arguments<'_>) {
    let _ = caught(|| log::log!(target: "mqtt_fleet", level, "{line}"));
}

#[cfg(test)]
impl Default for ClientLog {
    fn default() -> Self {
        Self::new("a".into(), Arc::new(FleetLog::new()))
    }
}
