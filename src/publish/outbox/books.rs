//! What is in the outbox, and where each message is: the part behind the lock.
//!
//! A message is in the queue, in the bell, in the network thread's hands, in flight, or in one of
//! the ledger's buckets; every method here leaves it in exactly one of these places.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    publish::{
        batch::Batch,
        flight::{Flight, Flying},
        message::{Control, Item, Outgoing, Progress, Stub},
        outbox::{Bell, locked::Spent, queue::Queue, suspicion::Suspicion},
        receipt::{Fate, Slot, Slots},
        window::{Ahead, MOST_BIRTHS, Window},
    },
    spec::{outbox::Replay, qos::QoS},
    supervise::{
        ledger::{Ledger, Unpromised},
        stop::deadline_after,
    },
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

/// Which messages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    All,
    /// The fleet stops and its functions are still running: what they publish is taken as long as
    /// there is a connection that it can leave on.
    WhileConnected,
    /// None any more, but what is here still goes out.
    Nothing,
}

pub(super) struct Books {
    pub(super) listener: Listener,
    pub(super) taking: Taking,
    /// By when a client that was stopped on its own ends, whatever is left then; until then it sends
    /// what is here.
    pub(super) finish_by: Option<Instant>,
    /// What the connection begins with is not all sent yet.
    pub(super) opening: bool,
    /// The connection is over, and the network thread is about to tell what was written and acknowledged
    /// on it: no message has its end before that is known.
    pub(super) unsettled: bool,
    pub(super) bell: Option<Box<dyn Bell>>,
    pub(super) bell_out: bool,
    /// For how many control items, or a publish, the network thread waits outside of rumqttc; 0 if it
    /// does not.
    pub(super) awaited: usize,
    /// What is left of the publish that is the bell.
    pub(super) ringing: Option<Stub>,
    pub(super) controls: VecDeque<Control>,
    pub(super) publishes: Queue,
    /// Publishes that the network thread has taken and not yet reported on.
    pub(super) in_hand: usize,
    pub(super) flight: Flight,
    pub(super) window: Window,
    /// The connection's birth message waits for the exchange of an earlier one to end, and all other
    /// messages wait for it.
    pub(super) birth_due: Option<QoS>,
    pub(super) slots: Slots,
    pub(super) ledger: Ledger,
    pub(super) suspicion: Suspicion,
    pub(super) unpromised: Unpromised,
    /// To be dropped when the lock is given back.
    pub(super) spent: Spent,
}

/// What the window admits next.
enum Next {
    Control(Control),
    /// The first one of the queue.
    Publish,
}

impl Books {
    /// What the window admits next. Acknowledgements never wait for the window.
    fn next(&mut self, max_age: Option<Duration>, ahead: &mut Ahead) -> Option<Next> {
        let takes_id =
            |control: &Control| matches!(control, Control::Subscribe(_) | Control::Unsubscribe(_));
        let at = match self.window.admits_subscribe(*ahead) {
            true => Some(0),
            false => self.controls.iter().position(|control| !takes_id(control)),
        };
        if let Some(control) = at.and_then(|at| self.controls.remove(at)) {
            ahead.identifiers += u16::from(takes_id(&control));
            return Some(Next::Control(control));
        }
        self.expire(max_age);
        if self.birth_due.is_some() {
            return None;
        }
        let qos = self.publishes.front()?.content.qos();
        if self.suspicion.is_careful && (self.is_held_back() || ahead.publishes > 0) {
            return None;
        }
        let takes_id = qos != QoS::AtMostOnce;
        if takes_id && !self.window.admits_publish(qos, *ahead) {
            // A QoS 0 message behind it waits too: order is kept.
            return None;
        }
        ahead.identifiers += u16::from(takes_id);
        ahead.publishes += u16::from(takes_id);
        ahead.exactly_once += u16::from(qos == QoS::ExactlyOnce);
        if self.suspicion.is_careful {
            self.suspicion.sent_alone();
        }
        Some(Next::Publish)
    }

    /// Takes what the window admits, and what is left of it if it is a publish.
    pub(super) fn take(&mut self, max_age: Option<Duration>) -> Option<(Item, Option<Stub>)> {
        match self.next(max_age, &mut Ahead::default())? {
            Next::Control(control) => Some((Item::Control(control), None)),
            Next::Publish => {
                let (message, stub) = self.publishes.pop()?;
                self.publishes.tidy(&mut self.spent);
                let stub = stub.with_copy_of(&message);
                Some((Item::Publish(message), Some(stub)))
            }
        }
    }

    /// Takes what the window admits into the batch, up to so many bytes and one item more.
    pub(super) fn take_batch(
        &mut self,
        max_age: Option<Duration>,
        most_bytes: usize,
        batch: &mut Batch,
    ) {
        let mut ahead = Ahead::default();
        let mut bytes = 0;
        while bytes < most_bytes {
            match self.next(max_age, &mut ahead) {
                Some(Next::Control(control)) => {
                    bytes += control.size();
                    batch.push_control(control);
                }
                Some(Next::Publish) => {
                    bytes += self.publishes.pop_into(batch);
                    self.in_hand += 1;
                }
                None => break,
            }
        }
        self.publishes.tidy(&mut self.spent);
    }

