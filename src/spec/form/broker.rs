//! SerializedBrokers in a file: URLs, read where they stand, so that a mistake has a line.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::spec::{
    address::{Address, with_port},
    broker::Broker,
    credentials::Credentials,
    settings::Settings,
};

/// One URL, or a list of them in the order in which they are tried.
pub(super) struct BrokerList(pub(super) Vec<Broker>);

impl<'de> Deserialize<'de> for BrokerList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BrokerListVisitor)
    }
}

struct BrokerListVisitor;

impl<'de> de::Visitor<'de> for BrokerListVisitor {
    type Value = BrokerList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URL of a broker, such as \"mqtt://host:1883\", or a list of them")
    }

    fn visit_str<E: de::Error>(self, url: &str) -> Result<BrokerList, E> {
        Ok(BrokerList(vec![Url.visit_str(url)?]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut urls: A) -> Result<BrokerList, A::Error> {
        let mut brokers = Vec::new();
        while let Some(broker) = urls.next_element()? {
            brokers.push(broker);
        }
        match brokers.is_empty() {
            true => Err(de::Error::invalid_length(0, &self)),
            false => Ok(BrokerList(brokers)),
        }
    }
}

/// The brokers of a spec: a list only if there are several.
pub(super) struct SerializedBrokers<'a>(pub(super) &'a Settings);

impl Serialize for SerializedBrokers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Settings {
            brokers,
            broker_error,
            credentials,
            ..
        } = self.0;
        if let Some((_, error)) = broker_error {
            return Err(ser::Error::custom(format_args!("the broker: {error}")));
        }
        // Those of the spec replace those of all URLs, which then are of no use to a copy.
        let are_used = matches!(credentials, Credentials::Anonymous);
        let url = |broker| BrokerUrl { broker, are_used };
        match brokers.as_slice() {
            [broker] => url(broker).serialize(serializer),
            brokers => serializer.collect_seq(brokers.iter().map(url)),
        }
    }
}

/// As a URL. A broker is refused if its URL has credentials or a query: that would write a secret.
impl Serialize for Broker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (broker, are_used) = (self, true);
        BrokerUrl { broker, are_used }.serialize(serializer)
    }
}

/// A broker without the credentials that its URL came with, which must not be missed.
struct BrokerUrl<'a> {
    broker: &'a Broker,
    /// Whether those credentials are what the client logs in with.
    are_used: bool,
}

impl Serialize for BrokerUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.are_used && !matches!(self.broker.credentials, Credentials::Anonymous) {
            return Err(ser::Error::custom(
                "the broker's URL has credentials, which are not written out: give the spec a user \
                 name, and its password in password_env or password_file",
            ));
        }
        let url = url(self.broker.address()).map_err(ser::Error::custom)?;
        serializer.serialize_str(&url)
    }
}

/// A URL that reads as this address.
fn url(address: &Address) -> Result<String, &'static str> {
    let url = match address {
        Address::Network { target, .. } if target.contains('?') => {
            return Err(
                "the broker's URL has a query, which is not written out: it may hold a secret",
            );
        }
        Address::Network {
            scheme,
            host,
            port,
            target,
        } => format!("{}://{}{target}", scheme.name(), with_port(host, *port)),
        Address::Unix(path) => format!("unix://{}", encoded(&path.to_string_lossy())),
    };
    // A host that was not given as a URL may be a text that no URL can have.
    match Broker::try_from(&url) {
        Ok(read) if read.address() == address => Ok(url),
        _ => Err("the broker's address can't be written as a URL"),
    }
}

/// A path with percent signs for what a URL does not take as it is.
fn encoded(path: &str) -> String {
    let mut url = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => url.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => url.push(byte.into()),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
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
        url.parse().map_err(E::custom)
    }
}
