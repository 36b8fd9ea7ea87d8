//! What is in the outbox, and where each message is: the part behind the lock.
//!
//! A message is in the queue, on its way with a wake-up, in the network thread's hands, in flight, or
//! in one of the ledger's buckets. What changes it, in a file each: taking (`take`), applying what was seen on
//! the connection (`apply`), losing a connection (`lose`), ending messages (`end`). Every method leaves each
//! message in exactly one of these places.

use std::{collections::VecDeque, time::Instant};

use crate::{
    observe::ledger::{Ledger, Unpromised},
    outbox::{
        completion::{Completion, Completions},
        garbage::Garbage,
        queue::PublishQueue,
        suspicion::Suspicion,
        waker::{CarriedItem, Waker},
    },
    session::{
        inflight::Inflight,
        packet::{Control, Outgoing, Packet},
        packet_ids::PacketIds,
    },
};

/// What the network thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkThread {
    /// It has no connection: nothing wakes it, messages wait.
    Offline,
    /// It runs, or is about to: it looks into the outbox before it parks.
    Running,
    /// It waits inside its engine, and nothing that would wake it is under way.
    Parked,
    /// It stops or has ended: nothing is taken any more.
    Closed,
}

/// Which messages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    All,
    /// The fleet stops and its functions are still running: what they publish is taken as long as
    /// there is a connection that it can leave on.
    WhileConnected,
    /// None any more, but what is here still goes out.
    Nothing,
}

pub(super) struct State {
    pub(super) network: NetworkThread,
    pub(super) admission: Admission,
    /// By when a client that was stopped on its own ends, whatever is left then; until then it sends
    /// what is here.
    pub(super) finish_by: Option<Instant>,
    /// The connection is over, and the network thread is about to tell what was written and acknowledged
    /// on it: no message has its end before that is known.
    pub(super) unsettled: bool,
    pub(super) waker: Option<Box<dyn Waker>>,
    pub(super) carried: Option<CarriedItem>,
    /// For how many control items, or a publish, the network thread waits briefly before it parks; 0 if
    /// it does not.
    pub(super) awaited: usize,
    /// What the connection begins with, until it is sent.
    pub(super) preamble: VecDeque<Packet>,
    pub(super) controls: VecDeque<Control>,
    pub(super) queue: PublishQueue,
    /// How many messages the network thread has taken and not yet reported on.
    pub(super) in_hand: usize,
    /// The network thread has taken something, and has not come back since.
    pub(super) is_sending: bool,
    pub(super) inflight: Inflight<Completion>,
    pub(super) ids: PacketIds,
    /// The connection's birth message, which waits for the exchange of an earlier one to end; all other
    /// messages wait for it.
    pub(super) birth_due: Option<Outgoing>,
    pub(super) completions: Completions,
    pub(super) ledger: Ledger,
    pub(super) suspicion: Suspicion,
    pub(super) unpromised: Unpromised,
    /// To be dropped when the lock is given back.
    pub(super) garbage: Garbage,
}

impl State {
<<<<<<< HEAD
=======
    /// Takes what may leave now into the batch, up to so many bytes and one packet more.
    pub(super) fn take_batch(
        &mut self,
        max_age: Option<Duration>,
        most_bytes: usize,
        batch: &mut SendBatch,
    ) {
        let mut bytes = 0;
        while bytes < most_bytes {
            if let Some(packet) = self.next_packet() {
                bytes += packet.size();
                batch.push_packet(packet);
                continue;
            }
            self.expire(max_age);
            let Some(packet_id) = self.next_message() else {
                break;
            };
            bytes += self.queue.pop_into(batch, packet_id);
            self.in_hand += 1;
        }
        self.queue.tidy(&mut self.garbage);
        self.is_sending = !batch.is_empty();
    }

    /// Takes the first thing that may leave, to be carried by an engine that needs something to send.
    pub(super) fn take_one(&mut self, max_age: Option<Duration>) -> Option<(Packet, CarriedItem)> {
        if let Some(packet) = self.next_packet() {
            return Some((packet, CarriedItem::Control));
        }
        self.expire(max_age);
        let packet_id = self.next_message()?;
        let (message, pending) = self.queue.pop()?;
        self.queue.tidy(&mut self.garbage);
        let packet = Packet::Publish {
            packet_id,
            duplicate: false,
            message: message.clone(),
        };
        let carried = CarriedItem::Publish {
            packet_id,
            message: Box::new(message),
            pending,
        };
        Some((packet, carried))
    }

