//! What was sent and is not acknowledged, in the order of the first sending.

use std::collections::VecDeque;

use crate::{
    publish::{message::Outgoing, receipt::Slot},
    spec::qos::QoS,
};

/// A message that the broker has not acknowledged.
#[derive(Debug)]
pub(crate) struct Flying {
    pub(crate) packet_id: u16,
    /// `None`: a birth message, which nobody has a receipt for and which is never repeated.
    pub(crate) slot: Option<Slot>,
    /// The message, where it is ours: a copy for QoS 2 (rumqttc forgets it at PUBREC), and after
    /// a loss the one that rumqttc gave back. In between rumqttc has it.
    pub(crate) message: Option<Box<Outgoing>>,
    /// QoS 2: PUBREC came, PUBREL follows [MQTT-4.3.3-1].
    pub(crate) released: bool,
    /// It is not repeated before its turn.
    pub(crate) is_held: bool,
}

/// What a connection that finds its session again repeats, with the same identifier.
#[derive(Debug)]
pub(crate) enum Repeat {
    /// PUBLISH with `dup` [MQTT-3.3.1-1].
    Publish { packet_id: u16, message: Outgoing },
    /// PUBREL.
    Release { packet_id: u16 },
}

#[derive(Debug, Default)]
pub(crate) struct Flight {
    flying: VecDeque<Flying>,
}

impl Flight {
    pub(crate) fn push(&mut self, flying: Flying) {
        self.flying.push_back(flying);
    }

    /// PUBACK or PUBCOMP. Brokers acknowledge in order, so the front is looked at first.
    pub(crate) fn land(&mut self, packet_id: u16) -> Option<Flying> {
        let at = self.position(packet_id)?;
        self.flying.remove(at)
    }

    /// PUBREC.
    pub(crate) fn release(&mut self, packet_id: u16) {
        if let Some(flying) = self
            .position(packet_id)
            .and_then(|at| self.flying.get_mut(at))
        {
            flying.released = true;
        }
    }

    /// The connection is lost: rumqttc gave this message back.
    pub(crate) fn returned(&mut self, packet_id: u16, message: Outgoing) {
        if let Some(flying) = self
            .position(packet_id)
            .and_then(|at| self.flying.get_mut(at))
        {
            flying.message = Some(Box::new(message));
        }
    }

    /// The connection is lost: birth messages belong to their connection, and the next one begins
    /// with a new one. Returns the identifiers that are free now. One of QoS 2 is not: a broker
    /// that keeps the session waits for PUBREL, and until then takes whatever has the same
    /// identifier for a repetition.
    pub(crate) fn forget_births(&mut self) -> Vec<u16> {
        let mut free = Vec::new();
        self.flying.retain_mut(|flying| {
            if flying.slot.is_some() {
                return true;
            }
            let message = flying.message.take();
            let forgotten = message.is_some_and(|it| it.qos != QoS::ExactlyOnce);
            match forgotten {
                true => free.push(flying.packet_id),
                false => flying.released = true,
            }
            !forgotten
        });
        free
    }

    /// What to repeat on a connection with the same session, in order. Whatever rumqttc did not
    /// give back, which should be nothing, can't be repeated and is returned apart.
    pub(crate) fn repeats(&mut self) -> (Vec<Repeat>, Vec<Flying>) {
        let mut repeats = Vec::with_capacity(self.flying.len());
        let mut lost = Vec::new();
        for mut flying in std::mem::take(&mut self.flying) {
            let packet_id = flying.packet_id;
            if flying.released {
                repeats.push(Repeat::Release { packet_id });
            } else if let Some(message) = flying.message.take() {
                if message.qos == QoS::ExactlyOnce {
                    flying.message = Some(message.clone());
                }
                repeats.push(Repeat::Publish {
                    packet_id,
                    message: *message,
                });
            } else {
                lost.push(flying);
                continue;
            }
            self.flying.push_back(flying);
        }
        (repeats, lost)
    }

    /// As `repeats`, but only PUBREL: each PUBLISH is held until its turn.
    pub(crate) fn hold(&mut self) -> (Vec<Repeat>, Vec<Flying>) {
        let mut repeats = Vec::new();
        let mut lost = Vec::new();
        for mut flying in std::mem::take(&mut self.flying) {
            let packet_id = flying.packet_id;
            if flying.released {
                repeats.push(Repeat::Release { packet_id });
            } else if flying.message.is_none() {
                lost.push(flying);
                continue;
            } else {
                flying.is_held = true;
            }
            self.flying.push_back(flying);
        }
        (repeats, lost)
    }

    /// Repeats the first one that is held.
    pub(crate) fn next_held(&mut self) -> Option<Repeat> {
        let flying = self.flying.iter_mut().find(|it| it.is_held)?;
        flying.is_held = false;
        let message = flying.message.take()?;
        if message.qos == QoS::ExactlyOnce {
            flying.message = Some(message.clone());
        }
        Some(Repeat::Publish {
            packet_id: flying.packet_id,
            message: *message,
        })
    }

    /// Whether a message that somebody accepted is sent and unacknowledged.
    pub(crate) fn is_under_way(&self) -> bool {
        self.flying
            .iter()
            .any(|it| it.slot.is_some() && !it.is_held)
    }

    /// Whether rumqttc has given back a birth message, which was not acknowledged then.
    pub(crate) fn has_birth(&self) -> bool {
        let is_birth = |it: &Flying| it.slot.is_none() && it.message.is_some();
        self.flying.iter().any(is_birth)
    }

    /// Births count, too.
    pub(crate) fn len(&self) -> usize {
        self.flying.len()
    }

    /// The first message that was sent on the connection that has ended, and of which no answer came: its
    /// slot, its topic and its bytes.
    pub(crate) fn first_sent(&self) -> Option<(Slot, String, usize)> {
        let first = self.flying.iter().find(|it| is_suspect(it))?;
        let message = first.message.as_ref()?;
        Some((first.slot.clone()?, message.topic.clone(), message.size()))
    }

    pub(crate) fn take_first_sent(&mut self) -> Option<Flying> {
        let at = self.flying.iter().position(is_suspect)?;
        self.flying.remove(at)
    }

    pub(crate) fn push_front(&mut self, flying: Flying) {
        self.flying.push_front(flying);
    }

    /// Everything, in order; nothing is in flight any more.
    pub(crate) fn take(&mut self) -> VecDeque<Flying> {
        std::mem::take(&mut self.flying)
    }

    /// How many messages are in flight that somebody accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.flying.iter().filter(|it| it.slot.is_some()).count()
    }

    /// How many of them are birth messages.
    pub(crate) fn births(&self) -> usize {
        self.flying.len() - self.accepted()
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        self.flying.iter().position(|it| it.packet_id == packet_id)
    }
}

/// Whether it was sent, and the broker has not answered it.
fn is_suspect(flying: &Flying) -> bool {
    flying.slot.is_some() && !flying.released && !flying.is_held
}
