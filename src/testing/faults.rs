//! How the broker was told to misbehave. Plain data under the lock of the hub.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How a CONNECT is answered.
///
/// ```
/// use mqtt_fleet::testing::{ConnectReply, TestBroker};
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::start()?;
/// broker.on_connect(ConnectReply::Code(3)); // server unavailable, for everybody
/// broker.on_connect_of("gw-1", ConnectReply::Accept); // but for this one
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ConnectReply {
    /// As the standard says. The default.
    #[default]
    Accept,
    /// CONNACK with this return code, then the connection is closed. Any number is sent as it is.
    /// With 0 that is a CONNACK without a session behind it: see [`ConnectReply::AcceptThenKick`].
    Code(u8),
    /// The connection is accepted and read, and nothing is ever answered.
    Never,
    /// The client is connected by the standard, gets CONNACK 0, and is closed at once; its will is
    /// published.
    AcceptThenKick,
    /// The connection is closed without a CONNACK.
    Close,
    /// As `Accept`, after this long. A client that gives up earlier is never connected.
    Delay(Duration),
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) connect: ConnectReply,
    pub(super) connect_of: HashMap<String, ConnectReply>,
    pub(super) hold: bool,
    pub(super) hold_of: HashMap<String, bool>,
    pub(super) refused_filters: HashSet<String>,
    pub(super) never_suback: bool,
    /// Packets that still may come from a client.
    pub(super) cut_after: HashMap<String, usize>,
    /// How long to wait before each read.
    pub(super) read_pauses: HashMap<String, Duration>,
}

impl Faults {
    pub(super) fn reply_to(&self, client: &str) -> ConnectReply {
        self.connect_of.get(client).copied().unwrap_or(self.connect)
    }

    pub(super) fn holds(&self, client: &str) -> bool {
        self.hold_of.get(client).copied().unwrap_or(self.hold)
    }

    /// Counts a packet of a client. True if it was the last one before the cut.
    pub(super) fn cuts(&mut self, client: &str) -> bool {
        let Some(left) = self.cut_after.get_mut(client) else {
            return false;
        };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        self.cut_after.remove(client);
        true
    }
}
