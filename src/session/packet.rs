//! What MQTT packets say, and how many bytes they have on the wire.

use bytes::Bytes;

use crate::spec::qos::QoS;

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

/// A PUBLISH packet. The identifier is 0 at QoS 0.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) packet_id: u16,
    pub(crate) content: Publication,
}

/// What a PUBLISH packet says.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) duplicate: bool,
}

/// Topic and payload of up to this many bytes are copied out of the buffer that they were read into.
const MOST_COPIED: usize = 512;

impl Publication {
    /// Bytes of topic and payload.
    pub(crate) fn len(&self) -> usize {
        self.topic.len() + self.payload.len()
    }

    /// Whether it costs less to copy it than to keep the buffer that it was read into.
    pub(crate) fn is_small(&self) -> bool {
        self.len() <= MOST_COPIED
    }

    /// A small payload leaves the buffer that it was read into: kept, it would keep 8 KiB.
    pub(crate) fn detached(mut self) -> Self {
        if self.is_small() {
            self.payload = Bytes::copy_from_slice(&self.payload);
        }
        self
    }
}

/// Bytes of a PUBLISH packet (section 3.3).
pub(crate) fn packet_size(topic: usize, qos: QoS, payload: usize) -> usize {
    let packet_id = match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
    };
    let remaining = 2 + topic + packet_id + payload;
    let length_field = match remaining {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    1 + length_field + remaining
}

/// Puts the entries of SUBSCRIBEs or UNSUBSCRIBEs into packets of at most `most` entries and `max_packet` bytes, at least one into each.
pub(super) fn split<T>(
    entries: Vec<T>,
    most: Option<usize>,
    max_packet: usize,
    bytes: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    // Fixed header with its longest length field, and the packet identifier.
    const OVERHEAD: usize = 5 + 2;
    let mut packets: Vec<Vec<T>> = Vec::new();
    let mut size = OVERHEAD;
    for entry in entries {
        size += bytes(&entry);
        match packets.last_mut() {
            Some(packet) if size <= max_packet && most.is_none_or(|most| packet.len() < most) => {
                packet.push(entry);
            }
            _ => {
                size = OVERHEAD + bytes(&entry);
                packets.push(vec![entry]);
            }
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_field_grows() {
        assert_eq!(packet_size(1, QoS::AtMostOnce, 0), 5);
        assert_eq!(packet_size(1, QoS::AtLeastOnce, 122), 129);
        assert_eq!(packet_size(1, QoS::AtLeastOnce, 123), 131);
        assert_eq!(packet_size(1, QoS::AtMostOnce, 16_381), 16_388);
    }
}
