//! One pace for the connects of the whole fleet: at start and after an outage alike.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::supervise::stop::StopSignal;

const SECOND: Duration = Duration::from_secs(1);

/// Hands out moments to connect at, never more of them in any second than the rate.
#[derive(Debug)]
pub(crate) struct Pacer {
    rate: usize,
    interval: Duration,
    /// When the next client that asks may begin an attempt.
    next: Mutex<Instant>,
    /// The same for clients that are about to connect.
    permitted: Mutex<Instant>,
    /// When those of the last second were let go.
    gone: Mutex<VecDeque<Instant>>,
}

impl Pacer {
    /// `per_second` is at least one.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let now = Instant::now();
        Self {
            rate: usize::try_from(per_second).unwrap_or(usize::MAX),
            interval: SECOND / per_second,
            next: Mutex::new(now),
            permitted: Mutex::new(now),
            gone: Mutex::new(VecDeque::new()),
        }
    }

    /// Waits for this client's turn to begin an attempt. Says whether it came before the stop.
    pub(crate) fn turn(&self, stop: &StopSignal) -> bool {
        self.queue(&self.next, stop)
    }

    /// Right before the connect: waits until it keeps to the rate. Says whether it may be made, not
    /// after a stop.
    ///
    /// The turns are evenly spread, but where there are thousands of threads the system runs some
    /// of them late, and a name service or a function for credentials may hold many of them up and
    /// let them go at one moment. So there is a second queue; and should even that let threads go
    /// late, they are counted.
    pub(crate) fn permit(&self, stop: &StopSignal) -> bool {
        if !self.queue(&self.permitted, stop) {
            return false;
        }
        while let Some(early) = self.too_many() {
            if stop.pause(early) {
                return false;
            }
        }
        true
    }

    /// Takes the next place in a queue, and waits for its moment.
    fn queue(&self, next: &Mutex<Instant>, stop: &StopSignal) -> bool {
        let now = Instant::now();
        let turn = {
            let mut next = next.lock();
            let turn = (*next).max(now);
            *next = turn + self.interval;
            turn
        };
        !stop.pause(turn.saturating_duration_since(now))
    }

    /// Lets the caller go now, or says how long it has to wait until one of the last second is
    /// older than that.
    fn too_many(&self) -> Option<Duration> {
        let mut gone = self.gone.lock();
        let now = Instant::now();
        let is_old = |at: &Instant| now.duration_since(*at) >= SECOND;
        while gone.front().is_some_and(is_old) {
            gone.pop_front();
        }
        match gone.front() {
            Some(oldest) if gone.len() >= self.rate => Some(SECOND - now.duration_since(*oldest)),
            _ => {
                gone.push_back(now);
                None
            }
        }
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
        assert!((0..20).all(|_| pacer.turn(&stop)));
        assert!(start.elapsed() >= Duration::from_millis(19));
        let slow = Pacer::new(1);
        assert!(slow.turn(&stop), "the first turn is now");
        stop.raise();
        assert!(!slow.turn(&stop), "a turn in a second is not waited for");
    }

    #[test]
    fn who_is_late_does_not_come_with_too_many_others() {
        let pacer = Pacer::new(10);
        assert!((0..10).all(|_| pacer.too_many().is_none()));
        let wait = pacer.too_many().unwrap();
        assert!(wait <= SECOND && wait > SECOND / 2, "{wait:?}");
        // As if a second had passed for the first three.
        let past = Instant::now() - SECOND;
        pacer
            .gone
            .lock()
            .iter_mut()
            .take(3)
            .for_each(|at| *at = past);
        assert!((0..3).all(|_| pacer.too_many().is_none()));
        assert!(pacer.too_many().is_some());
        let stop = StopSignal::default();
        stop.raise();
        assert!(!pacer.permit(&stop), "a stop ends the wait");
    }
}
