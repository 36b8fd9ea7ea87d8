//! The two messages that speak for a client: its will and its birth.

use std::fmt;

use bytes::Bytes;

use crate::spec::{payload::Payload, qos::QoS};

/// The message that the broker publishes when the client is lost (section 3.1.2.5).
///
/// A client that is stopped sends DISCONNECT, and the broker discards the will [MQTT-3.14.4-3].
/// `{i}` and `{name}` in the topic, and in a payload that is UTF-8, are filled in. The quality of service defaults to 0, retain to
/// false. The payload holds at most 65,535 bytes: its length field has two.
///
/// ```
/// use mqtt_fleet::{QoS, Will};
///
/// let will = Will::new("gw/state", "offline").qos(QoS::AtLeastOnce).retain(true);
/// ```
#[derive(Clone)]
pub struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl Will {
    /// A will of quality of service 0 that is not retained.
    pub fn new<'a>(topic: impl Into<String>, payload: impl Into<Payload<'a>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into().into_bytes(),
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    /// The quality of service of the will message. Defaults to 0.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Whether the broker keeps the message for later subscribers. Defaults to false.
    #[must_use]
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }
}

impl fmt::Debug for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish()
    }
}