    /// The next packet that is not in the queue: what the connection begins with, then control items, then
    /// a birth message that had to wait, then what goes out again one at a time.
    fn next_packet(&mut self) -> Option<Packet> {
        if let Some(packet) = self.preamble.pop_front() {
            return Some(packet);
        }
        self.next_control()
            .or_else(|| self.take_birth())
            .or_else(|| self.next_alone())
    }

    /// Acknowledgements never wait for an identifier.
    fn next_control(&mut self) -> Option<Packet> {
        let at = match self.ids.next() {
            Some(_) => 0,
            None => self.controls.iter().position(|it| !it.takes_id())?,
        };
        let control = self.controls.remove(at)?;
        let id = match control.takes_id() {
            true => self.ids.take_request()?,
            false => 0,
        };
        Some(control.into_packet(id))
    }

    /// While messages go out one at a time: the ping before them, or the next one that was sent before.
    fn next_alone(&mut self) -> Option<Packet> {
        let step = self.suspicion.step(self.is_under_way());
        match step {
            Step::Ping => {
                self.suspicion.pinged();
                Some(Packet::Ping)
            }
            Step::Next => {
                let repeat = self.inflight.next_held()?;
                self.suspicion.sent_alone();
                Some(repeat)
            }
            Step::Free | Step::Wait => None,
        }
    }

    /// Whether the first message of the queue may leave, and its identifier: 0 at QoS 0.
    fn next_message(&mut self) -> Option<u16> {
        let first = self.queue.front()?;
        let (qos, was_sent) = (first.content.qos(), first.pending.was_sent);
        if !self.admits(qos) {
            // A QoS 0 message behind it waits too: order is kept.
            return None;
        }
        if self.suspicion.step(false) == Step::Next {
            match was_sent {
                true => self.suspicion.sent_alone(),
                // All of what was sent before is acknowledged.
                false => self.suspicion.clear(),
            }
        }
        match qos {
            QoS::AtMostOnce => Some(0),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.ids.take_publish(qos),
        }
    }

    /// Takes the control items that can leave before DISCONNECT, up to so many bytes, and forgets the
    /// others. Acknowledgements come first.
    pub(super) fn take_controls(&mut self, most_bytes: usize, batch: &mut SendBatch) {
        let mut bytes = 0;
        let (acknowledgements, others): (Vec<_>, Vec<_>) = self
            .controls
            .drain(..)
            .partition(|control| matches!(control, Control::Acknowledge { .. }));
        for control in acknowledgements.into_iter().chain(others) {
            if control == Control::Disconnect {
                continue;
            }
            let id = match control.takes_id() {
                true => self.ids.take_request(),
                false => Some(0),
            };
            let Some(id) = id else { continue };
            let packet = control.into_packet(id);
            bytes += packet.size();
            if bytes > most_bytes {
                return;
            }
            batch.push_packet(packet);
        }
    }

    /// Takes the birth message that is due. From now on it is in flight. `None` if none is due, or if it
    /// has to wait until the broker has ended the exchange of an earlier one.
    pub(super) fn take_birth(&mut self) -> Option<Packet> {
        let message = self.birth_due.take()?;
        let packet_id = match message.qos {
            QoS::AtMostOnce => Some(0),
            _ if self.inflight.births() >= MOST_BIRTHS => None,
            qos => self.ids.take_publish(qos),
        };
        let Some(packet_id) = packet_id else {
            self.birth_due = Some(message);
            return None;
        };
        if packet_id == 0 {
            self.suspicion.birth_sent();
        } else {
            self.inflight.push(InflightPublish {
                packet_id,
                qos: message.qos,
                owner: None,
                message: None,
                stage: Stage::Sent,
            });
        }
        Some(Packet::Publish {
            packet_id,
            duplicate: false,
            message,
        })
    }

    /// Whether something may leave now.
    pub(super) fn has_next(&self) -> bool {
        !self.preamble.is_empty() || !self.controls.is_empty() || self.admits_next()
    }

    /// Whether a publish waits that may leave.
    pub(super) fn admits_next(&self) -> bool {
        let next = self.queue.front();
        next.is_some_and(|entry| self.admits(entry.content.qos()))
    }

    fn admits(&self, qos: QoS) -> bool {
        let is_held_back = match self.suspicion.step(self.is_under_way()) {
            Step::Free | Step::Next => false,
            Step::Ping | Step::Wait => true,
        };
        !is_held_back && self.birth_due.is_none() && self.ids.admits(qos)
    }

