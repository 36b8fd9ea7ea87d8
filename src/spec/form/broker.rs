//! A broker in a file: its URL, read where it stands, so that a mistake has a line.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::spec::{broker::Broker, credentials::Credentials};

/// The URL without the credentials that it came with: a spec has them as its own.
pub(super) struct BareUrl<'a>(pub(super) &'a Broker);

impl Serialize for BareUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.address() {
            Ok(address) => serializer.collect_str(&format_args!("mqtt://{address}")),
            Err(error) => Err(ser::Error::custom(format_args!("the broker: {error}"))),
        }
    }
}

/// As a URL. A broker whose URL has credentials is refused: they would be written out.
impl Serialize for Broker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.credentials {
            Credentials::Anonymous => BareUrl(self).serialize(serializer),
            _ => Err(ser::Error::custom(
                "the broker's URL has credentials, which are not written out",
            )),
        }
    }
}

/// From a URL; one that can't be used is refused.
impl<'de> Deserialize<'de> for Broker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Url)
    }
}

struct Url;

impl de::Visitor<'_> for Url {
    type Value = Broker;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URL of a broker, such as \"mqtt://host:1883\"")
    }

    fn visit_str<E: de::Error>(self, url: &str) -> Result<Broker, E> {
        let broker = Broker::from(url);
        match broker.error() {
            None => Ok(broker),
            Some(error) => Err(E::custom(error)),
        }
    }
}
