//! What the network thread takes from the outbox in one go, to feed it to the encoder item by item.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::publish::{
    message::{Control, Item, Outgoing, Stub},
    packing::{Content, Entry, Packed},
};

/// Used again and again by its network thread, so that its memory is.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    parcels: VecDeque<Parcel>,
    /// What the packed messages among them consist of, in the same order.
    packed: BytesMut,
    /// Of the publish that is being fed: here it can be found should rumqttc panic.
    feeding: Option<Stub>,
}

#[derive(Debug)]
enum Parcel {
    Control(Control),
    Publish(Entry),
}

impl Batch {
    /// Behind the others. What a packed message consists of is moved to the end of the buffer that the
    /// function is given.
    pub(crate) fn push(&mut self, entry: Entry, move_bytes: impl FnOnce(Packed, &mut BytesMut)) {
        if let Content::Packed(packed) = entry.content {
            move_bytes(packed, &mut self.packed);
        }
        self.parcels.push_back(Parcel::Publish(entry));
    }

    pub(crate) fn push_control(&mut self, control: Control) {
        self.parcels.push_back(Parcel::Control(control));
    }

    /// Takes the last item, and what is left of it if it is a publish.
    pub(crate) fn pop_last(&mut self) -> Option<(Item, Option<Stub>)> {
        Some(match self.parcels.pop_back()? {
            Parcel::Control(control) => (Item::Control(control), None),
            Parcel::Publish(Entry { content, stub }) => {
                let message = match content {
                    Content::Whole(message) => *message,
                    Content::Packed(packed) => {
                        let begin = self.packed.len() - packed.len();
                        packed.unpack(&mut self.packed.split_off(begin))
                    }
                };
                let stub = stub.with_copy_of(&message);
                (Item::Publish(message), Some(stub))
            }
        })
    }

    /// The first item, to be fed. `fed` has to follow, with or without success.
    pub(crate) fn feed(&mut self) -> Option<Item> {
        Some(match self.parcels.pop_front()? {
            Parcel::Control(control) => Item::Control(control),
            Parcel::Publish(entry) => {
                let (message, stub) = self.unpack(entry);
                self.feeding = Some(stub.with_copy_of(&message));
                Item::Publish(message)
            }
        })
    }

    /// What is left of the publish that was fed.
    pub(crate) fn fed(&mut self) -> Option<Stub> {
        self.feeding.take()
    }

    /// The publishes that were not fed, in their order.
    pub(crate) fn take_unfed(&mut self) -> Vec<(Outgoing, Stub)> {
        let mut unfed = Vec::new();
        while let Some(parcel) = self.parcels.pop_front() {
            if let Parcel::Publish(entry) = parcel {
                unfed.push(self.unpack(entry));
            }
        }
        unfed
    }

    fn unpack(&mut self, entry: Entry) -> (Outgoing, Stub) {
        let message = match entry.content {
            Content::Whole(message) => *message,
            Content::Packed(packed) => packed.unpack(&mut self.packed),
        };
        (message, entry.stub)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.packed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{publish::receipt::Slots, spec::qos::QoS};

    /// What waits for its acknowledgement waits for long: it must not keep the whole batch.
    #[test]
    fn only_qos_0_shares_the_memory_of_the_batch() {
        let mut batch = Batch::default();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bytes = VecDeque::new();
            let message = Outgoing {
                topic: "t".to_owned(),
                qos,
                retain: false,
                payload: vec![7; 20].into(),
            };
            let (content, _) = Content::pack(message, &mut bytes);
            let stub = Stub {
                slot: Slots::default().open(),
                accepted_at: None,
                was_sent: false,
                copy: None,
            };
            batch.push(Entry { content, stub }, |_, to| to.extend(bytes));
        }
        for is_shared in [true, false] {
            let Some(Item::Publish(message)) = batch.feed() else {
                panic!("a publish");
            };
            assert_eq!(&message.payload[..], [7; 20]);
            assert_eq!(message.payload.is_unique(), !is_shared);
        }
        assert!(batch.fed().is_some_and(|stub| stub.copy.is_none()));
        assert!(matches!(batch.pop_last(), Some((_, Some(stub))) if stub.copy.is_some()));
        assert!(batch.is_empty());
    }
}
