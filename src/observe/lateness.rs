//! How late pub functions are called, counted from the moments that they were meant for.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Each power of two of microseconds has this many buckets: a figure is at most a sixteenth high.
const PER_DOUBLING: usize = 16;

/// Its exponent.
const BITS: u32 = PER_DOUBLING.ilog2();

/// Up to 2^32 microseconds, which is more than an hour. What is later counts as that late.
const BUCKETS: usize = (32 - BITS as usize + 1) * PER_DOUBLING;

/// How late the calls of pub functions were.
///
/// Counted from the moment that the schedule meant, not from when the publisher thread was ready:
/// what a slow pub function costs the calls behind it is in here. A call that came too late to be
/// made at all, or whose client was not connected, has no lateness; it is counted as missed.
/// Figures come from buckets that widen with the value: they are up to 6.25 % too high, never too
/// low, but for those of more than an hour. [`Lateness::max`] of a whole run is exact.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::Lateness;
///
/// fn keeps_pace(lateness: &Lateness) -> bool {
///     lateness.missed() == 0 && lateness.quantile(0.99) < Duration::from_millis(50)
/// }
/// assert!(keeps_pace(&Lateness::default()));
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Lateness {
    /// Empty if nothing was ever called.
    counts: Box<[u64]>,
    max: Duration,
    missed: u64,
}

impl Lateness {
    /// How many calls of pub functions were made. A repetition under
    /// [`OnFailure::Retry`](crate::OnFailure::Retry) is no call of its own here.
    pub fn called(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many calls were due and left out: the client was not connected, or the publisher thread
    /// came a whole interval too late.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The lateness that this part of the calls did not exceed: 0.5 for the median, 0.99 for all
    /// but the latest hundredth. From 0 to 1. Zero if there was no call.
    pub fn quantile(&self, part: f64) -> Duration {
        let called = self.called();
        // A float keeps counts up to 2^53 exactly; beyond, the rank is a little off.
        let rank = (part.clamp(0.0, 1.0) * called as f64).ceil() as u64;
        let rank = rank.clamp(1, called.max(1));
        let mut sum = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            sum += count;
            if sum >= rank {
                return highest(bucket).min(self.max);
            }
        }
        Duration::ZERO
    }

    /// The latest call. Zero if there was none.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// What has come since an earlier look at the same fleet: for figures of the last second. Its
    /// `max` is exact if it is the latest call of all, else as exact as the quantiles.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().chain(std::iter::repeat(&0));
        let counts: Box<[u64]> = (self.counts.iter().zip(before))
            .map(|(now, before)| now.saturating_sub(*before))
            .collect();
        let last = counts.iter().rposition(|count| *count > 0);
        let max = match last {
            None => Duration::ZERO,
            Some(_) if self.max > earlier.max => self.max,
            Some(bucket) => highest(bucket).min(self.max),
        };
        Self {
            counts,
            max,
            missed: self.missed.saturating_sub(earlier.missed),
        }
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(
            f,
            "{} called, {} missed, late by {:.1} ms (p50), {:.1} ms (p99), {:.1} ms (max)",
            self.called(),
            self.missed,
            ms(self.quantile(0.5)),
            ms(self.quantile(0.99)),
            ms(self.max),
        )
    }
}

impl fmt::Debug for Lateness {
    /// Without the buckets, of which there are hundreds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lateness({self})")
    }
}

/// The running figures of a fleet: its publisher threads write, anybody reads. Relaxed: they order
/// nothing.
#[derive(Debug, Clone)]
pub(crate) struct LatenessMeter(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    counts: [AtomicU64; BUCKETS],
    /// In nanoseconds.
    max: AtomicU64,
    missed: AtomicU64,
}

impl LatenessMeter {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Buckets {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            max: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }))
    }

    /// A call was made so long after its moment.
    pub(crate) fn called(&self, late: Duration) {
        if let Some(count) = self.0.counts.get(bucket(late)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.0.max.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    /// Calls were due and left out.
    pub(crate) fn missed(&self, n: u64) {
        self.0.missed.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Lateness {
        let counts = self.0.counts.iter();
        Lateness {
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            max: Duration::from_nanos(self.0.max.load(Ordering::Relaxed)),
            missed: self.0.missed.load(Ordering::Relaxed),
        }
    }
}

/// The bucket of a lateness: one for each microsecond below 32, then wider ones.
fn bucket(late: Duration) -> usize {
    let us = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
    let shift = us.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    shift as usize * PER_DOUBLING + (us >> shift) as usize
}

/// The end of a bucket, which all of its values are below or equal to.
fn highest(bucket: usize) -> Duration {
    let shift = (bucket / PER_DOUBLING).saturating_sub(1);
    let end = (bucket - shift * PER_DOUBLING + 1) as u64;
    Duration::from_micros(end << shift)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        /// Each value is in a bucket whose end is above it by a sixteenth at most, and one
        /// microsecond, to which values are rounded down.
        #[test]
        fn a_figure_is_high_by_a_sixteenth_at_most(ns in 0..(1_u64 << 41)) {
            let late = Duration::from_nanos(ns);
            let bucket = bucket(late);
            prop_assert!(bucket < BUCKETS);
            prop_assert!(highest(bucket) >= late);
            prop_assert!(highest(bucket) <= late + late / 16 + Duration::from_micros(1));
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let meter = LatenessMeter::new();
        for n in 1..=100 {
            meter.called(n * MS);
        }
        meter.missed(3);
        let all = meter.read();
        assert_eq!((all.called(), all.missed(), all.max()), (100, 3, 100 * MS));
        for (part, n) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100), (f64::NAN, 1)] {
            let quantile = all.quantile(part);
            assert!(
                quantile >= n * MS && quantile <= n * MS * 17 / 16 + MS / 100,
                "{part}"
            );
        }
        assert_eq!(Lateness::default().quantile(0.5), Duration::ZERO);
        let whole_day = Duration::from_secs(24 * 3_600);
        meter.called(whole_day);
        assert_eq!(meter.read().max(), whole_day);
        assert!(meter.read().quantile(1.0) > Duration::from_secs(3_600));
    }

    #[test]
    fn the_last_second_is_told_from_the_rest() {
        let meter = LatenessMeter::new();
        let none = meter.read();
        meter.called(100 * MS);
        let first = meter.read();
        assert_eq!(first.since(&none).max(), 100 * MS);
        assert_eq!(first.since(&Lateness::default()), first);
        assert_eq!(first.since(&first), meter.read().since(&first));
        meter.called(2 * MS);
        meter.missed(1);
        let second = meter.read().since(&first);
        assert_eq!((second.called(), second.missed()), (1, 1));
        assert!(second.max() >= 2 * MS && second.max() < 3 * MS, "{second}");
    }
}
