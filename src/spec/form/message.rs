//! Will and birth in a file: topic, payload, qos, retain.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::spec::{form::topic::Topic, qos::QoS, settings::Birth, will::Will};

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with topic, payload, qos and retain"
)]
pub(super) struct MessageForm {
    topic: Topic,
    payload: Payload,
    #[serde(default)]
    qos: QoS,
    #[serde(default)]
    retain: bool,
}

impl MessageForm {
    pub(super) fn into_birth(self) -> Birth {
        Birth {
            topic: self.topic.0,
            qos: self.qos,
            retain: self.retain,
            payload: self.payload.0,
        }
    }

    pub(super) fn from_birth(birth: &Birth) -> Self {
        Self {
            topic: Topic(birth.topic.clone()),
            payload: Payload(birth.payload.clone()),
            qos: birth.qos,
            retain: birth.retain,
        }
    }
}

impl<'de> Deserialize<'de> for Will {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = MessageForm::deserialize(deserializer)?;
        Ok(Self {
            topic: form.topic.0,
            payload: form.payload.0,
            qos: form.qos,
            retain: form.retain,
        })
    }
}

impl Serialize for Will {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = MessageForm {
            topic: Topic(self.topic.clone()),
            payload: Payload(self.payload.clone()),
            qos: self.qos,
            retain: self.retain,
        };
        form.serialize(serializer)
    }
}

/// A text, or a list of bytes for what is no text.
struct Payload(Bytes);

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> de::Visitor<'de> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a list of bytes from 0 to 255")
    }

    fn visit_str<E>(self, text: &str) -> Result<Payload, E> {
        Ok(Payload(Bytes::copy_from_slice(text.as_bytes())))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Payload, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(Payload(bytes.into()))
    }
}
