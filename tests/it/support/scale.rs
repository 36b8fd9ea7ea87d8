//! How large the tests of scale are, and how times are counted in them.

use std::time::Duration;

/// The full form asserts what is promised; the small one runs beside other tests on a busy machine.
const FULL_FROM: usize = 1_000;

/// How many clients: a few hundred, or what `SCALE_CLIENTS` says.
pub(crate) fn clients() -> usize {
    let text = std::env::var("SCALE_CLIENTS").ok();
    text.map_or(300, |text| text.parse().expect("it is a number"))
}

/// Whether this is the full form.
pub(crate) fn is_full() -> bool {
    clients() >= FULL_FROM
}

/// The most of these moments, which are in order, that lie within any stretch of this length.
pub(crate) fn most_within(times: &[Duration], length: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, time) in times.iter().enumerate() {
        while *time - times[first] >= length {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}
