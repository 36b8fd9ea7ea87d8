//! A duration in a file: "200ms", "30s", "1h 30m", or a number of seconds.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration that is read from and written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"200ms\", \"30s\" or \"1h 30m\", or a number of seconds")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
        parse(text).map(Span).ok_or_else(wrong)
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
        Ok(Span(Duration::from_secs(seconds)))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
        let wrong = |_| E::invalid_value(de::Unexpected::Signed(seconds), &self);
        u64::try_from(seconds)
            .map(Duration::from_secs)
            .map(Span)
            .map_err(wrong)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
        let wrong = |_| E::invalid_value(de::Unexpected::Float(seconds), &self);
        Duration::try_from_secs_f64(seconds)
            .map(Span)
            .map_err(wrong)
    }
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let unit = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(u128::from(number.parse::<u64>().ok()?) * unit)?;
        rest = after.trim_start();
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    // A remainder of 10^9 fits.
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if seconds > 0 || nanos == 0 {
            write!(f, "{seconds}s")?;
        }
        if nanos == 0 {
            return Ok(());
        }
        if seconds > 0 {
            f.write_str(" ")?;
        }
        if nanos % 1_000_000 == 0 {
            write!(f, "{}ms", nanos / 1_000_000)
        } else if nanos % 1_000 == 0 {
            write!(f, "{}us", nanos / 1_000)
        } else {
            write!(f, "{nanos}ns")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = |text| parse(text).map(|duration| duration.as_micros());
        assert_eq!(read("200ms"), Some(200_000));
        assert_eq!(read("30s"), Some(30_000_000));
        assert_eq!(read(" 1h 30min 5s"), Some(5_405_000_000));
        assert_eq!(read("1m1s"), Some(61_000_000));
        assert_eq!(read("1d2us3000ns"), Some(86_400_000_005));
        for wrong in [
            "",
            " ",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5x",
            "5s,",
            "99999999999999999999s",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse("18446744073709551615d"), None);
    }

    proptest::proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        #[test]
        fn what_is_written_is_read(seconds: u64, nanos in 0_u32..1_000_000_000) {
            for nanos in [nanos, nanos / 1_000 * 1_000, nanos / 1_000_000 * 1_000_000, 0] {
                let duration = Duration::new(seconds, nanos);
                assert_eq!(parse(&Span(duration).to_string()), Some(duration));
            }
        }
    }
}
