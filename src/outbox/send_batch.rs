//! What the network thread takes from the outbox in one go, to give it to the encoder packet by packet.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::{
    outbox::{
        entry::Pending,
        packing::{Entry, EntryContent, Packed},
    },
    session::packet::{Outgoing, Packet},
};

/// Used again and again by its network thread, so that its memory is.
#[derive(Debug, Default)]
pub(crate) struct SendBatch {
    entries: VecDeque<Parcel>,
    /// What the packed messages among them consist of, in the same order.
    packed: BytesMut,
    /// Of the message that is being sent: here it can be found should the engine panic.
    sending: Option<Pending>,
}

#[derive(Debug)]
enum Parcel {
    Packet(Packet),
    /// A message of the queue, and its identifier: 0 at QoS 0.
    Entry(u16, Entry),
}

/// The next thing to send.
#[derive(Debug)]
pub(crate) enum Outbound {
    Packet(Packet),
    /// A message that was accepted, for the first time under this identifier.
    Publish {
        packet_id: u16,
        message: Outgoing,
    },
}

impl SendBatch {
    /// A message of the queue. The bytes of a packed one are moved to the end of the buffer that the
    /// function is given.
    pub(crate) fn push(
        &mut self,
        packet_id: u16,
        entry: Entry,
        move_bytes: impl FnOnce(Packed, &mut BytesMut),
    ) {
        if let EntryContent::Packed(packed) = entry.content {
            move_bytes(packed, &mut self.packed);
        }
        self.entries.push_back(Parcel::Entry(packet_id, entry));
    }

    pub(crate) fn push_packet(&mut self, packet: Packet) {
        self.entries.push_back(Parcel::Packet(packet));
    }

    /// Takes the first one, to be sent. `sent` has to follow for a message, with or without success.
    pub(crate) fn pop(&mut self) -> Option<Outbound> {
        Some(match self.entries.pop_front()? {
            Parcel::Packet(packet) => Outbound::Packet(packet),
            Parcel::Entry(packet_id, Entry { content, pending }) => {
                let message = match content {
                    EntryContent::Whole(message) => *message,
                    EntryContent::Packed(packed) => packed.unpack(&mut self.packed),
                };
                self.sending = Some(pending);
                Outbound::Publish { packet_id, message }
            }
        })
    }

    /// The pending end of the message that was sent.
    pub(crate) fn sent(&mut self) -> Option<Pending> {
        self.sending.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{outbox::completion::Completions, spec::qos::QoS};

    /// What waits for its acknowledgement waits for long: it must not keep the whole batch.
    #[test]
    fn only_qos_0_shares_the_memory_of_the_batch() {
        let mut batch = SendBatch::default();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bytes = VecDeque::new();
            let message = Outgoing {
                topic: "t".to_owned(),
                qos,
                retain: false,
                payload: vec![7; 20].into(),
            };
            let (content, _) = EntryContent::pack(message.into(), &mut bytes);
            let pending = Pending {
                completion: Completions::default().open(),
                accepted_at: None,
                was_sent: false,
            };
            batch.push(7, Entry { content, pending }, |_, to| to.extend(bytes));
        }
        for is_shared in [true, false, false] {
            let Some(Outbound::Publish { message, .. }) = batch.pop() else {
                panic!("a publish");
            };
            assert_eq!(&message.payload[..], [7; 20]);
            assert_eq!(message.payload.is_unique(), !is_shared);
            assert!(batch.sent().is_some() && batch.sent().is_none());
        }
        assert!(batch.is_empty() && batch.packed.is_empty());
    }
}
