//! Several messages of one wake-up, packed: topics and payloads stand one behind the other.
//!
//! What the network thread took from the allocator for a message it gives back itself, and takes the
//! same memory again; and the two threads don't count references on the same few words. The worker
//! makes the messages.

use std::{ops::Range, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    inbox::message::{Message, Source},
    session::{ack_order::Ticket, packet::Publication},
    spec::qos::QoS,
};

/// Most wake-ups under load bring more than a few messages.
const LEAST_CAPACITY: usize = 16;

/// As many as a wake-up brings at most, or a few more.
const MOST_CAPACITY: usize = 640;

#[derive(Debug)]
pub(crate) struct PackedBatch {
    source: Arc<Source>,
    received_at: Instant,
    parts: PackedParts,
}

/// What messages consist of, in their order.
#[derive(Debug, Default)]
pub(crate) struct PackedParts {
    items: Vec<PackedMessage>,
    /// The topics of those that are packed.
    topics: String,
    /// Their payloads.
    payloads: Vec<u8>,
}

/// How much that is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    items: usize,
    topics: usize,
    payloads: usize,
}

#[derive(Debug)]
struct PackedMessage {
    form: PackedForm,
    ticket: Option<Ticket>,
    qos: QoS,
    retain: bool,
    duplicate: bool,
}

#[derive(Debug)]
enum PackedForm {
    /// The lengths of what is packed.
    Packed {
        topic: u16,
        payload: u16,
    },
    Whole(Box<(String, Bytes)>),
}

impl PackedParts {
    /// Room for as much as the last batch of the lane had. One that is smaller so keeps at most what
    /// the one before it did.
    pub(crate) fn for_about(usual: Extent) -> Self {
        Self {
            items: Vec::with_capacity(usual.items.clamp(LEAST_CAPACITY, MOST_CAPACITY)),
            topics: String::with_capacity(usual.topics),
            payloads: Vec::with_capacity(usual.payloads),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent {
            items: self.items.len(),
            topics: self.topics.len(),
            payloads: self.payloads.len(),
        }
    }

    pub(crate) fn push(&mut self, content: Publication, ticket: Option<Ticket>) {
        let is_small = content.is_small();
        let Publication {
            topic,
            payload,
            qos,
            retain,
            duplicate,
        } = content;
        let lengths = (u16::try_from(topic.len()), u16::try_from(payload.len()));
        let form = match lengths {
            (Ok(topic_length), Ok(payload_length)) if is_small => {
                self.topics.push_str(&topic);
                self.payloads.extend_from_slice(&payload);
                PackedForm::Packed {
                    topic: topic_length,
                    payload: payload_length,
                }
            }
            _ => PackedForm::Whole(Box::new((topic, payload))),
        };
        self.items.push(PackedMessage {
            form,
            ticket,
            qos,
            retain,
            duplicate,
        });
    }
}

impl PackedBatch {
    pub(crate) fn new(source: Arc<Source>, received_at: Instant, parts: PackedParts) -> Self {
        Self {
            source,
            received_at,
            parts,
        }
    }

    /// One message after the other, each made when its turn comes.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Message> {
        let Self {
            source,
            received_at,
            parts,
        } = self;
        let (mut topics_done, mut payloads_done) = (0, 0);
        parts.items.into_iter().map(move |item| {
            let (topic, payload) = match item.form {
                PackedForm::Whole(whole) => *whole,
                PackedForm::Packed { topic, payload } => {
                    let topic = next(&mut topics_done, topic);
                    let payload = next(&mut payloads_done, payload);
                    (
                        parts.topics[topic].to_owned(),
                        Bytes::copy_from_slice(&parts.payloads[payload]),
                    )
                }
            };
            let content = Publication {
                topic,
                payload,
                qos: item.qos,
                retain: item.retain,
                duplicate: item.duplicate,
            };
            Message::new(content, Arc::clone(&source), item.ticket, received_at)
        })
    }
}

/// The range of this length that begins where the last one ended.
fn next(done: &mut usize, length: u16) -> Range<usize> {
    let begin = *done;
    *done += usize::from(length);
    begin..*done
}
