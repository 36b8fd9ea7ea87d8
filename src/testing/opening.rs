//! A CONNECT, and whether the broker's settings let it in.
//!
//! Here a password is looked at; nothing in this file can be printed with one in it.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::Conn;
use super::packet::{Packet, WillMessage};

/// What is fixed when a broker starts.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) window: u16,
    pub(super) max_packet_size: usize,
    /// Password by user name; empty lets everybody in.
    pub(super) logins: HashMap<String, String>,
}

/// Without the passwords.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("window", &self.window)
            .field("max_packet_size", &self.max_packet_size)
            .field("users", &self.logins.keys())
            .finish()
    }
}

/// A CONNECT that is being answered. No `Debug`: it holds the password.
pub(super) struct Opening {
    pub(super) client: Arc<str>,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) will: Option<WillMessage>,
    username: Option<String>,
    password: Option<String>,
    has_id: bool,
}

impl Opening {
    /// A client without an id gets one made of its connection's number.
    pub(super) fn new(conn: &Conn, packet: &Packet, password: Option<String>) -> Option<Self> {
        let Packet::Connect {
            client_id,
            clean_session,
            keep_alive,
            username,
            will,
            has_password: _,
        } = packet
        else {
            return None;
        };
        let client = match client_id.as_str() {
            "" => format!("broker-assigned-{}", conn.id).into(),
            client_id => client_id.into(),
        };
        Some(Self {
            client,
            clean: *clean_session,
            keep_alive: *keep_alive,
            username: username.clone(),
            password,
            will: will.clone(),
            has_id: !client_id.is_empty(),
        })
    }

    /// The CONNACK code for a client that may not connect.
    pub(super) fn refusal(&self, settings: &Settings) -> Option<u8> {
        if !self.has_id && !self.clean {
            return Some(2);
        }
        if settings.logins.is_empty() {
            return None;
        }
        let Some(username) = &self.username else {
            return Some(5);
        };
        let expected = settings.logins.get(username);
        let is_right = expected.is_some() && expected == self.password.as_ref();
        (!is_right).then_some(4)
    }
}
