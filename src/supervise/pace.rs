//! One bucket for the connects of the whole fleet: at start and after an outage alike.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::supervise::stop::StopSignal;

/// Hands out moments to connect at, never more of them in a second than the rate.
#[derive(Debug)]
pub(crate) struct Pacer {
    interval: Duration,
    next: Mutex<Instant>,
    /// The same once more, for those whose turn has come: see `wait`.
    passed: Mutex<Instant>,
}

impl Pacer {
    /// `per_second` is at least one.
    pub(crate) fn new(per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            next: Mutex::new(now),
            passed: Mutex::new(now),
        }
    }

    /// Waits for this client's turn. Says whether it came before the stop.
    ///
    /// It is asked for twice. Where there are thousands of threads, the system runs some of them
    /// late, and those would come together with the ones that are on time: the second turn moves
    /// all that follow instead.
    pub(crate) fn wait(&self, stop: &StopSignal) -> bool {
        [&self.next, &self.passed].into_iter().all(|line| {
            let now = Instant::now();
            let turn = {
                let mut next = line.lock();
                let turn = (*next).max(now);
                *next = turn + self.interval;
                turn
            };
            !stop.pause(turn.saturating_duration_since(now))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_an_interval_apart_and_end_on_stop() {
        let pacer = Pacer::new(1_000);
        let stop = StopSignal::default();
        let start = Instant::now();
        assert!((0..20).all(|_| pacer.wait(&stop)));
        assert!(start.elapsed() >= Duration::from_millis(19));

        let slow = Pacer::new(1);
        assert!(slow.wait(&stop), "the first turn is now");
        stop.raise();
        assert!(!slow.wait(&stop), "a turn in a second is not waited for");
    }
}
