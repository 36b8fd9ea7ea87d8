//! Taking from the outbox: what may leave next.

use std::time::Duration;

use crate::{
    outbox::{send_batch::SendBatch, state::State, suspicion::Step, waker::CarriedItem},
    session::{
        inflight::{InflightPublish, Stage},
        packet::{Control, Packet},
        packet_ids::MOST_BIRTHS,
    },
    spec::qos::QoS,
};

impl State {
    /// Takes what may leave now into the batch, up to this many bytes and one packet more.
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
            let size = packet.size();
            return Some((packet, CarriedItem::Control(size)));
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

    /// Takes the control items that can leave before DISCONNECT, up to this many bytes, and forgets the
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

    pub(super) fn admits(&self, qos: QoS) -> bool {
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
