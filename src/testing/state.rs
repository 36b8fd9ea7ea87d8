//! What the broker knows, and how it answers packets: all that the hub's lock guards.
//!
//! Joins sessions, router and faults to connections. Sending is putting a packet into a
//! connection's queue, which never blocks; it happens under the lock because the order of the
//! queue is the order in which clients get their messages.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::{Conn, Link, Outgoing};
use super::faults::Faults;
use super::packet::{Packet, WillMessage};
use super::router::{Message, Router};
use super::session::Session;
use crate::spec::qos::QoS;
use crate::spec::topic::check_filter;
use crate::spec::topic::check_topic;

/// The SUBACK code of a refused filter.
const REFUSED: u8 = 0x80;

/// Everything under the lock of the hub.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) running: bool,
    pub(super) faults: Faults,
    /// By connection number: also those without a CONNECT, or without an answer to it.
    pub(super) conns: HashMap<u64, Arc<Conn>>,
    /// The connected clients.
    pub(super) links: HashMap<Arc<str>, Link>,
    sessions: HashMap<Arc<str>, Session>,
    router: Router,
}

/// What a reader has to do after a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Read,
    /// The client broke the protocol, or said DISCONNECT.
    Close,
}

impl State {
    /// Connects a client. Returns the connection that it takes over, which is to be closed.
    pub(super) fn attach(
        &mut self,
        conn: &Arc<Conn>,
        client: &Arc<str>,
        session: Session,
        will: Option<WillMessage>,
    ) -> Option<Arc<Conn>> {
        let taken_over = self.end(client);
        let clean = session.clean;
        if clean {
            self.forget(client);
        }
        let session_present = self.sessions.contains_key(client);
        let session = self.sessions.entry(client.clone()).or_insert(session);
        conn.send(Outgoing::Packet(Packet::Connack {
            session_present,
            code: 0,
        }));
        for packet in session.resume() {
            conn.send(Outgoing::Packet(packet));
        }
        self.links.insert(client.clone(), Link::new(conn, will));
        taken_over
    }

    /// Ends a client's connection: its will is published, a clean session is forgotten.
    pub(super) fn end(&mut self, client: &Arc<str>) -> Option<Arc<Conn>> {
        let link = self.links.remove(client)?;
        link.conn.leave();
        if self.sessions.get(client).is_some_and(|it| it.clean) {
            self.forget(client);
        }
        if let Some(will) = link.will {
            self.route(&Message {
                topic: will.topic,
                qos: will.qos,
                retain: will.retain,
                payload: will.payload,
            });
        }
        Some(link.conn)
    }

    /// The broker goes down like one that was killed: no will is published.
    pub(super) fn shut(&mut self) -> Vec<Arc<Conn>> {
        self.running = false;
        for link in self.links.drain().map(|(_, link)| link) {
            link.conn.leave();
        }
        self.sessions.retain(|client, session| {
            if session.clean {
                self.router.forget(client);
            }
            !session.clean
        });
        self.conns.values().cloned().collect()
    }

    /// Forgets sessions, subscriptions and retained messages.
    pub(super) fn lose(&mut self) {
        self.sessions.clear();
        self.router = Router::default();
    }

    /// Whether this connection is the one that its client is connected with.
    pub(super) fn is_linked(&self, conn: &Conn) -> bool {
        self.links
            .get(conn.client())
            .is_some_and(|link| link.conn.id == conn.id)
    }