    fn is_under_way(&self) -> bool {
        self.in_hand > 0 || self.inflight.is_under_way()
    }
}

/// Applying: what the network thread has seen.
impl State {
    /// Applies one step. `written` is what a QoS 0 message ends with once it is written.
    pub(super) fn apply(&mut self, step: Progress, written: Disposition) {
        match step {
            Progress::SentOnce(pending) => {
                self.in_hand -= 1;
                self.sent_once(pending, written);
            }
            Progress::Sent {
                packet_id,
                message,
                pending,
            } => {
                self.in_hand -= 1;
                self.sent(packet_id, message, pending);
            }
            Progress::WakeSent => self.carried_sent(written),
            Progress::Acknowledged { packet_id } => {
                self.suspicion.is_blurred = false;
                self.suspicion.birth_read();
                if let Some(publish) = self.inflight.complete(packet_id) {
                    self.end_inflight(publish, Disposition::Acknowledged);
                }
            }
            Progress::Released { packet_id } => {
                self.suspicion.birth_read();
                self.inflight.release(packet_id);
            }
            Progress::Answered { packet_id } => self.ids.free_request(packet_id),
            Progress::PingAnswered => self.suspicion.answered(),
        }
    }

    /// A message of QoS 0 was given to the encoder.
    fn sent_once(&mut self, pending: Pending, written: Disposition) {
        self.suspicion.is_blurred = true;
        self.unpromised.cut_off += u64::from(written == Disposition::ConnectionLost);
        self.end(&pending.completion, written);
    }

    /// A message of QoS 1 or 2 was given to the encoder under this identifier.
    fn sent(&mut self, packet_id: u16, message: Box<Outgoing>, pending: Pending) {
        self.inflight.push(InflightPublish {
            packet_id,
            qos: message.qos,
            owner: Some(pending.completion),
            message: Some(message),
            stage: Stage::Sent,
        });
    }

    /// What the engine carried was given to the encoder.
    fn carried_sent(&mut self, written: Disposition) {
        match self.carried.take() {
            Some(CarriedItem::Publish {
                packet_id: 0,
                message,
                pending,
            }) => {
                self.garbage.messages.push(message);
                self.sent_once(pending, written);
            }
            Some(CarriedItem::Publish {
                packet_id,
                message,
                pending,
            }) => self.sent(packet_id, message, pending),
            Some(CarriedItem::Control) | None => {}
        }
    }

    /// The connection is lost. Says what the end of the connection says of the messages on it.
    pub(super) fn disconnected(
        &mut self,
        unsent: &mut SendBatch,
        wake_unsent: bool,
        ended: ConnectionEnd,
        max_closes: Option<u32>,
    ) -> Verdict {
        match wake_unsent {
            true => self.take_back(),
            false => self.carried_sent(Disposition::ConnectionLost),
        }
        let verdict = self.judge(ended, max_closes);
        for publish in self.inflight.forget_births() {
            self.ids.free_publish(publish.packet_id, publish.qos);
        }
        // The engine panicked with the message in its hands.
        if let Some(pending) = unsent.sent() {
            self.in_hand -= 1;
            self.end(&pending.completion, Disposition::ConnectionLost);
        }
        let mut again = Vec::new();
        while let Some(outbound) = unsent.pop() {
            if let Outbound::Publish { packet_id, message } = outbound {
                let pending = unsent.sent();
                again.extend(pending.map(|pending| (packet_id, Box::new(message), pending)));
            }
        }
        for (packet_id, message, pending) in again.into_iter().rev() {
            self.in_hand -= 1;
            self.put_back(packet_id, message, pending);
        }
        self.ids.free_requests();
        self.is_sending = false;
        self.unsettled = false;
        verdict
    }

    /// What the engine carried was not sent.
    pub(super) fn take_back(&mut self) {
        if let Some(CarriedItem::Publish {
            packet_id,
            message,
            pending,
        }) = self.carried.take()
        {
            self.put_back(packet_id, message, pending);
        }
    }

    /// The engine did not take what it was to carry.
    pub(super) fn refused(&mut self, packet: Packet) {
        let control = match packet {
            Packet::Acknowledge { packet_id, qos } => Control::Acknowledge { packet_id, qos },
            Packet::Subscribe { packet_id, filters } => {
                self.ids.free_request(packet_id);
                Control::Subscribe(filters)
            }
            Packet::Unsubscribe { packet_id, filters } => {
                self.ids.free_request(packet_id);
                Control::Unsubscribe(filters)
            }
            Packet::Disconnect => Control::Disconnect,
            Packet::Publish { .. } | Packet::Release { .. } | Packet::Ping => {
                return self.take_back();
            }
        };
        self.carried = None;
        self.controls.push_front(control);
    }

