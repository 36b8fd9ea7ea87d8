//! Acknowledgements leave in the order of receipt [MQTT-4.6.0-2], each on the connection that
//! its message came on, whichever worker finishes first.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::spec::qos::QoS;

/// A broker can have this many messages unacknowledged: it has no more packet identifiers.
pub(crate) const MOST_UNACKNOWLEDGED: usize = u16::MAX as usize;

/// What a received message of QoS 1 or 2 will be acknowledged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
}

/// Names a message of the current connection. The tickets of earlier connections have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    number: u64,
    /// The identifier of a QoS 2 message.
    exactly_once: Option<u16>,
}

/// Where released acknowledgements go, in their order: one and, in the same call, those that
/// follow. It must not wait and must not come back here.
pub(crate) type Release = Box<dyn Fn(&[Acknowledgement]) + Send + Sync>;

/// What a received message is to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reception {
    /// A message to deliver.
    New(Ticket),
    /// A QoS 2 message that was delivered before: only its acknowledgement is repeated.
    Repeated,
    /// The broker has more unacknowledged than it has identifiers.
    OutOfIdentifiers,
}

/// The unacknowledged messages of one client.
pub(crate) struct AckQueue {
    inner: Mutex<Inner>,
    release: Release,
    /// Tickets below this number are of earlier connections of the current session. Relaxed: a
    /// worker that sees it late handles one more message twice, as QoS 1 allows.
    superseded: AtomicU64,
}

struct Inner {
    /// The ticket of the first slot. It only grows, so that a stale ticket is below it.
    first: u64,
    slots: VecDeque<AckSlot>,
    /// QoS 2 messages from PUBLISH to PUBREL, by identifier. They outlive connections, as the
    /// session does: the broker repeats PUBLISH until it has seen PUBREC [MQTT-4.3.3-1].
    exactly_once: HashMap<u16, Once>,
}

struct AckSlot {
    acknowledgement: Acknowledgement,
    done: bool,
}

/// A QoS 2 message that was delivered.
struct Once {
    /// The ticket that was delivered with it.
    delivered: Ticket,
    handled: bool,
    /// Its ticket on the current connection, if it was repeated there.
    repeated: Option<Ticket>,
}

impl AckQueue {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            inner: Mutex::new(Inner {
                first: 0,
                slots: VecDeque::new(),
                exactly_once: HashMap::new(),
            }),
            release,
            superseded: AtomicU64::new(0),
        }
    }

    /// A message came. What is new needs a place in the queue: a QoS 2 message that is refused must
    /// not count as delivered when it comes again.
    pub(crate) fn received(&self, acknowledgement: Acknowledgement, has_place: bool) -> Reception {
        let mut inner = self.inner.lock();
        if inner.slots.len() >= MOST_UNACKNOWLEDGED {
            return Reception::OutOfIdentifiers;
        }
        let first = inner.first;
        let is_once = acknowledgement.qos == QoS::ExactlyOnce;
        let ticket = Ticket {
            number: first + inner.slots.len() as u64,
            exactly_once: is_once.then_some(acknowledgement.packet_id),
        };
        let mut admission = Reception::New(ticket);
        let mut done = false;
        let packet_id = acknowledgement.packet_id;
        let is_known = is_once && inner.exactly_once.contains_key(&packet_id);
        if !has_place && !is_known {
            return Reception::OutOfIdentifiers;
        }
        if is_once {
            match inner.exactly_once.entry(packet_id) {
                Entry::Vacant(entry) => {
                    entry.insert(Once {
                        delivered: ticket,
                        handled: false,
                        repeated: None,
                    });
                }
                Entry::Occupied(mut entry) => {
                    let once = entry.get_mut();
                    // One acknowledgement answers all repetitions that came before it; a second
                    // slot would wait for a ticket that nobody remembers.
                    if once.repeated.unwrap_or(once.delivered).number >= first {
                        return Reception::Repeated;
                    }
                    once.repeated = Some(ticket);
                    done = once.handled;
                    admission = Reception::Repeated;
                }
            }
        }
        inner.slots.push_back(AckSlot {
            acknowledgement,
            done,
        });
        self.release_front(&mut inner);
        admission
    }

    /// A message is handled: release the completed front of the queue.
    pub(crate) fn handled(&self, ticket: Ticket) {
        let mut inner = self.inner.lock();
        // At QoS 2 the broker may have repeated the message since, on this connection or on a
        // later one: what it waits for now is the acknowledgement of the repetition.
        let once = ticket
            .exactly_once
            .and_then(|packet_id| inner.exactly_once.get_mut(&packet_id))
            .filter(|once| once.delivered == ticket);
        let repeated = once.and_then(|once| {
            once.handled = true;
            once.repeated
        });
        for ticket in [Some(ticket), repeated].into_iter().flatten() {
            inner.done(ticket);
        }
        self.release_front(&mut inner);
    }

    /// PUBREL: the broker has forgotten the message, and will use its identifier again.
    pub(crate) fn completed(&self, packet_id: u16) {
        self.inner.lock().exactly_once.remove(&packet_id);
    }

    /// The connection is lost: nothing of it is acknowledged any more.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.first += inner.slots.len() as u64;
        inner.slots.clear();
        for once in inner.exactly_once.values_mut() {
            once.repeated = None;
        }
    }

    /// A connection found its session: the broker sends again what was not acknowledged.
    pub(crate) fn session_kept(&self) {
        let first = self.inner.lock().first;
        self.superseded.store(first, Ordering::Relaxed);
    }

    /// Whether a message that waits to be handled will come again, or has: a QoS 1 message of an
    /// earlier connection of the same session. (A repetition at QoS 2 is not delivered again.)
    pub(crate) fn is_superseded(&self, ticket: Ticket) -> bool {
        ticket.exactly_once.is_none() && ticket.number < self.superseded.load(Ordering::Relaxed)
    }

    /// The session is lost: identifiers mean other messages from now on.
    pub(crate) fn forget_session(&self) {
        self.inner.lock().exactly_once.clear();
    }

    /// Under the lock: two workers that finish at once must not swap their releases.
    fn release_front(&self, inner: &mut Inner) {
        let done = inner.slots.iter().take_while(|slot| slot.done).count();
        match done {
            0 => {}
            // The usual case where little happens needs no list.
            1 => {
                let front = inner.slots.pop_front();
                inner.first += 1;
                if let Some(slot) = front {
                    (self.release)(&[slot.acknowledgement]);
                }
            }
            _ => {
                let front = inner.slots.drain(..done);
                let released: Vec<_> = front.map(|slot| slot.acknowledgement).collect();
                inner.first += released.len() as u64;
                (self.release)(&released);
            }
        }
    }
}

