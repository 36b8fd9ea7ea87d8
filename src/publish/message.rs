//! What travels from the outbox to the connection.

use std::time::Instant;

use bytes::Bytes;

use crate::{
    publish::{receipt::Slot, size::packet_size},
    spec::qos::QoS,
};

/// A message on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
}

/// A packet that is no PUBLISH. These go before publishes and are not bounded: there is at most
/// one for each received message, or one for each call of `subscribe`.
#[derive(Debug)]
pub(crate) enum Control {
    /// PUBACK for QoS 1, PUBREC for QoS 2.
    Acknowledge {
        packet_id: u16,
        qos: QoS,
    },
    Subscribe(Vec<(String, QoS)>),
    Unsubscribe(String),
    Disconnect,
}

impl Outgoing {
    /// How many bytes it has on the wire.
    pub(crate) fn size(&self) -> usize {
        packet_size(self.topic.len(), self.qos, self.payload.len())
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    Publish(Outgoing),
    Control(Control),
}

impl Item {
    /// How many bytes it has on the wire, at most.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Publish(message) => message.size(),
            Self::Control(control) => control.size(),
        }
    }
}

impl Control {
    /// How many bytes it has on the wire, at most.
    pub(crate) fn size(&self) -> usize {
        // Fixed header with its longest length field, and an identifier.
        const LONGEST_HEAD: usize = 5 + 2;
        match self {
            Self::Subscribe(filters) => {
                let filters = filters.iter().map(|(filter, _)| filter.len() + 3);
                LONGEST_HEAD + filters.sum::<usize>()
            }
            Self::Unsubscribe(filter) => LONGEST_HEAD + filter.len() + 2,
            Self::Acknowledge { .. } | Self::Disconnect => 4,
        }
    }
}

/// What there is about an accepted message beside its content, and what is left of it when that has
/// gone to rumqttc.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) slot: Slot,
    /// Known only where there is an age limit, and not of one that was sent: it does not expire.
    pub(crate) accepted_at: Option<Instant>,
    /// It was sent on an earlier connection: the broker may have it.
    pub(crate) was_sent: bool,
    /// A copy of a QoS 2 message: rumqttc forgets it at PUBREC, and a lost session needs it.
    /// On the heap, so that the many stubs without one stay small.
    pub(crate) copy: Option<Box<Outgoing>>,
}

impl Stub {
    /// The content of this message is about to go to rumqttc.
    pub(crate) fn with_copy_of(mut self, message: &Outgoing) -> Self {
        if message.qos == QoS::ExactlyOnce {
            self.copy = Some(Box::new(message.clone()));
        }
        self
    }
}

/// What the network thread has seen, for the outbox to take note of.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A publish was fed to the encoder. 0 is the identifier of QoS 0.
    Fed { packet_id: u16, stub: Stub },
    /// A PUBLISH went out that was not fed: the bell, or one that a connection begins with.
    Written { packet_id: u16 },
    /// A packet with an identifier that is no PUBLISH went out.
    Used { packet_id: u16 },
    /// The bell went out, and it was no PUBLISH.
    Heard,
    /// PUBACK or PUBCOMP.
    Acknowledged { packet_id: u16 },
    /// PUBREC.
    Released { packet_id: u16 },
    /// PINGRESP.
    PingAnswered,
}
