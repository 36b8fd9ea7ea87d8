//! What was sent and is not acknowledged, in the order of the first sending.

use std::{collections::VecDeque, mem};

use crate::{
    session::packet::{Outgoing, Packet},
    spec::qos::QoS,
};

/// How far the exchange of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was sent on this connection, or will be repeated on the next one.
    Sent,
    /// A connection has begun, and it is not repeated before its turn.
    Held,
    /// QoS 2: PUBREC came, PUBREL follows [MQTT-4.3.3-1].
    Released,
}

/// A message that the broker has not acknowledged. `T` is what its owner keeps beside it.
#[derive(Debug)]
pub(crate) struct InflightPublish<T> {
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    /// `None`: a birth message, which nobody has a receipt for and which is never repeated.
    pub(crate) owner: Option<T>,
    /// Kept until the exchange is complete, because the session may be lost. `None` for a birth message,
    /// and for one of QoS 2 that was given up and waits for PUBCOMP alone.
    pub(crate) message: Option<Box<Outgoing>>,
    pub(crate) stage: Stage,
}

/// The publishes of QoS 1 and 2 that are under way, and what a new connection repeats of them.
#[derive(Debug)]
pub(crate) struct Inflight<T> {
    publishes: VecDeque<InflightPublish<T>>,
}

impl<T> Default for Inflight<T> {
    fn default() -> Self {
        Self {
            publishes: VecDeque::new(),
        }
    }
}

impl<T> Inflight<T> {
    pub(crate) fn push(&mut self, publish: InflightPublish<T>) {
        self.publishes.push_back(publish);
    }

    /// PUBACK or PUBCOMP. Brokers acknowledge in order, so the front is looked at first.
    pub(crate) fn complete(&mut self, packet_id: u16) -> Option<InflightPublish<T>> {
        let at = self.position(packet_id)?;
        self.publishes.remove(at)
    }

    /// PUBREC.
    pub(crate) fn release(&mut self, packet_id: u16) {
        let at = self.position(packet_id);
        if let Some(publish) = at.and_then(|at| self.publishes.get_mut(at)) {
            publish.stage = Stage::Released;
        }
    }

    /// The connection is lost: birth messages belong to their connection, and the next one begins
    /// with a new one. Returns those that are forgotten. One of QoS 2 is not: a broker that keeps the
    /// session waits for PUBREL, and until then takes whatever has the same identifier for a repetition.
    pub(crate) fn forget_births(&mut self) -> Vec<InflightPublish<T>> {
        let mut forgotten = Vec::new();
        for mut publish in mem::take(&mut self.publishes) {
            match (&publish.owner, publish.qos) {
                (None, QoS::AtMostOnce | QoS::AtLeastOnce) => forgotten.push(publish),
                (None, QoS::ExactlyOnce) => {
                    publish.stage = Stage::Released;
                    self.publishes.push_back(publish);
                }
                (Some(_), _) => self.publishes.push_back(publish),
            }
        }
        forgotten
    }

    /// What a connection that finds its session again repeats, in order, with the same identifiers:
    /// PUBLISH as a duplicate, PUBREL for what is released.
    pub(crate) fn repeats(&mut self) -> Vec<Packet> {
        let repeated = self.publishes.iter_mut().filter_map(|publish| {
            publish.repeat_later();
            publish.repeat()
        });
        repeated.collect()
    }

    /// As `repeats`, but only PUBREL: each PUBLISH is held until its turn.
    pub(crate) fn hold(&mut self) -> Vec<Packet> {
        let mut releases = Vec::new();
        for publish in &mut self.publishes {
            match publish.stage {
                Stage::Released => releases.extend(publish.repeat()),
                Stage::Sent | Stage::Held => publish.stage = Stage::Held,
            }
        }
        releases
    }

    /// Repeats the first one that is held.
    pub(crate) fn next_held(&mut self) -> Option<Packet> {
        let mut publishes = self.publishes.iter_mut();
        let publish = publishes.find(|it| it.stage == Stage::Held)?;
        publish.repeat_later();
        publish.repeat()
    }

    /// Whether a message that somebody accepted is sent and unacknowledged.
    pub(crate) fn is_under_way(&self) -> bool {
        let mut publishes = self.publishes.iter();
        publishes.any(|it| it.owner.is_some() && it.stage != Stage::Held)
    }

    /// Whether a birth message is not acknowledged.
    pub(crate) fn has_birth(&self) -> bool {
        let is_birth = |it: &InflightPublish<T>| it.owner.is_none() && it.stage == Stage::Sent;
        self.publishes.iter().any(is_birth)
    }

    /// Births count, too.
    pub(crate) fn len(&self) -> usize {
        self.publishes.len()
    }

    /// The first message that was sent on the connection that has ended, and of which no answer came.
    pub(crate) fn first_sent(&self) -> Option<&InflightPublish<T>> {
        self.publishes.iter().find(|it| it.is_unanswered())
    }

    pub(crate) fn take_first_sent(&mut self) -> Option<InflightPublish<T>> {
        let at = self.publishes.iter().position(|it| it.is_unanswered())?;
        self.publishes.remove(at)
    }

    pub(crate) fn push_front(&mut self, publish: InflightPublish<T>) {
        self.publishes.push_front(publish);
    }

    /// Everything, in order; nothing is in flight any more.
    pub(crate) fn take(&mut self) -> VecDeque<InflightPublish<T>> {
        mem::take(&mut self.publishes)
    }

    /// How many messages are in flight that somebody accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.publishes
            .iter()
            .filter(|it| it.owner.is_some())
            .count()
    }

    /// How many of them are birth messages.
    pub(crate) fn births(&self) -> usize {
        self.len() - self.accepted()
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        let mut publishes = self.publishes.iter();
        publishes.position(|it| it.packet_id == packet_id)
    }
}

impl<T> InflightPublish<T> {
    /// Whether it was sent, and the broker has not answered it.
    fn is_unanswered(&self) -> bool {
        self.owner.is_some() && self.stage == Stage::Sent
    }

    fn repeat_later(&mut self) {
        if self.stage == Stage::Held {
            self.stage = Stage::Sent;
        }
    }

    fn repeat(&self) -> Option<Packet> {
        let packet_id = self.packet_id;
        match self.stage {
            Stage::Released => Some(Packet::Release { packet_id }),
            Stage::Sent | Stage::Held => Some(Packet::Publish {
                packet_id,
                duplicate: true,
                message: self.message.as_deref()?.clone(),
            }),
        }
    }
}
