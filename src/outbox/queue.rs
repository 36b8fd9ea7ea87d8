//! The messages that wait in the outbox, in their order; the small ones packed.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use crate::{
    outbox::{
        entry::Pending,
        garbage::Garbage,
        packing::{Entry, EntryContent, Packed},
        send_batch::SendBatch,
    },
    session::{packet::Outgoing, publish::Publish},
};

/// A queue that needs little gives back what it has needed for more than this many bytes, or messages: a
/// broker that was away for an hour does not cost each client memory for ever. A default outbox of
/// small messages stays below.
const MOST_KEPT_BYTES: usize = 128 * 1024;
const MOST_KEPT_ENTRIES: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct PublishQueue {
    entries: VecDeque<Entry>,
    /// What the packed ones consist of, in the same order. Whatever is put back is whole and stands in
    /// front, so that all messages in front of the first one that was never sent are whole: what is
    /// taken out, from whichever place, is in front here.
    packed: VecDeque<u8>,
}

impl PublishQueue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Behind all others. What was copied comes back, to be dropped where no lock is held.
    pub(super) fn push<'a>(
        &mut self,
        message: Publish<'a>,
        pending: Pending,
    ) -> Option<Publish<'a>> {
        let (content, copied) = EntryContent::pack(message, &mut self.packed);
        self.entries.push_back(Entry { content, pending });
        copied
    }

    /// In front of all others: it was taken before them.
    pub(super) fn put_back(&mut self, message: Box<Outgoing>, pending: Pending) {
        let content = EntryContent::Whole(message);
        self.entries.push_front(Entry { content, pending });
    }

    /// Takes the first message.
    pub(super) fn pop(&mut self) -> Option<(Outgoing, Pending)> {
        let Entry { content, pending } = self.entries.pop_front()?;
        let message = match content {
            EntryContent::Whole(message) => *message,
            EntryContent::Packed(packed) => {
                let mut bytes = BytesMut::with_capacity(packed.len());
                self.move_bytes(packed, &mut bytes);
                packed.unpack(&mut bytes)
            }
        };
        Some((message, pending))
    }

    /// Takes the first message, to be sent with others. Says how many bytes it has on the wire.
    pub(super) fn pop_into(&mut self, batch: &mut SendBatch, packet_id: u16) -> usize {
        let Some(entry) = self.entries.pop_front() else {
            return 0;
        };
        let size = entry.content.size();
        batch.push(packet_id, entry, |packed, bytes| {
            self.move_bytes(packed, bytes)
        });
        size
    }

    /// Takes the oldest message that was never sent, if it is older than this. Those that were sent
    /// stand in front.
    pub(super) fn pop_expired(
        &mut self,
        max_age: Duration,
        garbage: &mut Garbage,
    ) -> Option<Pending> {
        let first = self.first_unsent();
        let accepted_at = self.entries.get(first)?.pending.accepted_at?;
        match accepted_at.elapsed() > max_age {
            true => self.drop_at(first, garbage),
            false => None,
        }
    }

    /// When the next message will be older than this.
    pub(super) fn expiry(&self, max_age: Duration) -> Option<Instant> {
        let oldest = self.entries.get(self.first_unsent())?;
        oldest.pending.accepted_at?.checked_add(max_age)
    }

    /// Takes the oldest message that was never sent.
    pub(super) fn pop_unsent(&mut self, garbage: &mut Garbage) -> Option<Pending> {
        self.drop_at(self.first_unsent(), garbage)
    }

    /// Everything that waited.
    pub(super) fn take(&mut self, garbage: &mut Garbage) -> Vec<Pending> {
        let mut waited = mem::take(self);
        let entries = waited.entries.drain(..).map(|entry| {
            garbage.messages.extend(entry.content.whole());
            entry.pending
        });
        let pending = entries.collect();
        garbage.memory.push((waited.entries, waited.packed));
        pending
    }

    /// An empty queue begins at its front again, which is in the cache; one that needs little gives back
    /// what it needed.
    pub(super) fn tidy(&mut self, garbage: &mut Garbage) {
        if self.entries.is_empty() {
            self.entries.clear();
            self.packed.clear();
        }
        let bytes = self.packed.capacity();
        let entries = self.entries.capacity();
        let too_many_bytes = bytes > MOST_KEPT_BYTES && self.packed.len() < bytes / 8;
        let too_many_entries = entries > MOST_KEPT_ENTRIES && self.entries.len() < entries / 8;
        if too_many_bytes || too_many_entries {
            let entries = self.entries.drain(..).collect();
            let packed = self.packed.drain(..).collect();
            garbage.memory.push((
                mem::replace(&mut self.entries, entries),
                mem::replace(&mut self.packed, packed),
            ));
        }
    }

    fn first_unsent(&self) -> usize {
        let was_sent = |entry: &&Entry| entry.pending.was_sent;
        self.entries.iter().take_while(was_sent).count()
    }

    /// It is the first one that was never sent.
    fn drop_at(&mut self, at: usize, garbage: &mut Garbage) -> Option<Pending> {
        let Entry { content, pending } = self.entries.remove(at)?;
        if let EntryContent::Packed(packed) = content {
            self.packed.drain(..packed.len());
        }
        garbage.messages.extend(content.whole());
        Some(pending)
    }

    fn move_bytes(&mut self, packed: Packed, to: &mut BytesMut) {
        let (head, tail) = self.packed.as_slices();
        let from_head = packed.len().min(head.len());
        to.extend_from_slice(&head[..from_head]);
        to.extend_from_slice(&tail[..packed.len() - from_head]);
        self.packed.drain(..packed.len());
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.packed.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}
