//! Whether a connection is dead: a ping that stays unanswered for a keep alive while nothing comes.
//!
//! The answer to a ping may wait behind a large packet, on the way there or back. So an unanswered ping says
//! nothing while the line moves, nor for a while after something large was written.

use std::time::Instant;

/// What is known of one connection's pings.
#[derive(Debug, Default)]
pub(crate) struct KeepAlive {
    /// A ping was sent, and no packet has come since.
    is_unanswered: bool,
    /// Until then an unanswered ping says nothing: what was written before it may still be on its way.
    lenient_until: Option<Instant>,
    is_dead: bool,
}

impl KeepAlive {
    /// A packet came, of whatever kind.
    pub(crate) fn heard(&mut self) {
        self.is_unanswered = false;
    }

    /// A flush is done that began then. What was written may take as long again to arrive, and so do answers.
    pub(crate) fn flushed(&mut self, began: Instant, now: Instant) {
        self.is_unanswered = false;
        self.lenient_until = now.checked_add(now.saturating_duration_since(began));
    }

    /// A ping goes out, one each keep alive: by now the one before should be answered. `moves` says whether
    /// pieces of a packet have come since that one.
    pub(crate) fn pinged(&mut self, moves: bool, now: Instant) {
        let is_lenient = self.lenient_until.is_some_and(|until| now < until);
        self.is_dead |= self.is_unanswered && !moves && !is_lenient;
        self.is_unanswered = true;
    }

    /// Whether a ping was not answered for a keep alive, and the line did not move.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(10);

    /// Pings each keep alive. Says after how many of them the connection is dead, within ten.
    fn dead_after(
        keep_alive: &mut KeepAlive,
        begin: Instant,
        moves: impl Fn(u32) -> bool,
        is_answered: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        (1..=10).find(|&n| {
            keep_alive.pinged(moves(n), begin + KEEP_ALIVE * n);
            if is_answered(n) {
                keep_alive.heard();
            }
            keep_alive.is_dead()
        })
    }

    #[test]
    fn a_late_ping_ends_the_connection_and_an_answered_one_does_not() {
        let begin = Instant::now();
        let never = |_| false;
        let always = |_| true;
        let new = KeepAlive::default;
        assert_eq!(dead_after(&mut new(), begin, never, never), Some(2));
        assert_eq!(dead_after(&mut new(), begin, never, always), None);
        assert_eq!(dead_after(&mut new(), begin, never, |n| n < 5), Some(6));
    }

    /// Fails when a line that moves is taken for dead, or one that stands still again for alive.
    #[test]
    fn a_line_that_moves_is_not_dead() {
        let begin = Instant::now();
        let never = |_| false;
        let new = KeepAlive::default;
        assert_eq!(dead_after(&mut new(), begin, |_| true, never), None);
        assert_eq!(dead_after(&mut new(), begin, |n| n < 5, never), Some(5));
    }

    /// Fails when what took long to be written has less time to arrive than it took, or more.
    #[test]
    fn a_long_flush_gives_answers_as_long_again() {
        let begin = Instant::now();
        let never = |_| false;
        for (flush, dead) in [(1, 2), (3, 3), (5, 5)] {
            let mut keep_alive = KeepAlive::default();
            let done = begin + KEEP_ALIVE * flush;
            keep_alive.flushed(begin, done);
            assert_eq!(dead_after(&mut keep_alive, done, never, never), Some(dead));
        }
        let mut keep_alive = KeepAlive::default();
        keep_alive.pinged(false, begin);
        keep_alive.flushed(begin, begin);
        keep_alive.pinged(false, begin);
        assert!(
            !keep_alive.is_dead(),
            "the ping before waited for the flush"
        );
    }
}
