//! How often and after which pauses a client tries to connect. Pure: no clock, no thread.

use std::time::Duration;

/// How a client retries: a number of attempts for each outage, with growing random pauses.
///
/// An attempt is one failed connect, or a connection that ended before it was stable. A
/// connection is stable once every SUBACK is in and [`Retry::stable_after`] has passed; a stable
/// connection gives all attempts back. After the last attempt there is no pause: the client's
/// thread ends. A permanent refusal (bad credentials, bad client id, wrong protocol version, or
/// a peer that does not speak MQTT at the first connect) ends it at once.
///
/// The pause after the attempt number k is a random time between zero and `first` × 2^(k-1), at
/// most `longest` ("full jitter": a thousand clients of a restarted broker do not come back at
/// one moment). It ends at once when the client is stopped.
///
/// Defaults to three attempts, pauses from 1 s to 30 s, stable after 5 s.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::Retry;
///
/// let patient = Retry::forever().pause(Duration::from_millis(200), Duration::from_secs(60));
/// let default = Retry::attempts(3);
/// # let _ = (patient, default);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// `None` is for ever.
    pub(crate) attempts: Option<u32>,
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) stable_after: Duration,
    pub(crate) refusals: bool,
}

impl Retry {
    /// At most this many attempts for each outage; at least one.
    pub fn attempts(attempts: u32) -> Self {
        Self {
            attempts: Some(attempts),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            stable_after: Duration::from_secs(5),
            refusals: false,
        }
    }

    /// Never gives up. Permanent refusals still end the client, unless
    /// [`Retry::refusals_too`] is asked for.
    pub fn forever() -> Self {
        Self {
            attempts: None,
            ..Self::attempts(1)
        }
    }

    /// The bounds of the pauses: up to `first` after the first attempt, doubled with each
    /// further one, never more than `longest`. Defaults to 1 s and 30 s.
    #[must_use]
    pub fn pause(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest;
        self
    }

    /// How long a connection must last before it gives the attempts back. Defaults to 5 s.
    #[must_use]
    pub fn stable_after(mut self, stable_after: Duration) -> Self {
        self.stable_after = stable_after;
        self
    }

    /// Treats permanent refusals as ordinary failed attempts: for brokers that answer "not
    /// authorized", or nonsense, while they start. Defaults to off: repeated bad logins lock accounts.
    #[must_use]
    pub fn refusals_too(mut self) -> Self {
        self.refusals = true;
        self
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::attempts(3)
    }
}

/// Counts the attempts of the current outage.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: Retry,
    failed: u32,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait this long at most (the caller draws the jitter), then try again.
    PauseUpTo(Duration),
    GiveUp,
}

impl Attempts {
    pub(crate) fn new(policy: Retry) -> Self {
        Self { policy, failed: 0 }
    }

    /// The number of the attempt under way, from one.
    pub(crate) fn current(&self) -> u32 {
        self.failed.saturating_add(1)
    }

    pub(crate) fn limit(&self) -> Option<u32> {
        self.policy.attempts
    }

    pub(crate) fn stable_after(&self) -> Duration {
        self.policy.stable_after
    }

    pub(crate) fn retries_refusals(&self) -> bool {
        self.policy.refusals
    }

    /// A stable connection was lost: the outage begins with all attempts.
    pub(crate) fn lost_stable(&mut self) -> Duration {
        self.failed = 0;
        self.ceiling(0)
    }

    /// The current attempt failed.
    pub(crate) fn failed(&mut self) -> Next {
        let pause = self.ceiling(self.failed);
        self.failed = self.failed.saturating_add(1);
        match self.policy.attempts {
            Some(limit) if self.failed >= limit => Next::GiveUp,
            _ => Next::PauseUpTo(pause),
        }
    }

    fn ceiling(&self, doublings: u32) -> Duration {
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.policy
            .first
            .saturating_mul(factor)
            .min(self.policy.longest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_attempts_and_no_pause_after_the_last() {
        let mut attempts = Attempts::new(Retry::attempts(3).pause(SECOND, SECOND * 60));
        assert_eq!(attempts.current(), 1);
        assert_eq!(attempts.failed(), Next::PauseUpTo(SECOND));
        assert_eq!(attempts.current(), 2);
        assert_eq!(attempts.failed(), Next::PauseUpTo(SECOND * 2));
        assert_eq!(attempts.failed(), Next::GiveUp);
    }

    #[test]
    fn a_stable_connection_gives_the_attempts_back() {
        let mut attempts = Attempts::new(Retry::attempts(2).pause(SECOND, SECOND * 60));
        assert_eq!(attempts.failed(), Next::PauseUpTo(SECOND));
        assert_eq!(attempts.lost_stable(), SECOND);
        assert_eq!(attempts.current(), 1);
        assert_eq!(attempts.failed(), Next::PauseUpTo(SECOND));
        assert_eq!(attempts.failed(), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn pauses_grow_to_their_bound_and_never_past_it(
            first in 0_u64..10_000, longest in 0_u64..100_000, failures in 1_usize..200,
        ) {
            let longest = Duration::from_millis(longest);
            let retry = Retry::forever().pause(Duration::from_millis(first), longest);
            let mut attempts = Attempts::new(retry);
            let mut before = Duration::ZERO;
            for _ in 0..failures {
                let Next::PauseUpTo(pause) = attempts.failed() else {
                    panic!("forever gave up");
                };
                prop_assert!(pause >= before && pause <= longest);
                before = pause;
            }
        }

        #[test]
        fn exactly_as_many_attempts_as_allowed(limit in 1_u32..50) {
            let mut attempts = Attempts::new(Retry::attempts(limit));
            let tries = (1..).find(|_| attempts.failed() == Next::GiveUp);
            prop_assert_eq!(tries, Some(limit));
        }
    }
}
