//! The session of one client: what is on its way to it and what of it was already received.
//!
//! A pure state machine: every method says which packets to send, and knows neither sockets nor
//! clocks. Nothing is bounded here but the window: a test kit may use the memory.

use std::collections::{HashSet, VecDeque};

use super::packet::Packet;
use super::router::Message;
use crate::spec::qos::QoS;

/// The state that section 3.1.2.4 of the standard calls the Session state, less the
/// subscriptions, which the router keeps.
#[derive(Debug)]
pub(super) struct Session {
    /// Whether it ends with its connection.
    pub(super) clean: bool,
    /// At most this many messages of QoS 1 and 2 are under way.
    window: usize,
    last_id: u16,
    /// Sent and not acknowledged, in the order of sending: also the order of resending.
    under_way: VecDeque<UnderWay>,
    /// What waits for room in the window, or for the client to come back.
    waiting: VecDeque<Waiting>,
    /// Packet identifiers of QoS 2 messages that were received and not released.
    unreleased: HashSet<u16>,
}

#[derive(Debug)]
struct UnderWay {
    packet_id: u16,
    /// The PUBLISH, until a PUBREC makes a PUBREL of it.
    packet: Packet,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    qos: QoS,
    retain: bool,
}

impl Session {
    pub(super) fn new(clean: bool, window: u16) -> Self {
        Self {
            clean,
            window: usize::from(window.max(1)),
            last_id: 0,
            under_way: VecDeque::new(),
            waiting: VecDeque::new(),
            unreleased: HashSet::new(),
        }
    }

    /// A message for this client. QoS 0 does not wait for the window: the standard orders messages
    /// of one topic and one QoS only, and no real broker makes them wait.
    pub(super) fn deliver(
        &mut self,
        message: &Message,
        qos: QoS,
        retain: bool,
        online: bool,
    ) -> Vec<Packet> {
        if qos == QoS::AtMostOnce {
            return match online {
                true => vec![publish(message, qos, retain, 0)],
                false => Vec::new(),
            };
        }
        self.waiting.push_back(Waiting {
            message: message.clone(),
            qos,
            retain,
        });
        match online {
            true => self.fill(),
            false => Vec::new(),
        }
    }

    /// The client is back: what was not acknowledged goes first, with the identifiers that it had
    /// [MQTT-4.4.0-1].
    pub(super) fn resume(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        for under_way in &mut self.under_way {
            if let Packet::Publish { dup, .. } = &mut under_way.packet {
                *dup = true;
            }
            packets.push(under_way.packet.clone());
        }
        packets.append(&mut self.fill());
        packets
    }

    /// A PUBACK or a PUBCOMP: the identifier is free.
    pub(super) fn completed(&mut self, packet_id: u16) -> Vec<Packet> {
        let position = self.position(packet_id);
        if let Some(position) = position {
            self.under_way.remove(position);
        }
        self.fill()
    }

    /// A PUBREC. One for an unknown identifier is answered too: else a client that is behind a
    /// lost session would wait for ever.
    pub(super) fn received(&mut self, packet_id: u16) -> Vec<Packet> {
        let release = Packet::Pubrel { packet_id };
        if let Some(position) = self.position(packet_id) {
            self.under_way[position].packet = release.clone();
        }
        vec![release]
    }

    /// A QoS 2 message came. False if it came before and was not released yet.
    pub(super) fn is_first(&mut self, packet_id: u16) -> bool {
        self.unreleased.insert(packet_id)
    }

    /// A PUBREL came.
    pub(super) fn release(&mut self, packet_id: u16) {
        self.unreleased.remove(&packet_id);
    }

    fn fill(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while self.under_way.len() < self.window {
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            let packet_id = self.free_id();
            let packet = publish(&next.message, next.qos, next.retain, packet_id);
            packets.push(packet.clone());
            self.under_way.push_back(UnderWay { packet_id, packet });
        }
        packets
    }

    /// There is always one: the window is at most as large as the number of identifiers.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.position(self.last_id).is_none() {
                return self.last_id;
            }
        }
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        self.under_way
            .iter()
            .position(|under_way| under_way.packet_id == packet_id)
    }
}

fn publish(message: &Message, qos: QoS, retain: bool, packet_id: u16) -> Packet {
    Packet::Publish {
        topic: message.topic.clone(),
        qos,
        retain,
        dup: false,
        packet_id,
        payload: message.payload.clone(),
    }
}
