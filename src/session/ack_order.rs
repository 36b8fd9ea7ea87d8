//! Acknowledgements leave in the order of receipt [MQTT-4.6.0-2], each on the connection that
//! its message came on, whichever worker finishes first.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

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

impl Ticket {
    /// Whether the message will come again, or has: a QoS 1 message of an earlier connection of the same
    /// session, whose tickets are below this number. (A repetition at QoS 2 is not delivered again.)
    pub(crate) fn is_superseded(self, first: u64) -> bool {
        self.exactly_once.is_none() && self.number < first
    }
}

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

/// The unacknowledged messages of one client. `release` is where the acknowledgements go that have become
/// free, in their order: one and, in the same call, those that follow.
#[derive(Debug, Default)]
pub(crate) struct AckOrder {
    /// The ticket of the first slot. It only grows, so that a stale ticket is below it.
    first: u64,
    slots: VecDeque<AckSlot>,
    /// QoS 2 messages from PUBLISH to PUBREL, by identifier. They outlive connections, as the
    /// session does: the broker repeats PUBLISH until it has seen PUBREC [MQTT-4.3.3-1].
    exactly_once: HashMap<u16, Once>,
}

#[derive(Debug)]
struct AckSlot {
    acknowledgement: Acknowledgement,
    done: bool,
}

/// A QoS 2 message that was delivered.
#[derive(Debug)]
struct Once {
    /// The ticket that was delivered with it.
    delivered: Ticket,
    handled: bool,
    /// Its ticket on the current connection, if it was repeated there.
    repeated: Option<Ticket>,
}

