//! What a subject is told to be.

use crate::{Result, arguments::Arguments};

/// Keep alive of every client, in seconds: long enough that none is sent while it is measured.
pub(crate) const KEEP_ALIVE: u16 = 60;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They receive; also where nothing is sent at all.
    Receive,
    Publish,
    /// The first one publishes and waits for the echo, in turn.
    Echo,
}

pub(crate) struct Job {
    pub(crate) kind: Kind,
    /// The instrument's ports.
    pub(crate) port: u16,
    pub(crate) credit: u16,
    pub(crate) clients: usize,
    pub(crate) qos: u8,
    /// At most this many messages of QoS 1 are unacknowledged on a connection.
    pub(crate) window: u16,
    pub(crate) payload: usize,
    /// Of ours; without any, the caller takes the messages.
    pub(crate) workers: usize,
    pub(crate) paced: bool,
    /// The QoS 0 messages of a client that may wait to be handled; 0: no credit is given.
    pub(crate) share: u64,
}

impl Job {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        let kind = match arguments.text("kind") {
            Some("receive") => Kind::Receive,
            Some("publish") => Kind::Publish,
            Some("echo") => Kind::Echo,
            other => return Err(format!("unknown kind {other:?}").into()),
        };
        Ok(Self {
            kind,
            port: arguments.number("port", 0)?,
            credit: arguments.number("credit", 0)?,
            clients: arguments.number("clients", 1)?,
            qos: arguments.number("qos", 0)?,
            window: arguments.number("window", 100)?,
            payload: arguments.number("payload", 64)?,
            workers: arguments.number("workers", 1)?,
            paced: arguments.number::<u8>("paced", 0)? > 0,
            share: arguments.number("share", 0)?,
        })
    }
}
