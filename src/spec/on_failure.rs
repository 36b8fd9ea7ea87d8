//! What follows when a function of the user fails.

use std::{ops::RangeInclusive, time::Duration};

/// What happens when a handler or a pub function returns an error or panics. Each failure is
/// logged and counted, and the first of each client is in the report, whatever the policy.
///
/// With [`OnFailure::Log`] and [`OnFailure::Retry`] a message whose handlers failed is
/// acknowledged like any other: the broker would not send it again on this connection anyway. Use
/// a dead-letter function to keep it. The policies that stop a client leave it unacknowledged.
///
/// ```
/// use mqtt_fleet::{Fleet, OnFailure, Repeat};
///
/// let builder = Fleet::builder()
///     .on_failure(OnFailure::Retry(Repeat::times(2)))
///     .dead_letter(|message, failure| {
///         eprintln!("lost {:?}: {failure}", message.text());
///         Ok(())
///     });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// Go on with the next message or tick.
    #[default]
    Log,
    /// Call it again, as [`Repeat`] says; if it still fails, give the message to the dead-letter
    /// function.
    Retry(Repeat),
    /// Stop the client whose message or tick it was.
    StopClient,
    /// Stop every client.
    StopFleet,
}

/// How often a function that failed is called again, and after which pauses.
///
/// A pause holds up what shares the worker or publisher thread, and ends at once when the client is
/// stopped: then the message is neither handled nor acknowledged, and is no dead letter. A pub function is
/// not repeated past the moment of its next call.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{OnFailure, Repeat};
///
/// let patient = Repeat::times(5).pause(Duration::from_millis(100)..=Duration::from_secs(10));
/// let policy = OnFailure::Retry(patient);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repeat {
    pub(crate) times: u32,
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
}

impl Repeat {
    /// Up to this many times.
    #[must_use]
    pub fn times(times: u32) -> Self {
        Self {
            times,
            shortest: Duration::from_millis(10),
            longest: Duration::from_secs(1),
        }
    }

    /// The pause before the first repetition, which doubles with each further one, and the longest.
    /// Defaults to 10 ms and 1 s.
    #[must_use]
    pub fn pause(mut self, pauses: RangeInclusive<Duration>) -> Self {
        (self.shortest, self.longest) = pauses.into_inner();
        self
    }

    /// How long to wait before the function is called again, for the first time or a further one.
    pub(crate) fn pause_before(self, repetition: u32) -> Duration {
        let factor = 2_u32.saturating_pow(repetition.saturating_sub(1));
        self.shortest.saturating_mul(factor).min(self.longest)
    }
}

impl OnFailure {
    /// How a failed function is repeated: not at all with most policies.
    pub(crate) fn repeat(self) -> Repeat {
        match self {
            Self::Retry(repeat) => repeat,
            _ => Repeat::times(0),
        }
    }
}