impl Inner {
    /// A stale ticket has no effect: its connection is over, and the broker sends the message
    /// again under an identifier that by then may belong to another one.
    fn done(&mut self, ticket: Ticket) {
        let at = ticket.number.checked_sub(self.first);
        let slot = at
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.slots.get_mut(at));
        if let Some(slot) = slot {
            slot.done = true;
        }
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
        let queue = AckQueue::new(Box::new(move |acks| {
            sink.lock().extend(acks.iter().map(|ack| ack.packet_id));
        }));
        (queue, released)
    }

    fn ack(packet_id: u16) -> Acknowledgement {
        Acknowledgement {
            packet_id,
            qos: QoS::AtLeastOnce,
        }
    }

    fn ticket(queue: &AckQueue, acknowledgement: Acknowledgement) -> Option<Ticket> {
        match queue.received(acknowledgement, true) {
            Reception::New(ticket) => Some(ticket),
            _ => None,
        }
    }

    #[test]
    fn exactly_once_is_delivered_once_and_acknowledged_each_time() {
        let (queue, released) = queue();
        let twice = Acknowledgement {
            packet_id: 7,
            qos: QoS::ExactlyOnce,
        };
        let first = ticket(&queue, twice).unwrap();
        assert_eq!(
            queue.received(twice, true),
            Reception::Repeated,
            "before it is handled"
        );
        assert!(released.lock().is_empty());
        queue.forget();
        assert_eq!(
            queue.received(twice, true),
            Reception::Repeated,
            "on the next connection"
        );
        queue.handled(first);
        assert_eq!(
            *released.lock(),
            [7],
            "the repetition is acknowledged, the first is stale"
        );
        queue.forget();
        assert_eq!(
            queue.received(twice, true),
            Reception::Repeated,
            "PUBREC was lost"
        );
        assert_eq!(*released.lock(), [7, 7]);
        queue.completed(7);
        assert!(
            ticket(&queue, twice).is_some(),
            "after PUBREL it is a new message"
        );
        queue.forget_session();
        assert!(ticket(&queue, twice).is_some(), "so it is in a new session");
    }

    #[test]
    fn exactly_once_that_found_no_place_is_new_when_it_comes_again() {
        let (queue, released) = queue();
        let once = Acknowledgement {
            packet_id: 7,
            qos: QoS::ExactlyOnce,
        };
        assert_eq!(queue.received(once, false), Reception::OutOfIdentifiers);
        queue.forget();
        let again = ticket(&queue, once).unwrap();
        assert_eq!(
            queue.received(once, false),
            Reception::Repeated,
            "what is delivered has its place"
        );
        queue.handled(again);
        assert_eq!(*released.lock(), [7]);
    }

    #[test]
    fn a_broker_without_free_identifiers_is_noticed() {
        let (queue, _released) = queue();
        assert!((1..=u16::MAX).all(|id| ticket(&queue, ack(id)).is_some()));
        assert_eq!(queue.received(ack(1), true), Reception::OutOfIdentifiers);
    }

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        /// Whatever the order of handling, acknowledgements leave in the order of receipt, all of
        /// them, and none of an earlier connection.
        #[test]
        fn order_of_receipt(
            before in 0_u16..20,
            order in Just((1_u16..=50).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let (queue, released) = queue();
            let stale: Vec<_> = (0..before).filter_map(|_| ticket(&queue, ack(999))).collect();
            queue.forget();
            let tickets: Vec<_> = (1..=50).filter_map(|id| ticket(&queue, ack(id))).collect();
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
