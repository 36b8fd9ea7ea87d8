//! What goes through the queue to the workers: all that one client received for one lane in one
//! wake-up of its thread, so that a flood costs one hand-over and not one for each message.

use crate::receive::message::Message;

/// Most wake-ups under load bring more than a few messages.
const LEAST_CAPACITY: usize = 16;

/// As many as a wake-up brings at most, or a few more.
const MOST_CAPACITY: usize = 160;

/// Messages of one client, in the order of receipt.
#[derive(Debug)]
pub(crate) enum Batch {
    /// The usual one where little happens; it needs no memory of its own.
    One(Message),
    Many(Vec<Message>),
}

/// What a wake-up has brought for one lane.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    batch: Option<Batch>,
    /// How many messages the last wake-up has brought for it.
    usual: usize,
}

impl Collected {
    pub(crate) fn push(&mut self, message: Message) {
        match &mut self.batch {
            None => self.batch = Some(Batch::One(message)),
            Some(Batch::Many(messages)) => messages.push(message),
            Some(Batch::One(_)) => {
                let capacity = self.usual.clamp(LEAST_CAPACITY, MOST_CAPACITY);
                let mut messages = Vec::with_capacity(capacity);
                if let Some(Batch::One(first)) = self.batch.take() {
                    messages.push(first);
                }
                messages.push(message);
                self.batch = Some(Batch::Many(messages));
            }
        }
    }

    pub(crate) fn take(&mut self) -> Option<Batch> {
        let batch = self.batch.take()?;
        self.usual = match &batch {
            Batch::One(_) => 1,
            Batch::Many(messages) => messages.len(),
        };
        Some(batch)
    }
}