    /// A message that was taken and not sent. It is older than all that waits, and it was
    /// accepted: the capacity does not count.
    fn put_back(&mut self, packet_id: u16, message: Box<Outgoing>, pending: Pending) {
        self.ids.free_publish(packet_id, message.qos);
        self.queue.put_back(message, pending);
    }

    /// What the end of a connection says of the message that was under way.
    fn judge(&mut self, ended: ConnectionEnd, max_closes: Option<u32>) -> Verdict {
        let first = self.inflight.first_sent();
        let first = first.and_then(|it| {
            let message = it.message.as_deref()?;
            Some(FirstSent {
                completion: it.owner.clone()?,
                topic: message.topic.clone(),
                bytes: message.size(),
                is_only: self.inflight.len() == 1,
            })
        });
        let has_birth = self.inflight.has_birth();
        let n_accepted = self.inflight.accepted();
        let verdict = self
            .suspicion
            .judge(first, has_birth, n_accepted, ended, max_closes);
        if verdict.is_given_up {
            self.give_up(&verdict);
        }
        verdict
    }

    /// The first message that was sent ends.
    fn give_up(&mut self, verdict: &Verdict) {
        let Some(mut publish) = self.inflight.take_first_sent() else {
            return;
        };
        if let (Some(completion), Some(closed_on)) = (&publish.owner, &verdict.closed_on) {
            let topic = closed_on.topic.as_deref().unwrap_or_default();
            completion.name(topic, closed_on.times);
        }
        if publish.qos == QoS::ExactlyOnce {
            // A broker that keeps the session may wait for PUBREL, and until then takes whatever has the
            // same identifier for a repetition.
            self.garbage.messages.extend(publish.message.take());
            if let Some(completion) = publish.owner.take() {
                self.end(&completion, Disposition::GivenUp);
            }
            publish.stage = Stage::Released;
            self.inflight.push_front(publish);
        } else {
            self.end_inflight(publish, Disposition::GivenUp);
        }
    }

    /// The broker has lost the session, and what was in flight with it.
    pub(super) fn session_lost(&mut self, replay: Replay) {
        for publish in self.inflight.take().into_iter().rev() {
            match publish {
                InflightPublish {
                    owner: Some(completion),
                    message: Some(message),
                    ..
                } if replay == Replay::Always => {
                    let pending = Pending {
                        completion,
                        accepted_at: None,
                        was_sent: true,
                    };
                    self.queue.put_back(message, pending);
                }
                publish => {
                    // A birth message is nobody's.
                    let is_chosen = replay == Replay::OnlyWithSession && publish.owner.is_some();
                    self.unpromised.not_repeated += u64::from(is_chosen);
                    self.end_inflight(publish, Disposition::SessionLost);
                }
            }
        }
        self.ids.free_all();
    }
}

/// Ending: each message ends once.
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
    fn end_inflight(&mut self, publish: InflightPublish<Completion>, disposition: Disposition) {
        self.ids.free_publish(publish.packet_id, publish.qos);
        self.garbage.messages.extend(publish.message);
        if let Some(completion) = publish.owner {
            self.end(&completion, disposition);
        }
    }

    /// A message has come to its end.
    fn end(&mut self, completion: &Completion, disposition: Disposition) {
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

>>>>>>> house
    /// Whether everything has gone out and every message has ended. Acknowledgements count: a
    /// broker that does not get them sends its messages again.
    pub(super) fn is_drained(&self) -> bool {
        let is_all_sent = self.preamble.is_empty() && self.controls.is_empty();
        self.in_progress() == 0 && is_all_sent && self.carried.is_none() && !self.is_sending
    }

    pub(super) fn in_progress(&self) -> usize {
        let is_carried = matches!(self.carried, Some(CarriedItem::Publish { .. }));
        self.queue.len() + self.in_hand + usize::from(is_carried) + self.inflight.accepted()
    }

    /// Whether something that may leave waits here while the network thread is parked and nothing
    /// wakes it: a wake-up was lost. Every change is made under the lock, so that looking after
    /// each call sees every state that threads can see.
    #[cfg(test)]
    pub(super) fn is_stuck(&self) -> bool {
        self.network == NetworkThread::Parked && (self.carried.is_some() || self.has_next())
    }
}
