//! What goes through the queue to the workers: all that one client received for one lane in one
//! wake-up of its thread, so that a flood costs one hand-over and not one for each message.

use std::mem;

use crate::receive::message::Message;

/// Most wake-ups under load bring more than a few messages.
const FIRST_CAPACITY: usize = 16;

/// Messages of one client, in the order of receipt.
#[derive(Debug)]
pub(crate) enum Batch {
    /// The usual one where little happens; it needs no memory of its own.
    One(Message),
    Many(Vec<Message>),
}

impl Batch {
    /// Appends a message to what is collected.
    pub(crate) fn push(collected: &mut Option<Self>, message: Message) {
        match collected {
            None => *collected = Some(Self::One(message)),
            Some(Self::Many(messages)) => messages.push(message),
            Some(Self::One(_)) => {
                let mut messages = Vec::with_capacity(FIRST_CAPACITY);
                if let Some(Self::One(first)) = mem::take(collected) {
                    messages.push(first);
                }
                messages.push(message);
                *collected = Some(Self::Many(messages));
            }
        }
    }
}
