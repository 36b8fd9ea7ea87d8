//! Small messages without an allocation of their own: their bytes stand one behind the other in a
//! buffer of whoever holds them.
//!
//! What thousands of waiting messages have on the heap is in no cache when their turn comes, and one
//! thread gives back what another one took. Bytes in a row are read in a row, and nobody gives them back.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    outbox::entry::Pending,
    session::{
        packet::{Outgoing, packet_size},
        publish::Publish,
    },
    spec::qos::QoS,
};

/// Topic and payload of up to this many bytes are copied: that takes less time than the allocator. (What
/// is received has a limit of its own, for a reason of its own.)
pub(crate) const MOST_PACKED: usize = 512;

/// Where a waiting message is.
#[derive(Debug)]
pub(crate) enum EntryContent {
    /// In a buffer, behind those that came before it.
    Packed(Packed),
    /// On the heap.
    Whole(Box<Outgoing>),
}

/// What is to be known of a message in a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed {
    topic: u16,
    payload: u16,
    qos: QoS,
    retain: bool,
}

impl Packed {
    /// How many bytes it has in the buffer.
    pub(crate) fn len(self) -> usize {
        usize::from(self.topic) + usize::from(self.payload)
    }

    /// Takes the message out of the front of the buffer.
    pub(crate) fn unpack(self, buffer: &mut BytesMut) -> Outgoing {
        // What was packed is a topic, and so UTF-8: nothing gets lost.
        let topic = String::from_utf8_lossy(&buffer[..self.topic.into()]).into_owned();
        buffer.advance(self.topic.into());
        let mut payload = buffer.split_to(self.payload.into()).freeze();
        if self.qos != QoS::AtMostOnce {
            // It is kept until it is acknowledged, and would keep the whole buffer.
            payload = Bytes::copy_from_slice(&payload);
        }
        Outgoing {
            topic,
            qos: self.qos,
            retain: self.retain,
            payload,
        }
    }
}

/// An accepted message that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) content: EntryContent,
    pub(crate) pending: Pending,
}

impl EntryContent {
    /// Makes a large message own its bytes, before the lock is taken: only small ones are copied under
    /// it, straight from where their publisher has them.
    pub(crate) fn prepare(message: Publish<'_>) -> Publish<'_> {
        match packed_lengths(&message) {
            Some(_) => message,
            None => message.into_owned(),
        }
    }

    /// Appends a small message to the buffer; a large one stays as it is. What was copied comes
    /// back, to be dropped where no lock is held.
    pub(crate) fn pack<'a>(
        message: Publish<'a>,
        buffer: &mut VecDeque<u8>,
    ) -> (Self, Option<Publish<'a>>) {
        match packed_lengths(&message) {
            Some((topic, payload)) => {
                buffer.extend(message.topic().as_bytes());
                buffer.extend(message.payload());
                let packed = Packed {
                    topic,
                    payload,
                    qos: message.qos,
                    retain: message.retain,
                };
                (Self::Packed(packed), Some(message))
            }
            None => (Self::Whole(Box::new(message.into_outgoing())), None),
        }
    }

    /// What there is of it on the heap.
    pub(crate) fn whole(self) -> Option<Box<Outgoing>> {
        match self {
            Self::Packed(_) => None,
            Self::Whole(message) => Some(message),
        }
    }

    pub(crate) fn qos(&self) -> QoS {
        match self {
            Self::Packed(packed) => packed.qos,
            Self::Whole(message) => message.qos,
        }
    }

    /// How many bytes the message has on the wire.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Packed(packed) => {
                packet_size(packed.topic.into(), packed.qos, packed.payload.into())
            }
            Self::Whole(message) => message.size(),
        }
    }
}

/// The lengths of topic and payload, if the message is small enough to be packed.
fn packed_lengths(message: &Publish<'_>) -> Option<(u16, u16)> {
    let (topic, payload) = (message.topic().len(), message.payload().len());
    if topic + payload > MOST_PACKED {
        return None;
    }
    Some((topic.try_into().ok()?, payload.try_into().ok()?))
}
