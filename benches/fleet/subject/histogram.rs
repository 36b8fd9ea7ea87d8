//! Times in buckets: 32 for each power of two, so that a quantile is exact to 3 %.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const BITS: u32 = 5;
const BUCKETS: usize = 64 << BITS;

pub(crate) struct Histogram(Vec<AtomicU64>);

impl Histogram {
    pub(crate) fn new() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn record(&self, nanoseconds: u64) {
        if let Some(bucket) = self.0.get(bucket_of(nanoseconds)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        for bucket in &self.0 {
            bucket.store(0, Relaxed);
        }
    }

    /// The time that this share of all times does not exceed, in nanoseconds.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let counts: Vec<u64> = self.0.iter().map(|it| it.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let mut left = (total as f64 * share).ceil() as u64;
        for (bucket, count) in counts.iter().enumerate() {
            if *count >= left && *count > 0 {
                return value_of(bucket);
            }
            left -= count;
        }
        0
    }

    /// How many times were recorded, and the quantiles 50 %, 99 % and 99.9 %.
    pub(crate) fn summary(&self) -> String {
        let total: u64 = self.0.iter().map(|it| it.load(Relaxed)).sum();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.quantile(share));
        format!("{total} {p50} {p99} {p999}")
    }
}

fn bucket_of(value: u64) -> usize {
    let power = 63 - (value | 1).leading_zeros();
    let shift = power.saturating_sub(BITS);
    // Below 64 × 32.
    ((u64::from(shift) << BITS) + (value >> shift)) as usize
}

/// The middle of a bucket.
fn value_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> BITS).saturating_sub(1);
    let low = (bucket - (shift << BITS)) << shift;
    low + (1 << shift) / 2
}
