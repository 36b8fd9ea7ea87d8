//! How often and after which pauses a client tries to connect. Pure: no clock, no thread.

use std::{ops::RangeInclusive, time::Duration};

/// How a client retries: a number of attempts for each outage, with growing random pauses.
///
/// An attempt is one failed connect, or a connection that ended before it was stable. A
/// connection is stable once every SUBACK is in and [`Retry::stable_after`] has passed, unless it
/// ends on the same message or packet as the connection before it; losing a
/// stable connection starts a new outage, with all attempts. After the last attempt there is no
/// pause: the client's thread ends. A permanent refusal (bad credentials, bad client id, wrong
/// protocol version, or a peer that does not speak MQTT at the first connect) ends it at once.
///
/// **Three attempts, the default, last through the restart of a broker** (its absence for 4.5 s),
/// **and not through an outage of minutes.** A program that runs for months wants
/// [`Retry::forever`].
///
/// The first pause is a random time between the shortest pause and twice that; each further one
/// doubles both bounds, up to the longest pause: a pause is never shorter than half of its upper
/// bound, and a thousand clients of a restarted broker do not come back at the same moment. The
/// loss of a stable connection is followed by a first pause, too. A pause ends at once when the
/// client is stopped.
///
/// Defaults to three attempts, pauses of 1.5 s to 30 s, stable after 5 s.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::Retry;
///
/// let patient = Retry::forever().pause(Duration::from_millis(200)..=Duration::from_secs(60));
/// let default = Retry::attempts(3);
/// # let _ = (patient, default);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// `None` is for ever.
    pub(crate) attempts: Option<u32>,
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
    pub(crate) stable_after: Duration,
    pub(crate) refusals: bool,
}

impl Retry {
    /// At most this many attempts for each outage; at least one.
    pub fn attempts(attempts: u32) -> Self {
        Self {
            attempts: Some(attempts),
            shortest: Duration::from_millis(1_500),
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

    /// The shortest and the longest pause. The first pause of an outage is between the shortest
    /// and twice that; the bounds double with each attempt until the longest is reached. Both at
    /// zero: no pauses. Defaults to 1.5 s and 30 s.
    #[must_use]
    pub fn pause(mut self, pauses: RangeInclusive<Duration>) -> Self {
        (self.shortest, self.longest) = pauses.into_inner();
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for a time between these (the caller draws it), then try again.
    Pause(RangeInclusive<Duration>),
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
    pub(crate) fn lost_stable(&mut self) -> RangeInclusive<Duration> {
        self.failed = 0;
        self.pause_after(0)
    }

    /// The current attempt failed.
    pub(crate) fn failed(&mut self) -> Next {
        let pause = self.pause_after(self.failed);
        self.failed = self.failed.saturating_add(1);
        match self.policy.attempts {
            Some(limit) if self.failed >= limit => Next::GiveUp,
            _ => Next::Pause(pause),
        }
    }

    /// The bounds of the pause after this many failed attempts of the outage.
    fn pause_after(&self, failed: u32) -> RangeInclusive<Duration> {
        let Retry {
            shortest, longest, ..
        } = self.policy;
        let factor = 2_u32.saturating_pow(failed.saturating_add(1));
        let most = shortest.saturating_mul(factor).min(longest);
        (most / 2).max(shortest)..=most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pause(retry: Retry) -> impl FnMut() -> Option<(u64, u64)> {
        let mut attempts = Attempts::new(retry);
        move || match attempts.failed() {
            Next::Pause(pause) => Some((pause.start().as_secs(), pause.end().as_secs())),
            Next::GiveUp => None,
        }
    }

    #[test]
    fn three_attempts_and_no_pause_after_the_last() {
        let mut pause = pause(Retry::attempts(3).pause(SECOND..=SECOND * 60));
        assert_eq!(pause(), Some((1, 2)));
        assert_eq!(pause(), Some((2, 4)));
        assert_eq!(pause(), None);
    }

    #[test]
    fn equal_bounds_are_the_pause() {
        let mut pause = pause(Retry::forever().pause(SECOND * 7..=SECOND * 7));
        assert!((0..40).all(|_| pause() == Some((7, 7))));
    }

    /// Whether or not the connection that is lost was stable.
    #[test]
    fn the_default_lasts_through_a_restart_of_a_broker() {
        let mut attempts = Attempts::new(Retry::default());
        let mut away = Duration::ZERO;
        while let Next::Pause(pause) = attempts.failed() {
            away += *pause.start();
        }
        assert!(away >= Duration::from_millis(4_500), "{away:?}");
        assert!(*attempts.lost_stable().start() > Duration::ZERO);
    }

    #[test]
    fn a_stable_connection_gives_the_attempts_back() {
        let mut attempts = Attempts::new(Retry::attempts(2).pause(SECOND..=SECOND * 60));
        let first = SECOND..=SECOND * 2;
        assert_eq!(attempts.failed(), Next::Pause(first.clone()));
        assert_eq!(attempts.lost_stable(), first);
        assert_eq!(attempts.current(), 1);
        assert_eq!(attempts.failed(), Next::Pause(first));
        assert_eq!(attempts.failed(), Next::GiveUp);
    }

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        #[test]
        fn pauses_grow_to_their_bound_and_never_past_it(
            shortest in 0_u64..10_000, more in 0_u64..100_000, failures in 1_usize..200,
        ) {
            let shortest = Duration::from_millis(shortest);
            let longest = shortest + Duration::from_millis(more);
            let mut attempts = Attempts::new(Retry::forever().pause(shortest..=longest));
            let mut before = shortest..=shortest;
            for _ in 0..failures {
                let Next::Pause(pause) = attempts.failed() else {
                    panic!("forever gave up");
                };
                prop_assert!(pause.start() >= before.start() && pause.end() >= before.end());
                prop_assert!(*pause.start() >= shortest && pause.end() <= &longest);
                prop_assert!(pause.start() <= pause.end() && *pause.start() >= *pause.end() / 2);
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
