//! What is in the outbox, and where each message is: the part behind the lock.
//!
//! A message is in the queue, in the bell, in the network thread's hands, in flight, or in one of
//! the ledger's buckets; every method here leaves it in exactly one of these places.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    publish::{
        flight::{Flight, Flying},
        message::{Control, Item, Outgoing, Parcel, Progress, Stub},
        outbox::Bell,
        receipt::{Fate, Slot, Slots},
        window::{Ahead, Window},
    },
    spec::qos::QoS,
    supervise::ledger::Ledger,
};

/// What the network thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// It has no connection: nothing rings, messages wait.
    Away,
    /// It runs, or the bell that will wake it is out.
    Awake,
    /// It sleeps inside rumqttc, and nothing that would wake it is under way.
    Asleep,
    /// It stops or has ended: nothing is taken any more.
    Gone,
}

pub(super) struct Books {
    pub(super) listener: Listener,
    /// Nothing is taken any more, but what is here still goes out.
    pub(super) draining: bool,
    pub(super) bell: Option<Box<dyn Bell>>,
    pub(super) bell_out: bool,
    /// What is left of the publish that is the bell.
    pub(super) ringing: Option<Stub>,
    pub(super) controls: VecDeque<Control>,
    pub(super) publishes: VecDeque<Entry>,
    /// Publishes that the network thread has taken and not yet reported on.
    pub(super) in_hand: usize,
    pub(super) flight: Flight,
    pub(super) window: Window,
    pub(super) slots: Slots,
    pub(super) ledger: Ledger,
}

/// An accepted message that waits.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Outgoing,
    pub(super) slot: Arc<Slot>,
    /// Known only where there is an age limit, and not of one that was sent: it does not expire.
    pub(super) accepted_at: Option<Instant>,
    /// It was sent in a session that is lost, and is to be sent again.
    pub(super) was_sent: bool,
}

impl Books {
    /// The next item that the window admits. Acknowledgements never wait for the window.
    pub(super) fn take(&mut self, max_age: Option<Duration>, ahead: &mut Ahead) -> Option<Parcel> {
        let takes_id =
            |control: &Control| matches!(control, Control::Subscribe(_) | Control::Unsubscribe(_));
        let at = match self.window.admits_subscribe(*ahead) {
            true => Some(0),
            false => self.controls.iter().position(|control| !takes_id(control)),
        };
        if let Some(control) = at.and_then(|at| self.controls.remove(at)) {
            ahead.identifiers += u16::from(takes_id(&control));
            return Some(Parcel {
                item: Item::Control(control),
                stub: None,
            });
        }
        self.expire_front(max_age);
        let takes_id = self.publishes.front()?.message.qos != QoS::AtMostOnce;
        if takes_id && !self.window.admits_publish(*ahead) {
            // A QoS 0 message behind it waits too: order is kept.
            return None;
        }
        let entry = self.publishes.pop_front()?;
        ahead.identifiers += u16::from(takes_id);
        ahead.publishes += u16::from(takes_id);
        let copy = (entry.message.qos == QoS::ExactlyOnce).then(|| entry.message.clone());
        Some(Parcel {
            item: Item::Publish(entry.message),
            stub: Some(Stub {
                slot: entry.slot,
                accepted_at: entry.accepted_at,
                was_sent: entry.was_sent,
                copy,
            }),
        })
    }

    /// Hands a parcel to rumqttc's channel: the bell.
    pub(super) fn ring(&mut self, parcel: Parcel) {
        let rung = match &self.bell {
            Some(bell) => bell.ring(parcel.item),
            None => Err(parcel.item),
        };
        match (rung, parcel.stub) {
            (Ok(()), stub) => {
                self.listener = Listener::Awake;
                self.bell_out = true;
                self.ringing = stub;
            }
            // rumqttc's channel is never full while at most one item is in it. Should it refuse
            // all the same, nothing is lost: the next packet or ping wakes the thread.
            (Err(Item::Publish(message)), Some(stub)) => self.put_back(message, stub),
            (Err(Item::Control(control)), _) => self.controls.push_front(control),
            (Err(Item::Publish(_)), None) => {}
        }
    }

