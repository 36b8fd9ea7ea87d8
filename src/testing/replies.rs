//! How packets leave for a client: at once, held back, or late.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{Conn, Outgoing};
use super::faults::PingReply;
use super::packet::Packet;
use super::state::State;

impl State {
    /// The connection that a client is connected with, else one on which its CONNECT is not
    /// answered, the newest of them.
    pub(super) fn conn_of(&self, client: &str) -> Option<&Arc<Conn>> {
        if let Some(link) = self.links.get(client) {
            return Some(&link.conn);
        }
        let conns = self.conns.values();
        conns
            .filter(|conn| conn.client.get().is_some_and(|it| **it == *client))
            .filter(|conn| !conn.is_over())
            .max_by_key(|conn| conn.id)
    }

    /// Sends the acknowledgements that were held back for clients that are no longer to wait.
    pub(super) fn release_held(&mut self) {
        for (client, link) in &mut self.links {
            if !*self.faults.hold.get(client) {
                for packet in link.held.drain(..) {
                    link.conn.send(Outgoing::Packet(packet));
                }
            }
        }
    }

    /// Turns the order of what is held back for a client.
    pub(super) fn reverse_held(&mut self, client: &str) {
        if let Some(link) = self.links.get_mut(client) {
            link.held.reverse();
        }
    }

    pub(super) fn acknowledge(&mut self, client: &str, packet: Packet) {
        match self.links.get_mut(client) {
            Some(link) if *self.faults.hold.get(client) => link.held.push(packet),
            _ => self.send(client, [packet]),
        }
    }

    pub(super) fn answer_ping(&self, client: &str) {
        let due = match *self.faults.ping.get(client) {
            PingReply::Answer => return self.send(client, [Packet::Pingresp]),
            // A time that no clock can show is as never.
            PingReply::Delay(delay) => Instant::now().checked_add(delay),
            PingReply::Never => None,
        };
        if let (Some(due), Some(link)) = (due, self.links.get(client)) {
            link.conn.send(Outgoing::Late(due, Packet::Pingresp));
        }
    }

    pub(super) fn send(&self, client: &str, packets: impl IntoIterator<Item = Packet>) {
        if let Some(link) = self.links.get(client) {
            for packet in packets {
                link.conn.send(Outgoing::Packet(packet));
            }
        }
    }
}
