//! One client's rumqttc, and what is known of its connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Wake,
    time::{Duration, Instant},
};

use rumqttc::Packet;

use crate::{
    engine::iter::{budget::Budget, cause::Context, line::Line},
    spec::{address::Address, settings::Settings},
    transport::{resolve::Target, tls::TlsConfig},
};

/// One client's rumqttc.
pub(crate) struct IterEngine {
    pub(super) connection: rumqttc::Connection,
    pub(super) settings: Settings,
    /// For the brokers that are spoken to over TLS.
    pub(super) tls: Option<TlsConfig>,
    /// Where the current attempt or connection goes.
    pub(super) target: Option<(Address, Target)>,
    /// What errors are read with.
    pub(super) context: Context,
    /// How many packet identifiers rumqttc has.
    pub(super) ids: u16,
    /// The next one that it would give.
    pub(super) next_id: u16,
    /// What was given to the encoder since the last flush that was done.
    pub(super) unflushed_bytes: usize,
    /// rumqttc has answered a packet, and the answer is not flushed.
    pub(super) has_answered: bool,
    /// What was read since answers were last flushed.
    pub(super) budget: Budget,
    /// Whether bytes come, and whether the broker answers pings.
    pub(super) line: Line,
    /// A flush is not done: the system takes no more bytes for now.
    pub(super) behind: Option<Behind>,
}

/// A flush that is not done.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) since: Instant,
    /// When the socket last took bytes.
    pub(super) moved_at: Instant,
    pub(super) room: Arc<SocketRoom>,
    /// How often the socket had room until then.
    pub(super) seen: u64,
    pub(super) turn: Duration,
    /// More than 8 KiB may be in the encoder.
    pub(super) is_large: bool,
    /// rumqttc's own answers that found the encoder full.
    pub(super) owed: Vec<Packet>,
}

/// Woken each time the socket has room again.
#[derive(Debug, Default)]
pub(super) struct SocketRoom(pub(super) AtomicU64);

impl Wake for SocketRoom {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
