//! Topic names, topic filters and subscriptions in a file, checked where they stand.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::spec::{
    qos::QoS,
    topic::{check_filter, check_topic},
};

/// A topic name, perhaps with placeholders.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Topic(pub(super) String);

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        check_topic(&name).map_err(de::Error::custom)?;
        Ok(Self(name))
    }
}

#[derive(Serialize)]
pub(super) struct Subscription {
    pub(super) filter: String,
    pub(super) qos: QoS,
}

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SubscriptionVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionTable {
    filter: Filter,
    #[serde(default)]
    qos: QoS,
}

struct SubscriptionVisitor;

impl<'de> de::Visitor<'de> for SubscriptionVisitor {
    type Value = Subscription;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topic filter, or a table with filter and qos")
    }

    fn visit_str<E: de::Error>(self, filter: &str) -> Result<Subscription, E> {
        check_filter(filter).map_err(E::custom)?;
        Ok(Subscription {
            filter: filter.to_owned(),
            qos: QoS::default(),
        })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Subscription, A::Error> {
        let table = SubscriptionTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Subscription {
            filter: table.filter.0,
            qos: table.qos,
        })
    }
}

/// A topic filter, perhaps with placeholders.
struct Filter(String);

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let filter = String::deserialize(deserializer)?;
        check_filter(&filter).map_err(de::Error::custom)?;
        Ok(Self(filter))
    }
}