impl AckOrder {
    /// A message came. What is new needs a place in the queue: a QoS 2 message that is refused must
    /// not count as delivered when it comes again.
    pub(crate) fn received(
        &mut self,
        acknowledgement: Acknowledgement,
        has_place: bool,
        release: impl FnOnce(&[Acknowledgement]),
    ) -> Reception {
        if self.slots.len() >= MOST_UNACKNOWLEDGED {
            return Reception::OutOfIdentifiers;
        }
        let first = self.first;
        let is_once = acknowledgement.qos == QoS::ExactlyOnce;
        let ticket = Ticket {
            number: first + self.slots.len() as u64,
            exactly_once: is_once.then_some(acknowledgement.packet_id),
        };
        let mut reception = Reception::New(ticket);
        let mut done = false;
        let packet_id = acknowledgement.packet_id;
        let is_known = is_once && self.exactly_once.contains_key(&packet_id);
        if !has_place && !is_known {
            return Reception::OutOfIdentifiers;
        }
        if is_once {
            match self.exactly_once.entry(packet_id) {
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
                    reception = Reception::Repeated;
                }
            }
        }
        self.slots.push_back(AckSlot {
            acknowledgement,
            done,
        });
        self.release_front(release);
        reception
    }

    /// A message is handled: releases the completed front of the queue.
    pub(crate) fn handled(&mut self, ticket: Ticket, release: impl FnOnce(&[Acknowledgement])) {
        // At QoS 2 the broker may have repeated the message since, on this connection or on a
        // later one: what it waits for now is the acknowledgement of the repetition.
        let once = ticket
            .exactly_once
            .and_then(|packet_id| self.exactly_once.get_mut(&packet_id))
            .filter(|once| once.delivered == ticket);
        let repeated = once.and_then(|once| {
            once.handled = true;
            once.repeated
        });
        for ticket in [Some(ticket), repeated].into_iter().flatten() {
            self.done(ticket);
        }
        self.release_front(release);
    }

    /// PUBREL: the broker has forgotten the message, and will use its identifier again.
    pub(crate) fn completed(&mut self, packet_id: u16) {
        self.exactly_once.remove(&packet_id);
    }

    /// The connection is lost: nothing of it is acknowledged any more.
    pub(crate) fn forget(&mut self) {
        self.first += self.slots.len() as u64;
        self.slots.clear();
        for once in self.exactly_once.values_mut() {
            once.repeated = None;
        }
    }

    /// The session is lost: identifiers mean other messages from now on.
    pub(crate) fn forget_session(&mut self) {
        self.exactly_once.clear();
    }

    /// The first ticket that is not acknowledged. When a connection begins, those below are of earlier ones.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    fn release_front(&mut self, release: impl FnOnce(&[Acknowledgement])) {
        let done = self.slots.iter().take_while(|slot| slot.done).count();
        match done {
            0 => {}
            // The usual case where little happens needs no list.
            1 => {
                let front = self.slots.pop_front();
                self.first += 1;
                if let Some(slot) = front {
                    release(&[slot.acknowledgement]);
                }
            }
            _ => {
                let front = self.slots.drain(..done);
                let released: Vec<_> = front.map(|slot| slot.acknowledgement).collect();
                self.first += released.len() as u64;
                release(&released);
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The order, and what it has released.
    #[derive(Default)]
    struct Queue {
        order: AckOrder,
        released: Vec<u16>,
    }

    impl Queue {
        fn received(&mut self, acknowledgement: Acknowledgement, has_place: bool) -> Reception {
            let sink = |acks: &[Acknowledgement]| {
                self.released.extend(acks.iter().map(|ack| ack.packet_id));
            };
            self.order.received(acknowledgement, has_place, sink)
        }

        fn handled(&mut self, ticket: Ticket) {
            let sink = |acks: &[Acknowledgement]| {
                self.released.extend(acks.iter().map(|ack| ack.packet_id));
            };
            self.order.handled(ticket, sink);
        }
    }

    fn ack(packet_id: u16) -> Acknowledgement {
        Acknowledgement {
            packet_id,
            qos: QoS::AtLeastOnce,
        }
    }

    fn ticket(queue: &mut Queue, acknowledgement: Acknowledgement) -> Option<Ticket> {
        match queue.received(acknowledgement, true) {
            Reception::New(ticket) => Some(ticket),
            _ => None,
        }
    }

    #[test]
    fn exactly_once_is_delivered_once_and_acknowledged_each_time() {
        let mut queue = Queue::default();
        let twice = Acknowledgement {
            packet_id: 7,
            qos: QoS::ExactlyOnce,
        };
        let first = ticket(&mut queue, twice).unwrap();
        assert_eq!(
            queue.received(twice, true),
            Reception::Repeated,
            "before it is handled"
        );
        assert!(queue.released.is_empty());
        queue.order.forget();
        assert_eq!(
            queue.received(twice, true),
            Reception::Repeated,
            "on the next connection"
        );
        queue.handled(first);
        assert_eq!(
            queue.released,
            [7],
            "the repetition is acknowledged, the first is stale"
        );
        queue.order.forget();
        assert_eq!(
            queue.received(twice, true),
            Reception::Repeated,
            "PUBREC was lost"
        );
        assert_eq!(queue.released, [7, 7]);
        queue.order.completed(7);
        assert!(
            ticket(&mut queue, twice).is_some(),
            "after PUBREL it is a new message"
        );
        queue.order.forget_session();
        assert!(
            ticket(&mut queue, twice).is_some(),
            "so it is in a new session"
        );
    }

    #[test]
    fn exactly_once_that_found_no_place_is_new_when_it_comes_again() {
        let mut queue = Queue::default();
        let once = Acknowledgement {
            packet_id: 7,
            qos: QoS::ExactlyOnce,
        };
        assert_eq!(queue.received(once, false), Reception::OutOfIdentifiers);
        queue.order.forget();
        let again = ticket(&mut queue, once).unwrap();
        assert_eq!(
            queue.received(once, false),
            Reception::Repeated,
            "what is delivered has its place"
        );
        queue.handled(again);
        assert_eq!(queue.released, [7]);
    }

    #[test]
    fn a_broker_without_free_identifiers_is_noticed() {
        let mut queue = Queue::default();
        assert!((1..=u16::MAX).all(|id| ticket(&mut queue, ack(id)).is_some()));
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
            let mut queue = Queue::default();
            let stale: Vec<_> = (0..before).filter_map(|_| ticket(&mut queue, ack(999))).collect();
            queue.order.forget();
            let tickets: Vec<_> = (1..=50).filter_map(|id| ticket(&mut queue, ack(id))).collect();
            for ticket in stale {
                queue.handled(ticket);
            }
            prop_assert!(queue.released.is_empty());
            for (n, id) in order.iter().enumerate() {
                queue.handled(tickets[usize::from(*id) - 1]);
                let prefix = (1..=50).take_while(|id| order[..=n].contains(id)).count();
                prop_assert_eq!(queue.released.len(), prefix);
            }
            prop_assert_eq!(queue.released.clone(), (1..=50).collect::<Vec<_>>());
        }
    }
}
