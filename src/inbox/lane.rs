//! What goes through the queue to the workers: all that one client received for one lane in one
//! wake-up of its thread, so that a flood costs one hand-over and not one for each message.

use std::{mem, sync::Arc, time::Instant};

use crate::{
    inbox::{
        message::{Message, Source},
        packed::{Extent, PackedBatch, PackedParts},
    },
    session::{ack_order::Ticket, packet::Publication},
};

/// Messages of one client, in the order of receipt.
#[derive(Debug)]
pub(crate) enum LaneBatch {
    /// The usual one where little happens; it needs no memory of its own.
    One(Message),
    Many(PackedBatch),
}

/// What a wake-up has brought for one lane.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    so_far: SoFar,
    /// What the last wake-up has brought for it.
    usual: Extent,
}

#[derive(Debug, Default)]
enum SoFar {
    #[default]
    Nothing,
    One(Publication, Option<Ticket>),
    Many(PackedParts),
}

impl Collected {
    pub(crate) fn push(&mut self, content: Publication, ticket: Option<Ticket>) {
        if let SoFar::Many(parts) = &mut self.so_far {
            parts.push(content, ticket);
            return;
        }
        self.so_far = match mem::take(&mut self.so_far) {
            SoFar::One(first, its_ticket) => {
                let mut parts = PackedParts::for_about(self.usual);
                parts.push(first, its_ticket);
                parts.push(content, ticket);
                SoFar::Many(parts)
            }
            _ => SoFar::One(content, ticket),
        };
    }

    pub(crate) fn take(&mut self, source: &Arc<Source>, received_at: Instant) -> Option<LaneBatch> {
        let source = Arc::clone(source);
        match mem::take(&mut self.so_far) {
            SoFar::Nothing => None,
            SoFar::One(content, ticket) => {
                self.usual = Extent::default();
                let message = Message::new(content.detached(), source, ticket, received_at);
                Some(LaneBatch::One(message))
            }
            SoFar::Many(parts) => {
                self.usual = parts.extent();
                Some(LaneBatch::Many(PackedBatch::new(
                    source,
                    received_at,
                    parts,
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        inbox::share::Load,
        session::ack_order::{Acknowledgement, Reception},
        spec::qos::QoS,
    };

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        /// What comes out is what went in, in order, whatever the sizes, wake-up after wake-up; and
        /// dropping it acknowledges it, and nothing else.
        #[test]
        fn messages_are_what_they_were(
            wake_ups in prop::collection::vec(
                (
                    prop::collection::vec(("[aä/€]{1,30}", 0_usize..700, any::<bool>(), 0_u8..3), 0..20),
                    prop::sample::select(vec![1, 1, 1, 50]),
                ),
                1..5,
            ),
        ) {
            let released = Arc::new(Mutex::new(Vec::new()));
            let sink = Arc::clone(&released);
            let release = move |acks: &[Acknowledgement]| sink.lock().extend_from_slice(acks);
            let source = Source::of_test("plant", Box::new(release));
            let (source, now) = (Arc::new(source), Instant::now());
            let mut collected = Collected::default();
            let mut packet_id = 0;
            for (wake_up, times) in wake_ups {
                let count = wake_up.len() * times;
                let content = |(topic, size, flag, qos): &(String, usize, bool, u8)| Publication {
                    topic: topic.clone(),
                    payload: topic.bytes().cycle().take(*size).collect::<Bytes>(),
                    qos: QoS::try_from(*qos).unwrap(),
                    retain: *flag,
                    duplicate: !*flag,
                };
                let mut wanted = Vec::new();
                for content in wake_up.iter().cycle().take(count).map(content) {
                    packet_id += 1;
                    let acknowledgement = Acknowledgement { packet_id, qos: content.qos };
                    let ticket = match content.qos {
                        QoS::AtMostOnce => None,
                        _ => match source.acks.received(acknowledgement, true) {
                            Reception::New(ticket) => Some(ticket),
                            refused => panic!("{refused:?}"),
                        },
                    };
                    wanted.push((content.topic.clone(), content.payload.clone(), acknowledgement));
                    collected.push(content, ticket);
                }
                let messages: Vec<_> = match collected.take(&source, now) {
                    None => Vec::new(),
                    Some(LaneBatch::One(message)) => vec![message],
                    Some(LaneBatch::Many(packed)) => packed.into_messages().collect(),
                };
                prop_assert_eq!(messages.len(), count);
                let flags = wake_up.iter().cycle().map(|it| it.2);
                for ((message, (topic, payload, ack)), flag) in
                    messages.into_iter().zip(wanted).zip(flags)
                {
                    source.waiting.reserve(Load::of(topic.len() + payload.len()), 1);
                    let message = message.take().unwrap();
                    prop_assert_eq!(message.topic(), topic);
                    prop_assert_eq!(message.payload(), &payload);
                    prop_assert_eq!((message.retain(), message.duplicate()), (flag, !flag));
                    prop_assert_eq!((message.client(), message.received_at()), ("plant", now));
                    prop_assert_eq!(message.qos(), ack.qos);
                    drop(message);
                    let is_acknowledged = (ack.qos != QoS::AtMostOnce).then_some(ack);
                    prop_assert_eq!(released.lock().drain(..).collect::<Vec<_>>(), Vec::from_iter(is_acknowledged));
                }
            }
        }
    }
}
