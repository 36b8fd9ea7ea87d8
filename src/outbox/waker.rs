//! What wakes a network thread that is parked inside its engine, and what an engine carries with a wake-up.

use crate::{
    outbox::entry::Pending,
    session::packet::{Outgoing, Packet},
};

/// Wakes a network thread. Called under the outbox's lock, so that it never waits.
pub(crate) trait Waker: Send {
    /// Wakes the thread, if that can be done without something to send. Says whether it was.
    fn wake(&self) -> bool;

    /// Wakes the thread with this packet, which is sent before anything else. Gives it back if it was not
    /// taken, and then nobody is woken. The identifier of a packet that has one is the next one of
    /// the session.
    fn wake_with(&self, packet: Packet) -> Result<(), Packet>;
}

/// What an engine carries that can't be woken without a packet to send. Nothing else is taken until it is
/// sent.
#[derive(Debug)]
pub(super) enum CarriedItem {
    /// With its bytes on the wire.
    Control(usize),
    /// The message itself is with the engine; this is a copy, should it come back.
    Publish {
        packet_id: u16,
        message: Box<Outgoing>,
        pending: Pending,
    },
}

/// Below this a packet goes out at once on any line.
const SMALL: usize = 8 * 1024;

/// How much an engine carries with a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarriedSize {
    /// What goes out at once on any line.
    Small,
    Large,
}

impl CarriedItem {
    pub(super) fn size(&self) -> CarriedSize {
        match self {
            Self::Publish { message, .. } if message.size() >= SMALL => CarriedSize::Large,
            Self::Control(size) if *size >= SMALL => CarriedSize::Large,
            Self::Publish { .. } | Self::Control(_) => CarriedSize::Small,
        }
    }
}
