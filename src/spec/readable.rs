//! Texts for people: `Debug` of the errors, and durations.
//!
//! `fn main() -> Result<(), mqtt_fleet::Error>`, `unwrap` and `expect` print the `Debug` of an error, and a
//! person reads it. So it is the text of `Display`, followed by the texts of the sources, and never the
//! structure.

use std::{error::Error, fmt, time::Duration};

/// The text of an error, and behind it those of its sources that it does not end with already.
pub(crate) fn with_sources(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = error.to_string();
    f.write_str(&text)?;
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            write!(f, ": {next}")?;
            text = next;
        }
        source = error.source();
    }
    Ok(())
}

/// Implements `Debug` of error types as the text of the error.
macro_rules! debug_is_text {
    ($($error:ty),+ $(,)?) => {$(
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $crate::spec::readable::with_sources(self, f)
            }
        }
    )+};
}

pub(crate) use debug_is_text;

/// Whether a name that a user gave looks like a secret in a wrong place: generated passwords and tokens mix
/// digits with letters of both cases, names of hosts and files hardly ever do.
pub(crate) fn may_be_secret(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_digit())
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A duration that was measured, in two or three digits: `5 s`, `1.5 s`, `250 ms`.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded before the unit is chosen, or 999.9 ms would be `1000 ms`.
        let seconds = self.0.as_secs_f64();
        let tenths = (seconds * 10.0).round() / 10.0;
        match seconds {
            0.0 => f.write_str("0 s"),
            _ if seconds >= 1e6 => write!(f, "{:.0} days", seconds / 86_400.0),
            _ if seconds >= 9.95 => write!(f, "{seconds:.0} s"),
            _ if seconds >= 0.9995 => write!(f, "{tenths} s"),
            _ if seconds >= 0.9995e-3 => write!(f, "{:.0} ms", seconds * 1e3),
            _ => write!(f, "{:.0} us", (seconds * 1e6).max(1.0)),
        }
    }
}

/// A duration that was set, exactly: `90 s`, `999 ms`, `1.000000001 s`. One that no clock of ours counts is in
/// days.
pub(crate) struct Exact(pub(crate) Duration);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Such as `Duration::MAX`: its nanoseconds are a row of digits.
        if self.0.as_secs() > 400 * 86_400 {
            return Rounded(self.0).fmt(f);
        }
        let nanoseconds = self.0.as_nanos();
        let unit = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")]
            .into_iter()
            .find(|(size, _)| nanoseconds % size == 0);
        match unit {
            Some((1_000, _)) | None if nanoseconds > 1_000_000_000 => {
                let seconds = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
                write!(f, "{} s", seconds.trim_end_matches('0'))
            }
            Some((size, unit)) => write!(f, "{} {unit}", nanoseconds / size),
            None => write!(f, "{nanoseconds} ns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use super::{Exact, Rounded};

    /// Fails when a duration has more digits than a person reads, or the wrong unit.
    #[test]
    fn durations_are_short() {
        for (nanoseconds, text) in [
            (0, "0 s"),
            (4_999_999_083, "5 s"),
            (999_999_999, "1 s"),
            (1_500_000_000, "1.5 s"),
            (9_949_000_000, "9.9 s"),
            (9_960_000_000, "10 s"),
            (30_000_000_000, "30 s"),
            (250_400_000, "250 ms"),
            (999_960, "1 ms"),
            (4_200, "4 us"),
            (1, "1 us"),
        ] {
            let rounded = Rounded(Duration::from_nanos(nanoseconds));
            assert_eq!(rounded.to_string(), text, "{nanoseconds}");
        }
        assert!(Rounded(Duration::MAX).to_string().ends_with(" days"));
        for (nanoseconds, text) in [
            (0, "0 s"),
            (65_536_000_000_000, "65536 s"),
            (999_000_000, "999 ms"),
            (1_000_000_001, "1.000000001 s"),
            (1_000_500_000, "1.0005 s"),
            (31_622_400_000_000_001, "31622400.000000001 s"),
            (1_500, "1500 ns"),
        ] {
            assert_eq!(Exact(Duration::from_nanos(nanoseconds)).to_string(), text);
        }
        assert_eq!(Exact(Duration::MAX).to_string(), "213503982334601 days");
    }

    #[derive(thiserror::Error)]
    enum Outer {
        #[error("the file can't be read")]
        Read(#[source] io::Error),
        #[error("the file can't be read: {0}")]
        Told(#[source] io::Error),
        #[error(transparent)]
        Inner(#[from] Box<Outer>),
    }

    debug_is_text!(Outer);

    /// Fails when a source is missing in the text, or is in it twice.
    #[test]
    fn sources_are_told_once() {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let text = "the file can't be read: no such file";
        assert_eq!(format!("{:?}", Outer::Read(gone())), text);
        assert_eq!(format!("{:#?}", Outer::Told(gone())), text);
        assert_eq!(
            format!("{:?}", Outer::Inner(Box::new(Outer::Read(gone())))),
            text
        );
    }
}
