//! Retry in a file: 3, "forever", or a table with attempts, pause, stable_after, refusals_too.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::spec::{form::duration::Span, retry::Retry};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryTable {
    #[serde(default)]
    attempts: AttemptLimit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<Pause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stable_after: Option<Span>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refusals_too: bool,
}

/// `None` is for ever.
/// The shortest and the longest pause.
#[derive(Serialize)]
struct Pause(Span, Span);

impl<'de> Deserialize<'de> for Pause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PauseVisitor)
    }
}

struct PauseVisitor;

impl<'de> de::Visitor<'de> for PauseVisitor {
    type Value = Pause;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two durations, the shortest and the longest, such as [\"1s\", \"30s\"]")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut spans: A) -> Result<Pause, A::Error> {
        let missing = |n| de::Error::invalid_length(n, &self);
        let shortest = spans.next_element()?.ok_or_else(|| missing(0))?;
        let longest = spans.next_element()?.ok_or_else(|| missing(1))?;
        match spans.next_element::<de::IgnoredAny>()? {
            None => Ok(Pause(shortest, longest)),
            Some(_) => Err(missing(3)),
        }
    }
}

struct AttemptLimit(Option<u32>);

impl Default for AttemptLimit {
    fn default() -> Self {
        Self(Retry::default().attempts)
    }
}

impl From<AttemptLimit> for Retry {
    fn from(attempts: AttemptLimit) -> Self {
        attempts.0.map_or_else(Self::forever, Self::attempts)
    }
}

impl Serialize for AttemptLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(attempts) => serializer.serialize_u32(attempts),
            None => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for AttemptLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttemptsVisitor)
    }
}

struct AttemptsVisitor;

impl de::Visitor<'_> for AttemptsVisitor {
    type Value = AttemptLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of attempts from 1 on, or \"forever\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<AttemptLimit, E> {
        match text {
            "forever" => Ok(AttemptLimit(None)),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<AttemptLimit, E> {
        match u32::try_from(number) {
            Ok(attempts @ 1..) => Ok(AttemptLimit(Some(attempts))),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<AttemptLimit, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }
}

impl Serialize for Retry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attempts = AttemptLimit(self.attempts);
        let usual = Self::from(AttemptLimit(self.attempts));
        if *self == usual {
            return attempts.serialize(serializer);
        }
        let pause = (self.shortest, self.longest);
        let table = RetryTable {
            attempts,
            pause: (pause != (usual.shortest, usual.longest))
                .then_some(Pause(Span(pause.0), Span(pause.1))),
            stable_after: (self.stable_after != usual.stable_after)
                .then_some(Span(self.stable_after)),
            refusals_too: self.refusals,
        };
        table.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RetryVisitor)
    }
}

struct RetryVisitor;

impl<'de> de::Visitor<'de> for RetryVisitor {
    type Value = Retry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of attempts, \"forever\", or a table with attempts and pause")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Retry, E> {
        AttemptsVisitor.visit_str(text).map(Retry::from)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Retry, E> {
        AttemptsVisitor.visit_u64(number).map(Retry::from)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Retry, E> {
        AttemptsVisitor.visit_i64(number).map(Retry::from)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Retry, A::Error> {
        let table = RetryTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let mut retry = Retry::from(table.attempts);
        if let Some(Pause(shortest, longest)) = table.pause {
            retry = retry.pause(shortest.0..=longest.0);
        }
        if let Some(stable_after) = table.stable_after {
            retry = retry.stable_after(stable_after.0);
        }
        retry.refusals = table.refusals_too;
        Ok(retry)
    }
}
