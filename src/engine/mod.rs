//! One connection to a broker, seen from the client: packets go in, events come out.
//!
//! [`Engine`] is written for several implementations. Nothing outside of one knows its codec, how it waits,
//! or how it is woken. The road out is [`Engine::send`], then [`Engine::flush`]; the road in is
//! [`Engine::next`], then [`Engine::buffered`] and [`Engine::try_read`].
//!
//! - `iter/`: rumqttc's `Connection::iter()`, for MQTT 3.1.1 on a thread for each client.

pub(crate) mod iter;

use std::time::{Duration, Instant};

use crate::{
    observe::cause::Cause,
    outbox::CarriedSize,
    session::packet::{Packet, Received},
    spec::{address::Address, qos::QoS},
    transport::resolve::Target,
};

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    Received(Received),
    /// PUBACK or PUBCOMP: the publish is complete.
    Acknowledged {
        packet_id: u16,
    },
    /// PUBREC: the broker has our QoS 2 message. The engine answers with PUBREL.
    Released {
        packet_id: u16,
    },
    /// PUBREL: the broker knows that we have its QoS 2 message. The engine answers with PUBCOMP.
    Completed {
        packet_id: u16,
    },
    Subscribed {
        packet_id: u16,
        /// Of each filter the quality of service that it is granted, or `None` if it is refused.
        granted: Vec<Option<QoS>>,
    },
    Unsubscribed {
        packet_id: u16,
    },
    /// PINGRESP: the broker has read all that was sent before the ping.
    PingAnswered,
    /// What was carried with a wake-up was sent.
    WakeSent(WakePacket),
}

/// The kind of packet that was carried with a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakePacket {
    Subscribe { packet_id: u16 },
    Unsubscribe { packet_id: u16 },
    Disconnect,
    Other,
}

/// What the thread may have to do while it waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wait {
    /// It has to return then.
    pub(crate) until: Option<Instant>,
    /// What is on its way to the engine with a wake-up. `None`: nothing yet, and another thread may hand
    /// over a packet of any size meanwhile.
    pub(crate) carries: Option<CarriedSize>,
}

/// One client's connections, one after the other. Belongs to the network thread.
pub(crate) trait Engine {
    /// Where the next attempt goes, and as whom.
    fn set_target(&mut self, address: &Address, target: Target, login: Option<(String, String)>);

    /// The attempt is over: user name and password are needed no longer.
    fn forget_login(&mut self);

    /// Blocks for one attempt to connect, bounded by the connect timeout. Says whether the broker has the
    /// session.
    fn connect(&mut self) -> Result<bool, Cause>;

    /// How many bytes may be sent, and one packet more, before a flush.
    fn room(&self) -> usize;

    /// Gives a packet to the encoder. It leaves with the next flush. Never waits. After an error the
    /// connection is lost.
    fn send(&mut self, packet: Packet) -> Result<(), Cause>;

    /// Writes what was sent. Never waits: what the system does not take now, `next` goes on with, see
    /// `is_behind`.
    fn flush(&mut self) -> Result<(), Cause>;

    /// Whether a flush is not done. Nothing may be sent until it is: `next` goes on with it.
    fn is_behind(&self) -> bool;

    /// Blocks until something happens, the thread is woken, or the wait is over. Behind a flush that is not
    /// done it returns after a few milliseconds at most.
    fn next(&mut self, wait: Wait) -> Result<Option<Event>, Cause>;

    /// What else happened in the same wake-up.
    fn buffered(&mut self) -> Option<Event>;

    /// What has arrived since, up to a bound. Never waits. To be called when all events of `next` are taken.
    /// `end_read` has to follow.
    fn try_read(&mut self) -> Result<Option<Event>, Cause>;

    /// Writes what the engine has answered by itself to what was read.
    fn end_read(&mut self) -> Result<(), Cause>;

    /// Whether pieces of a packet have come since this was asked last, or since a packet came.
    fn moves(&mut self) -> bool;

    /// For how long a line may not move.
    fn patience(&self) -> Duration;

    /// The identifier that a packet carried with a wake-up would get. `None` if the engine carries none.
    fn next_id(&self) -> Option<u16>;

    /// Makes this the next identifier.
    fn set_next_id(&mut self, id: u16);

    /// DISCONNECT is written: reads on until the broker closes, as it must [MQTT-3.14.4-3], and at most for
    /// a moment.
    fn await_close(&mut self, on_event: &mut dyn FnMut(Event));

    /// Closes the socket. Says whether something that was carried with a wake-up was not sent.
    fn close(&mut self) -> bool;
}
