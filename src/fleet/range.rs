//! Whether a field is what it may be, and the problem with its name if it is not.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use crate::{fleet::error::Problem, spec::readable::Exact};

/// The longest pause, interval and timeout: clocks can count it, and nobody waits longer.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The names by which a spec's fields are called in errors are those of their setters.
pub(super) type Checked = Result<(), (&'static str, Problem)>;

/// What is wrong with a field, if something is.
pub(super) fn at<T>(field: &'static str, result: Result<T, impl Into<Problem>>) -> Checked {
    result.map(drop).map_err(|problem| (field, problem.into()))
}

/// Whether a field is in its range; `allowed` is the range in words.
pub(super) fn in_range<T: PartialOrd + Display>(
    field: &'static str,
    given: T,
    range: RangeInclusive<T>,
    allowed: &'static str,
) -> Checked {
    let given_text = given.to_string();
    ranged(field, &given, &range, given_text, allowed)
}

/// The same for a time.
pub(super) fn duration(
    field: &'static str,
    given: Duration,
    range: RangeInclusive<Duration>,
    allowed: &'static str,
) -> Checked {
    ranged(field, &given, &range, Exact(given).to_string(), allowed)
}

fn ranged<T: PartialOrd>(
    field: &'static str,
    given: &T,
    range: &RangeInclusive<T>,
    given_text: String,
    allowed: &'static str,
) -> Checked {
    if range.contains(given) {
        return Ok(());
    }
    let problem = Problem::OutOfRange {
        given: given_text,
        allowed,
    };
    Err((field, problem))
}
