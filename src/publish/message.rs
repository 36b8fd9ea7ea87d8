//! What goes out: messages, and the packets that they and everything else become.

use bytes::Bytes;

use crate::{publish::size::packet_size, spec::qos::QoS};

/// A message on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// How many bytes it has on the wire.
    pub(crate) fn size(&self) -> usize {
        packet_size(self.topic.len(), self.qos, self.payload.len())
    }
}

/// A request for a packet that is no PUBLISH. These go before publishes and are not bounded: there is
/// at most one for each received message, or one for each call of `subscribe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// PUBACK for QoS 1, PUBREC for QoS 2.
    Acknowledge {
        packet_id: u16,
        qos: QoS,
    },
    Subscribe(Vec<(String, QoS)>),
    Unsubscribe(Vec<String>),
    Disconnect,
}

impl Control {
    /// Whether its packet takes an identifier of ours.
    pub(crate) fn takes_id(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Unsubscribe(_))
    }

    /// The packet, with the identifier that was taken for it, else 0.
    pub(crate) fn into_packet(self, id: u16) -> Packet {
        match self {
            Self::Acknowledge { packet_id, qos } => Packet::Acknowledge { packet_id, qos },
            Self::Subscribe(filters) => Packet::Subscribe {
                packet_id: id,
                filters,
            },
            Self::Unsubscribe(filters) => Packet::Unsubscribe {
                packet_id: id,
                filters,
            },
            Self::Disconnect => Packet::Disconnect,
        }
    }
}

/// A packet to be sent.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Publish {
        /// 0 at QoS 0.
        packet_id: u16,
        /// It was sent before under this identifier [MQTT-3.3.1-1].
        duplicate: bool,
        message: Outgoing,
    },
    /// PUBREL.
    Release {
        packet_id: u16,
    },
    /// PUBACK for QoS 1, PUBREC for QoS 2.
    Acknowledge {
        packet_id: u16,
        qos: QoS,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<(String, QoS)>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect,
}

impl Packet {
    /// How many bytes it has on the wire, at most.
    pub(crate) fn size(&self) -> usize {
        // Fixed header with its longest length field, and an identifier.
        const LONGEST_HEAD: usize = 5 + 2;
        match self {
            Self::Publish { message, .. } => message.size(),
            Self::Subscribe { filters, .. } => {
                let filters = filters.iter().map(|(filter, _)| filter.len() + 3);
                LONGEST_HEAD + filters.sum::<usize>()
            }
            Self::Unsubscribe { filters, .. } => {
                let filters = filters.iter().map(|filter| filter.len() + 2);
                LONGEST_HEAD + filters.sum::<usize>()
            }
            Self::Acknowledge { .. } | Self::Release { .. } | Self::Ping | Self::Disconnect => 4,
        }
    }
}
