//! For what pays only sometimes: after an attempt that brought nothing it is left out for a while, and for twice
//! as long after the next one.

/// It is left out at most this many times in a row.
const MOST_LEFT_OUT: u32 = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// How many times it is still left out.
    left_out: u32,
    /// How many times it was left out after the last attempt that brought nothing.
    before: u32,
}

impl Backoff {
    /// Makes the attempt, which says whether it paid, unless it is left out this time. Says whether
    /// it was made and paid.
    pub(crate) fn attempt(&mut self, attempt: impl FnOnce() -> bool) -> bool {
        if self.left_out > 0 {
            self.left_out -= 1;
            return false;
        }
        let paid = attempt();
        self.before = match paid {
            true => 0,
            false => (self.before * 2 + 1).min(MOST_LEFT_OUT),
        };
        self.left_out = self.before;
        paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_vain_is_left_out_for_longer_and_longer() {
        let mut backoff = Backoff::default();
        let mut made = Vec::new();
        for n in 0..100 {
            backoff.attempt(|| {
                made.push(n);
                false
            });
        }
        assert_eq!(made, [0, 2, 6, 14, 30, 62]);
        backoff.left_out = 0;
        assert!(backoff.attempt(|| true), "it pays again");
        assert!(backoff.attempt(|| true), "and is made at once");
        backoff.before = MOST_LEFT_OUT;
        assert!(!backoff.attempt(|| false));
        assert_eq!(backoff.left_out, MOST_LEFT_OUT, "not for ever");
    }
}
