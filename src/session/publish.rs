//! A message to be published, as the caller has it: topic and payload lent or given away.

use std::borrow::Cow;

use crate::{
    session::packet::{Outgoing, packet_size},
    spec::{payload::Payload, qos::QoS},
};

/// A message to be published with [`Client::send`](crate::Client::send): a topic, a payload, and how it
/// is to be delivered.
///
/// The topic may be a `&str`, a `String`, a `&String` or a `Cow<str>`; [`Payload`] says what a payload
/// may be. Both may be borrowed until the message is taken: one that is not taken comes back, owned, from
/// [`PublishError::into_publish`](crate::PublishError::into_publish). [`Publish::into_owned`] makes one
/// that can be kept. Nothing is checked before it is sent.
///
/// ```
/// use mqtt_fleet::{Client, PublishError, Publish, QoS};
///
/// fn report(client: &Client, reading: &[u8]) -> Result<(), PublishError> {
///     client.send(Publish::new("plant/reading", reading).qos(QoS::AtLeastOnce))?;
///     client.send(Publish::new("plant/state", "on").retain(true))?;
///     Ok(())
/// }
/// # let _ = report;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is published by `Client::send`"]
pub struct Publish<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) payload: Payload<'a>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl<'a> Publish<'a> {
    /// A message of quality of service 0 that is not retained.
    pub fn new(topic: impl Into<Cow<'a, str>>, payload: impl Into<Payload<'a>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    /// The quality of service that it is sent with. Defaults to 0.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Whether the broker keeps the message for later subscribers. Defaults to false.
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_bytes()
    }

    /// The same message, borrowing nothing: what was lent is copied.
    pub fn into_owned(self) -> Publish<'static> {
        Publish {
            topic: Cow::Owned(self.topic.into_owned()),
            payload: self.payload.into_owned(),
            qos: self.qos,
            retain: self.retain,
        }
    }

    /// How many bytes it has on the wire.
    pub(crate) fn size(&self) -> usize {
        packet_size(self.topic.len(), self.qos, self.payload.len())
    }

    pub(crate) fn into_outgoing(self) -> Outgoing {
        Outgoing {
            topic: self.topic.into_owned(),
            qos: self.qos,
            retain: self.retain,
            payload: self.payload.into_bytes(),
        }
    }
}

impl From<Outgoing> for Publish<'static> {
    fn from(message: Outgoing) -> Self {
        Self::new(message.topic, message.payload)
            .qos(message.qos)
            .retain(message.retain)
    }
}
