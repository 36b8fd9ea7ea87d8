//! A quality of service in a file: the number 0, 1 or 2.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::spec::qos::QoS;

impl Serialize for QoS {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8((*self).into())
    }
}

impl<'de> Deserialize<'de> for QoS {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u8(Number)
    }
}

struct Number;

impl de::Visitor<'_> for Number {
    type Value = QoS;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quality of service: 0, 1 or 2")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<QoS, E> {
        let wrong = || E::invalid_value(de::Unexpected::Unsigned(number), &self);
        let number = u8::try_from(number).map_err(|_| wrong())?;
        QoS::try_from(number).map_err(|_| wrong())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<QoS, E> {
        let wrong = || E::invalid_value(de::Unexpected::Signed(number), &self);
        let number = u8::try_from(number).map_err(|_| wrong())?;
        QoS::try_from(number).map_err(|_| wrong())
    }
}