    /// A message that was taken and not sent. It is older than all that waits, and it was
    /// accepted: the capacity does not count.
    pub(super) fn put_back(&mut self, message: Outgoing, stub: Stub) {
        self.publishes.push_front(Entry {
            message,
            slot: stub.slot,
            accepted_at: stub.accepted_at,
            was_sent: stub.was_sent,
        });
    }

    /// Takes note of one step. `written` is what a QoS 0 message ends with once it is written.
    pub(super) fn apply(&mut self, step: Progress, written: Fate) {
        match step {
            Progress::Fed { packet_id, stub } => {
                self.in_hand -= 1;
                self.out(packet_id, stub, written);
            }
            Progress::Written { packet_id } => {
                self.bell_out = false;
                match self.ringing.take() {
                    Some(stub) => self.out(packet_id, stub, written),
                    // A birth message, or one that is repeated and in flight already.
                    None if packet_id != 0 && !self.flight.contains(packet_id) => {
                        self.window.published(packet_id);
                        self.flight.push(Flying {
                            packet_id,
                            slot: None,
                            message: None,
                            released: false,
                        });
                    }
                    None => {}
                }
            }
            Progress::Used { packet_id } => self.window.used(packet_id),
            Progress::Heard => self.bell_out = false,
            Progress::Acknowledged { packet_id } => {
                self.window.acknowledged(packet_id);
                if let Some(slot) = self.flight.land(packet_id).and_then(|it| it.slot) {
                    self.end(slot, Fate::Acknowledged);
                }
            }
            Progress::Released { packet_id } => self.flight.release(packet_id),
        }
    }

    /// A publish was given to the encoder under this identifier.
    pub(super) fn out(&mut self, packet_id: u16, stub: Stub, written: Fate) {
        if packet_id == 0 {
            return self.end(stub.slot, written);
        }
        self.window.published(packet_id);
        self.flight.push(Flying {
            packet_id,
            slot: Some(stub.slot),
            message: stub.copy,
            released: false,
        });
    }

    /// The client has ended, and this message was waiting. One that was sent before may have
    /// arrived.
    pub(super) fn end_waiting(&mut self, slot: Arc<Slot>, was_sent: bool) {
        let fate = match was_sent {
            true => Fate::NotAcknowledged,
            false => Fate::Unsent,
        };
        self.end(slot, fate);
    }

    /// A message has come to its end.
    pub(super) fn end(&mut self, slot: Arc<Slot>, fate: Fate) {
        let bucket = match fate {
            Fate::Acknowledged => &mut self.ledger.acknowledged,
            Fate::Sent => &mut self.ledger.sent,
            Fate::Expired => &mut self.ledger.expired,
            Fate::Dropped => &mut self.ledger.dropped,
            Fate::ConnectionLost | Fate::SessionLost | Fate::NotAcknowledged => {
                &mut self.ledger.failed
            }
            Fate::Unsent => &mut self.ledger.unsent,
        };
        *bucket += 1;
        self.slots.close(slot, fate);
    }

    /// Ends the messages at the front that are too old. Those behind them are younger.
    pub(super) fn expire_front(&mut self, max_age: Option<Duration>) {
        let Some(max_age) = max_age else { return };
        while let Some(front) = self.publishes.front() {
            if front.accepted_at.is_none_or(|at| at.elapsed() <= max_age) {
                return;
            }
            if let Some(entry) = self.publishes.pop_front() {
                self.end(entry.slot, Fate::Expired);
            }
        }
    }

    /// Whether everything has gone out and every message has ended. Acknowledgements count: a
    /// broker that does not get them sends its messages again.
    pub(super) fn is_drained(&self) -> bool {
        self.in_progress() == 0 && self.controls.is_empty() && !self.bell_out
    }

    pub(super) fn in_progress(&self) -> usize {
        self.publishes.len()
            + self.in_hand
            + usize::from(self.ringing.is_some())
            + self.flight.accepted()
    }
}