    /// Takes the control items that can leave before DISCONNECT, up to so many bytes, and forgets the
    /// others. Acknowledgements come first: they never wait for an identifier.
    pub(super) fn take_controls(&mut self, most_bytes: usize, batch: &mut Batch) {
        let mut ahead = Ahead::default();
        let mut bytes = 0;
        let (acknowledgements, others): (Vec<_>, Vec<_>) = self
            .controls
            .drain(..)
            .partition(|control| matches!(control, Control::Acknowledge { .. }));
        for control in acknowledgements.into_iter().chain(others) {
            let takes_id = matches!(control, Control::Subscribe(_) | Control::Unsubscribe(_));
            // Else it is not known here how many identifiers rumqttc has used.
            let is_known = !self.bell_out && !self.opening;
            let fits = !takes_id || is_known && self.window.admits_subscribe(ahead);
            bytes += control.size();
            if bytes > most_bytes {
                return;
            }
            if fits && !matches!(control, Control::Disconnect) {
                ahead.identifiers += u16::from(takes_id);
                batch.push_control(control);
            }
        }
    }

    /// Hands an item to rumqttc's channel: the bell. The stub is that of a publish.
    pub(super) fn ring(&mut self, item: Item, stub: Option<Stub>) {
        let rung = match &self.bell {
            Some(bell) => bell.ring(item),
            None => Err(item),
        };
        match (rung, stub) {
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
    pub(super) fn put_back(&mut self, message: Outgoing, mut stub: Stub) {
        self.spent.messages.extend(stub.copy.take());
        self.publishes.put_back(Box::new(message), stub);
    }

    /// Takes note of one step. `written` is what a QoS 0 message ends with once it is written.
    pub(super) fn apply(&mut self, step: Progress, written: Fate) {
        match step {
            Progress::Fed { packet_id, stub } => {
                self.in_hand -= 1;
                self.suspicion.is_blurred |= packet_id == 0;
                self.out(packet_id, stub, written);
            }
            Progress::Written { packet_id } => {
                self.bell_out = false;
                self.suspicion.is_blurred |= packet_id == 0;
                // What a connection begins with is in flight already, and no bell is out then.
                if let Some(stub) = self.ringing.take() {
                    self.out(packet_id, stub, written);
                }
            }
            Progress::Used { packet_id } => self.window.used(packet_id),
            Progress::Heard => self.bell_out = false,
            Progress::Acknowledged { packet_id } => {
                self.suspicion.is_blurred = false;
                self.suspicion.birth_read();
                self.window.acknowledged(packet_id);
                if let Some(flying) = self.flight.land(packet_id) {
                    self.end_flying(flying, Fate::Acknowledged);
                }
            }
            Progress::Released { packet_id } => {
                self.suspicion.birth_read();
                self.flight.release(packet_id);
            }
            Progress::PingAnswered => self.suspicion.answered(),
        }
    }

    /// A publish was given to the encoder under this identifier.
    pub(super) fn out(&mut self, packet_id: u16, stub: Stub, written: Fate) {
        if packet_id == 0 {
            self.unpromised.cut_off += u64::from(written == Fate::ConnectionLost);
            return self.end_stub(stub, written);
        }
        // Only QoS 2 keeps a copy.
        let qos = match stub.copy {
            Some(_) => QoS::ExactlyOnce,
            None => QoS::AtLeastOnce,
        };
        self.window.published(packet_id, qos);
        self.flight.push(Flying {
            packet_id,
            slot: Some(stub.slot),
            message: stub.copy,
            released: false,
            is_held: false,
        });
    }

    /// The client has ended, and this message was waiting. One that was sent before may have
    /// arrived.
    fn end_waiting(&mut self, stub: Stub) {
        let fate = match stub.was_sent {
            true => Fate::NotAcknowledged,
            false => Fate::Unsent,
        };
        self.end_stub(stub, fate);
    }

    /// A message whose content has gone to rumqttc, or is spent, has come to its end.
    pub(super) fn end_stub(&mut self, stub: Stub, fate: Fate) {
        self.spent.messages.extend(stub.copy);
        self.end(&stub.slot, fate);
    }

    /// What was in flight has come to its end.
    pub(super) fn end_flying(&mut self, flying: Flying, fate: Fate) {
        self.spent.messages.extend(flying.message);
        if let Some(slot) = flying.slot {
            self.end(&slot, fate);
        }
    }

    /// A message has come to its end.
    pub(super) fn end(&mut self, slot: &Slot, fate: Fate) {
        let bucket = match fate {
            Fate::Acknowledged => &mut self.ledger.acknowledged,
            Fate::Sent => &mut self.ledger.sent,
            Fate::Expired => &mut self.ledger.expired,
            Fate::Dropped => &mut self.ledger.dropped,
            Fate::ConnectionLost | Fate::SessionLost | Fate::NotAcknowledged | Fate::GivenUp => {
                &mut self.ledger.failed
            }
            Fate::Unsent => &mut self.ledger.unsent,
        };
        *bucket += 1;
        slot.end(fate, &mut self.spent.woken);
    }

    /// Ends the messages that are too old and were never sent.
    pub(super) fn expire(&mut self, max_age: Option<Duration>) {
        let Some(max_age) = max_age else { return };
        while let Some(stub) = self.publishes.pop_expired(max_age, &mut self.spent) {
            self.end_stub(stub, Fate::Expired);
            self.publishes.tidy(&mut self.spent);
        }
    }

    /// When messages may have grown too old, if the network thread is not woken before: those that wait,
    /// and those that will come and find the window full.
    pub(super) fn expires_at(&self, max_age: Option<Duration>) -> Option<Instant> {
        let is_full = || {
            let mut qos = [QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter();
            qos.any(|qos| !self.admits(qos))
        };
        let waits = max_age.and_then(|it| self.publishes.expiry(it));
        waits.or_else(|| is_full().then(|| deadline_after(max_age?)).flatten())
    }

    /// Makes room for one message by dropping the oldest that was never sent.
    pub(super) fn drop_oldest(&mut self, capacity: usize) {
        while self.publishes.len() >= capacity {
            let Some(stub) = self.publishes.pop_unsent(&mut self.spent) else {
                return;
            };
            self.end_stub(stub, Fate::Dropped);
        }
    }

    /// The broker has lost the session, and what was in flight with it.
    pub(super) fn session_lost(&mut self, replay: Replay) {
        self.window.forget();
        for flying in self.flight.take().into_iter().rev() {
            match flying {
                Flying {
                    slot: Some(slot),
                    message: Some(message),
                    ..
                } if replay == Replay::Always => {
                    let stub = Stub {
                        slot,
                        accepted_at: None,
                        was_sent: true,
                        copy: None,
                    };
                    self.publishes.put_back(message, stub);
                }
                flying => {
                    // A birth message is nobody's.
                    let is_chosen = replay == Replay::OnlyWithSession && flying.slot.is_some();
                    self.unpromised.not_repeated += u64::from(is_chosen);
                    self.end_flying(flying, Fate::SessionLost);
                }
            }
        }
    }

    /// Takes an identifier for the birth message that is due: 0 at QoS 0. From now on it is in flight.
    /// `None` if none is due, or if it has to wait until the broker has ended the exchange of an
    /// earlier one.
    pub(super) fn take_birth(&mut self) -> Option<u16> {
        let qos = self.birth_due?;
        if qos == QoS::AtMostOnce {
            self.birth_due = None;
            self.suspicion.born();
            return Some(0);
        }
        if self.flight.births() >= MOST_BIRTHS {
            return None;
        }
        let packet_id = self.window.reserve(qos)?;
        self.birth_due = None;
        self.flight.push(Flying {
            packet_id,
            slot: None,
            message: None,
            released: false,
            is_held: false,
        });
        Some(packet_id)
    }

    /// The client has ended, or will without sending anything more: so does every message.
    pub(super) fn end_all(&mut self) {
        if let Some(stub) = self.ringing.take() {
            self.end_waiting(stub);
        }
        for flying in self.flight.take() {
            self.end_flying(flying, Fate::NotAcknowledged);
        }
        for stub in self.publishes.take(&mut self.spent) {
            self.end_waiting(stub);
        }
    }

    /// Whether everything has gone out and every message has ended. Acknowledgements count: a
    /// broker that does not get them sends its messages again.
    pub(super) fn is_drained(&self) -> bool {
        self.in_progress() == 0 && self.controls.is_empty() && !self.bell_out && !self.opening
    }

    pub(super) fn in_progress(&self) -> usize {
        self.publishes.len()
            + self.in_hand
            + usize::from(self.ringing.is_some())
            + self.flight.accepted()
    }

    /// Whether a publish waits that the window admits.
    pub(super) fn admits_next(&self) -> bool {
        let next = self.publishes.front();
        next.is_some_and(|entry| self.admits(entry.content.qos()))
    }

    /// Whether a publish of this quality of service that comes now is the bell, behind nothing else.
    pub(super) fn rings_at_once(&self, qos: QoS) -> bool {
        let is_first = self.publishes.is_empty() && self.controls.is_empty();
        self.listener == Listener::Asleep && is_first && self.admits(qos)
    }

    fn admits(&self, qos: QoS) -> bool {
        if self.is_held_back() || self.birth_due.is_some() {
            return false;
        }
        qos == QoS::AtMostOnce || self.window.admits_publish(qos, Ahead::default())
    }

    /// Whether an item that the window admits waits here while the network thread sleeps and no
    /// bell is out: the bell was lost. Every change is made under the lock, so that looking after
    /// each call sees every state that threads can see.
    #[cfg(test)]
    pub(super) fn is_stuck(&self) -> bool {
        let waits = self.admits_next() || !self.controls.is_empty();
        self.listener == Listener::Asleep && (self.bell_out || waits)
    }
}