    /// Answers a packet of a connected client.
    pub(super) fn handle(&mut self, client: &Arc<str>, packet: Packet) -> Answer {
        match packet {
            Packet::Publish {
                topic,
                qos,
                retain,
                packet_id,
                payload,
                dup: _,
            } => {
                if check_topic(&topic).is_err() {
                    return Answer::Close;
                }
                let message = Message {
                    topic,
                    qos,
                    retain,
                    payload,
                };
                self.published(client, &message, packet_id);
            }
            Packet::Puback { packet_id } | Packet::Pubcomp { packet_id } => {
                self.progress(client, |session| session.completed(packet_id));
            }
            Packet::Pubrec { packet_id } => {
                self.progress(client, |session| session.received(packet_id));
            }
            Packet::Pubrel { packet_id } => {
                if let Some(session) = self.sessions.get_mut(client) {
                    session.release(packet_id);
                }
                self.acknowledge(client, Packet::Pubcomp { packet_id });
            }
            Packet::Subscribe { packet_id, filters } => {
                return self.subscribe(client, packet_id, &filters);
            }
            Packet::Unsubscribe { packet_id, filters } => {
                if packet_id == 0 || filters.is_empty() {
                    return Answer::Close;
                }
                for filter in &filters {
                    self.router.unsubscribe(client, filter);
                }
                self.send(client, [Packet::Unsuback { packet_id }]);
            }
            Packet::Pingreq => self.answer_ping(client),
            Packet::Disconnect => {
                if let Some(link) = self.links.get_mut(client) {
                    link.will = None;
                }
                return Answer::Close;
            }
            // A second CONNECT, or what only a broker sends.
            _ => return Answer::Close,
        }
        Answer::Read
    }

    /// Sends a message to all who subscribed to it, and keeps it if it is to be retained.
    pub(super) fn route(&mut self, message: &Message) {
        if message.retain {
            self.router.retain(message);
        }
        let links = &self.links;
        let receivers = self
            .router
            .receivers(&message.topic, |client| links.contains_key(client));
        for (client, granted) in receivers {
            let online = self.links.contains_key(&client);
            let qos = granted.min(message.qos);
            self.progress(&client, |session| {
                session.deliver(message, qos, false, online)
            });
        }
    }

    fn published(&mut self, client: &Arc<str>, message: &Message, packet_id: u16) {
        let is_new = message.qos != QoS::ExactlyOnce
            || self
                .sessions
                .get_mut(client)
                .is_some_and(|session| session.is_first(packet_id));
        if is_new {
            self.route(message);
        }
        match message.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.acknowledge(client, Packet::Puback { packet_id }),
            QoS::ExactlyOnce => self.acknowledge(client, Packet::Pubrec { packet_id }),
        }
    }

    fn subscribe(
        &mut self,
        client: &Arc<str>,
        packet_id: u16,
        filters: &[(String, QoS)],
    ) -> Answer {
        let is_invalid = |(filter, _): &(String, QoS)| check_filter(filter).is_err();
        if packet_id == 0 || filters.iter().any(is_invalid) {
            return Answer::Close;
        }
        let mut codes = Vec::new();
        let mut retained = Vec::new();
        for (filter, qos) in filters {
            if self.faults.refused_filters.contains(filter) {
                codes.push(REFUSED);
                continue;
            }
            let most = self.faults.lowered_filters.get(filter);
            let granted = most.map_or(*qos, |most| *most.min(qos));
            codes.push(granted.into());
            self.router.subscribe(client, filter, granted);
            let messages = self.router.retained(filter);
            retained.extend(messages.into_iter().map(|message| (message, granted)));
        }
        if !self.faults.never_suback {
            self.send(client, [Packet::Suback { packet_id, codes }]);
        }
        for (message, granted) in retained {
            let qos = granted.min(message.qos);
            self.progress(client, |session| session.deliver(&message, qos, true, true));
        }
        Answer::Read
    }

    /// Lets a session go on and sends what it says.
    fn progress(&mut self, client: &str, step: impl FnOnce(&mut Session) -> Vec<Packet>) {
        if let Some(session) = self.sessions.get_mut(client) {
            let packets = step(session);
            self.send(client, packets);
        }
    }

    fn forget(&mut self, client: &Arc<str>) {
        self.sessions.remove(client);
        self.router.forget(client);
    }
}
