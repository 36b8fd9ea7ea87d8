//! When a worker acknowledges several messages together and looks out for more: while it has been
//! handling many of them, each in next to no time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Messages are acknowledged one by one as they are handled. Where many were handled and each took
/// next to no time, those of a batch are acknowledged together: otherwise each acknowledgement
/// wakes the network thread, which costs more than the handler. Should a handler be slow all of a
/// sudden, the acknowledgements before it in its batch wait until it returns: after that it is one by
/// one again, until many more were quick.
#[derive(Debug, Default)]
pub(super) struct Calm {
    /// Messages handled quickly, one after the other.
    quick: usize,
}

/// So many have to be handled quickly first.
const CALM_AFTER: usize = 256;

/// Quick is at most this for each message, on average over a batch.
const QUICK: Duration = Duration::from_micros(10);

/// A batch whose handlers have taken this long is acknowledged so far.
pub(super) const MOST_HELD: Duration = Duration::from_micros(500);

/// How many messages without acknowledgement are handled between two looks at the clock.
pub(super) const LOOK_EVERY: usize = 8;

/// At most so many are acknowledged together.
pub(super) const MOST_SETTLED: usize = 64;

impl Calm {
    pub(super) fn is_calm(&self) -> bool {
        self.quick >= CALM_AFTER
    }

    pub(super) fn disturbed(&mut self) {
        self.quick = 0;
    }

    pub(super) fn note(&mut self, messages: usize, took: Duration) {
        let each = took / u32::try_from(messages.max(1)).unwrap_or(u32::MAX);
        match each <= QUICK {
            true => self.quick = self.quick.saturating_add(messages),
            false => self.disturbed(),
        }
    }
}

/// Looking out for the next batch before going to sleep, and giving way to other threads meanwhile.
/// Where messages come as fast as they are handled, going to sleep and being woken takes longer than
/// handling them. After a look-out in vain it is left for twice as many times as before.
#[derive(Debug, Default)]
pub(super) struct LookOut {
    leave: u32,
    left_before: u32,
}

/// How long it takes at most.
const LOOK_OUT: Duration = Duration::from_micros(50);

/// It is left for at most so many times in a row.
const MOST_LEFT: u32 = 4_096;

impl LookOut {
    /// Says whether it came true.
    pub(super) fn until(&mut self, come: impl Fn() -> bool) -> bool {
        if self.leave > 0 {
            self.leave -= 1;
            return false;
        }
        let begun = Instant::now();
        while !come() {
            if begun.elapsed() >= LOOK_OUT {
                self.left_before = (self.left_before * 2 + 1).min(MOST_LEFT);
                self.leave = self.left_before;
                return false;
            }
            thread::yield_now();
        }
        self.left_before = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calm_comes_late_and_goes_at_once() {
        let mut calm = Calm::default();
        let (quick, slow) = (Duration::from_micros(100), Duration::from_micros(5_000));
        calm.note(100, quick);
        calm.note(100, quick);
        assert!(!calm.is_calm());
        calm.note(100, quick);
        assert!(calm.is_calm());
        calm.note(100, slow);
        assert!(!calm.is_calm());
    }

    #[test]
    fn a_look_out_in_vain_is_left_for_longer_and_longer() {
        let mut look_out = LookOut::default();
        let mut tried = Vec::new();
        for n in 0..100 {
            let asked = std::cell::Cell::new(false);
            look_out.until(|| {
                asked.set(true);
                false
            });
            if asked.get() {
                tried.push(n);
            }
        }
        assert_eq!(tried, [0, 2, 6, 14, 30, 62]);
        let mut look_out = LookOut::default();
        assert!(look_out.until(|| true) && look_out.until(|| true));
    }
}
