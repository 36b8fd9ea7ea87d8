//! How the broker was told to misbehave. Plain data under the lock of the hub.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::delivery::{Delivery, Pick, Pieces};
use crate::spec::qos::QoS;

/// How a CONNECT is answered. With bytes that are no CONNACK: [`TestBroker::on_connect_raw`].
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
///
/// [`TestBroker::on_connect_raw`]: super::TestBroker::on_connect_raw
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ConnectReply {
    /// As the standard says. The default.
    #[default]
    Accept,
    /// CONNACK with this return code, then the connection is closed. Any number is sent as it is.
    /// With 0 that is a CONNACK without a session behind it: see [`ConnectReply::AcceptThenKick`].
    Code(u8),
    /// The connection is accepted and read, and nothing is ever answered. To a client this is also
    /// a broker that has stopped calling `accept`: the system completes the connection and takes
    /// the CONNECT all the same.
    Never,
    /// The client is connected by the standard, gets CONNACK 0, and is closed at once; its will is
    /// published.
    AcceptThenKick,
    /// The connection is closed without a CONNACK.
    Close,
    /// As `Accept`, after this long. A client that gives up earlier is never connected.
    Delay(Duration),
}

/// How a PINGREQ is answered.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::testing::{PingReply, TestBroker};
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::start()?;
/// broker.on_ping(PingReply::Delay(Duration::from_millis(300))); // a slow line, for everybody
/// broker.on_ping_of("gw-1", PingReply::Never); // this one loses its keep alive
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PingReply {
    /// At once. The default.
    #[default]
    Answer,
    /// PINGRESP after this long. Other packets overtake it. It is dropped if the connection ends
    /// before.
    Delay(Duration),
    /// No PINGRESP. The broker counts the PINGREQ as a sign of life all the same.
    Never,
}

/// [`ConnectReply`], or bytes.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    As(ConnectReply),
    Raw(Bytes),
}

impl Default for Reply {
    fn default() -> Self {
        Self::As(ConnectReply::default())
    }
}

/// A setting for everybody, and for single clients whatever holds for the others.
#[derive(Debug, Default)]
pub(super) struct PerClient<T> {
    pub(super) all: T,
    pub(super) of: HashMap<String, T>,
}

impl<T> PerClient<T> {
    pub(super) fn get(&self, client: &str) -> &T {
        self.of.get(client).unwrap_or(&self.all)
    }
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) connect: PerClient<Reply>,
    pub(super) hold: PerClient<bool>,
    pub(super) ping: PerClient<PingReply>,
    pub(super) pieces: PerClient<Pieces>,
    pub(super) twice: PerClient<Option<Pick>>,
    pub(super) refused_filters: HashSet<String>,
    /// What they are granted at most.
    pub(super) lowered_filters: HashMap<String, QoS>,
    pub(super) never_suback: bool,
    /// Packets that still may come from a client.
    pub(super) cut_after: HashMap<String, usize>,
    /// Bytes that still may go to a client.
    pub(super) cut_after_to: HashMap<String, usize>,
    /// Bytes that still may come from a client.
    pub(super) cut_after_from: HashMap<String, usize>,
    /// How long to wait before each read.
    pub(super) read_pauses: HashMap<String, Duration>,
}

impl Faults {
    /// Counts a packet of a client. True if it was the last one before the cut.
    pub(super) fn cuts(&mut self, client: &str) -> bool {
        cut_within(&mut self.cut_after, client, 1).is_some()
    }

    /// What concerns the writing to a client.
    pub(super) fn delivery(&self, client: &str) -> Delivery {
        Delivery {
            pieces: self.pieces.get(client).clone(),
            twice: self.twice.get(client).clone(),
            is_counted: self.cut_after_to.contains_key(client),
        }
    }
}

/// Takes `amount` off what a client has left. If it has no more than that, the cut comes after what
/// is returned, and is forgotten.
pub(super) fn cut_within(
    left: &mut HashMap<String, usize>,
    client: &str,
    amount: usize,
) -> Option<usize> {
    let until_cut = left.get_mut(client)?;
    if *until_cut > amount {
        *until_cut -= amount;
        return None;
    }
    left.remove(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_comes_after_exactly_as_much_as_was_set() {
        let mut left = HashMap::from([("c".to_owned(), 5)]);
        assert_eq!(cut_within(&mut left, "other", 9), None);
        assert_eq!(cut_within(&mut left, "c", 2), None);
        assert_eq!(cut_within(&mut left, "c", 0), None);
        assert_eq!(cut_within(&mut left, "c", 4), Some(3));
        assert_eq!(cut_within(&mut left, "c", 4), None, "it cuts once");
        for (set, came) in [(3, 3), (0, 3)] {
            left.insert("c".to_owned(), set);
            assert_eq!(cut_within(&mut left, "c", came), Some(set));
        }
    }
}
