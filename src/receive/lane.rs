//! What goes through the queue to the workers: all that one client received for one lane in one
//! wake-up of its thread, so that a flood costs one hand-over and not one for each message.

use std::mem;

use crate::receive::message::Message;

/// Most wake-ups under load bring more than a few messages.
const LEAST_CAPACITY: usize = 16;

/// Beyond this a batch grows as it comes: a client that was flooded once may have little to do now.
const MOST_CAPACITY: usize = 256;

/// Messages of one client, in the order of receipt.
#[derive(Debug)]
pub(crate) enum Batch {
    /// The usual one where little happens; it needs no memory of its own.
    One(Message),
    Many(Vec<Message>),
}

impl Batch {
    /// Appends a message to what is collected: about `usual` ones, going by the last time.
    pub(crate) fn push(collected: &mut Option<Self>, message: Message, usual: usize) {
        match collected {
            None => *collected = Some(Self::One(message)),
            Some(Self::Many(messages)) => messages.push(message),
            Some(Self::One(_)) => {
                let mut messages = Vec::with_capacity(usual.clamp(LEAST_CAPACITY, MOST_CAPACITY));
                if let Some(Self::One(first)) = mem::take(collected) {
                    messages.push(first);
                }
                messages.push(message);
                *collected = Some(Self::Many(messages));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(messages) => messages.len(),
        }
    }
}
