//! Ending: each message ends once, in one of the ledger's buckets.

use std::time::{Duration, Instant};

use crate::{
    outbox::{
        completion::{Completion, Disposition},
        entry::Pending,
        state::State,
        waker::CarriedItem,
    },
    session::inflight::InflightPublish,
    spec::qos::QoS,
    supervise::stop::deadline_after,
};

impl State {
    /// The client has ended, and this message was waiting. One that was sent before may have
    /// arrived.
    fn end_waiting(&mut self, pending: Pending) {
        let disposition = match pending.was_sent {
            true => Disposition::NotAcknowledged,
            false => Disposition::Unsent,
        };
        self.end(&pending.completion, disposition);
    }

    /// What was in flight has come to its end, and its identifier is free.
    pub(super) fn end_inflight(
        &mut self,
        publish: InflightPublish<Completion>,
        disposition: Disposition,
    ) {
        self.ids.free_publish(publish.packet_id, publish.qos);
        self.garbage.messages.extend(publish.message);
        if let Some(completion) = publish.owner {
            self.end(&completion, disposition);
        }
    }

    /// A message has come to its end.
    pub(super) fn end(&mut self, completion: &Completion, disposition: Disposition) {
        let bucket = match disposition {
            Disposition::Acknowledged => &mut self.ledger.acknowledged,
            Disposition::Sent => &mut self.ledger.sent,
            Disposition::Expired => &mut self.ledger.expired,
            Disposition::Dropped => &mut self.ledger.dropped,
            Disposition::ConnectionLost
            | Disposition::SessionLost
            | Disposition::NotAcknowledged
            | Disposition::GivenUp => &mut self.ledger.failed,
            Disposition::Unsent => &mut self.ledger.unsent,
        };
        *bucket += 1;
        completion.end(disposition, &mut self.garbage.woken);
    }

    /// Ends the messages that are too old and were never sent.
    pub(super) fn expire(&mut self, max_age: Option<Duration>) {
        let Some(max_age) = max_age else { return };
        while let Some(pending) = self.queue.pop_expired(max_age, &mut self.garbage) {
            self.end(&pending.completion, Disposition::Expired);
            self.queue.tidy(&mut self.garbage);
        }
    }

    /// When messages may have grown too old, if the network thread is not woken before: those that wait,
    /// and those that will come and find the window full.
    pub(super) fn expires_at(&self, max_age: Option<Duration>) -> Option<Instant> {
        let is_full = || {
            let mut qos = [QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter();
            qos.any(|qos| !self.admits(qos))
        };
        let waits = max_age.and_then(|it| self.queue.expiry(it));
        waits.or_else(|| is_full().then(|| deadline_after(max_age?)).flatten())
    }

    /// Makes room for one message by dropping the oldest that was never sent.
    pub(super) fn drop_oldest(&mut self, capacity: usize) {
        while self.queue.len() >= capacity {
            let Some(pending) = self.queue.pop_unsent(&mut self.garbage) else {
                return;
            };
            self.end(&pending.completion, Disposition::Dropped);
        }
    }

    /// The client has ended, or will without sending anything more: so does every message.
    pub(super) fn end_all(&mut self) {
        if let Some(CarriedItem::Publish {
            message, pending, ..
        }) = self.carried.take()
        {
            self.garbage.messages.push(message);
            self.end_waiting(pending);
        }
        for publish in self.inflight.take() {
            self.end_inflight(publish, Disposition::NotAcknowledged);
        }
        for pending in self.queue.take(&mut self.garbage) {
            self.end_waiting(pending);
        }
    }
}
