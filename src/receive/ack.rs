//! Acknowledgements leave in the order of receipt [MQTT-4.6.0-2], each on the connection that
//! its message came on, whichever worker finishes first.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::spec::qos::QoS;

/// A broker can have this many messages unacknowledged: it has no more packet identifiers.
const MOST_UNACKNOWLEDGED: usize = u16::MAX as usize;

/// What a received message of QoS 1 or 2 will be acknowledged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
}

/// Names a message of the current connection. The tickets of earlier connections have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Where released acknowledgements go. It must not wait and must not come back here.
pub(crate) type Release = Box<dyn Fn(Acknowledgement) + Send + Sync>;

/// The unacknowledged messages of one client.
pub(crate) struct AckQueue {
    inner: Mutex<Inner>,
    release: Release,
}

struct Inner {
    /// The ticket of the first slot. It only grows, so that a stale ticket is below it.
    first: u64,
    slots: VecDeque<Slot>,
}

struct Slot {
    acknowledgement: Acknowledgement,
    done: bool,
}

impl AckQueue {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            inner: Mutex::new(Inner {
                first: 0,
                slots: VecDeque::new(),
            }),
            release,
        }
    }

    /// A message came. `None` if the broker has more unacknowledged than it has identifiers.
    pub(crate) fn received(&self, acknowledgement: Acknowledgement) -> Option<Ticket> {
        let mut inner = self.inner.lock();
        if inner.slots.len() >= MOST_UNACKNOWLEDGED {
            return None;
        }
        let ticket = Ticket(inner.first + inner.slots.len() as u64);
        inner.slots.push_back(Slot {
            acknowledgement,
            done: false,
        });
        Some(ticket)
    }

    /// A message is handled: release the completed front of the queue.
    pub(crate) fn handled(&self, ticket: Ticket) {
        let mut inner = self.inner.lock();
        let Some(at) = ticket.0.checked_sub(inner.first) else {
            // Its connection is over: the broker sends the message again, under an identifier
            // that by then may belong to another one.
            return;
        };
        if let Some(slot) = usize::try_from(at)
            .ok()
            .and_then(|at| inner.slots.get_mut(at))
        {
            slot.done = true;
        }
        while inner.slots.front().is_some_and(|slot| slot.done) {
            let Some(slot) = inner.slots.pop_front() else {
                break;
            };
            inner.first += 1;
            // Under the lock: two workers that finish at once must not swap their releases.
            (self.release)(slot.acknowledgement);
        }
    }

    /// The connection is lost: nothing of it is acknowledged any more.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.first += inner.slots.len() as u64;
        inner.slots.clear();
    }
}

impl std::fmt::Debug for AckQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AckQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn queue() -> (AckQueue, Arc<Mutex<Vec<u16>>>) {
        let released = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&released);
        let queue = AckQueue::new(Box::new(move |ack| sink.lock().push(ack.packet_id)));
        (queue, released)
    }

    fn ack(packet_id: u16) -> Acknowledgement {
        Acknowledgement {
            packet_id,
            qos: QoS::AtLeastOnce,
        }
    }

    #[test]
    fn a_broker_without_free_identifiers_is_noticed() {
        let (queue, _released) = queue();
        assert!((1..=u16::MAX).all(|id| queue.received(ack(id)).is_some()));
        assert!(queue.received(ack(1)).is_none());
    }

    proptest! {
        /// Whatever the order of handling, acknowledgements leave in the order of receipt, all of
        /// them, and none of an earlier connection.
        #[test]
        fn order_of_receipt(
            before in 0_u16..20,
            order in Just((1_u16..=50).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let (queue, released) = queue();
            let stale: Vec<_> = (0..before).filter_map(|_| queue.received(ack(999))).collect();
            queue.forget();
            let tickets: Vec<_> = (1..=50).filter_map(|id| queue.received(ack(id))).collect();
            for ticket in stale {
                queue.handled(ticket);
            }
            prop_assert!(released.lock().is_empty());
            for (n, id) in order.iter().enumerate() {
                queue.handled(tickets[usize::from(*id) - 1]);
                let prefix = (1..=50).take_while(|id| order[..=n].contains(id)).count();
                prop_assert_eq!(released.lock().len(), prefix);
            }
            prop_assert_eq!(released.lock().clone(), (1..=50).collect::<Vec<_>>());
        }
    }
}
