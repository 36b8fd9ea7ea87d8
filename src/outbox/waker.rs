//! What wakes a network thread that is parked inside its engine.

use crate::session::packet::Packet;

/// Wakes a network thread. Called under the outbox's lock, so that it never waits.
pub(crate) trait Waker: Send {
    /// Wakes the thread, if that can be done without something to send. Says whether it was.
    fn wake(&self) -> bool;

    /// Wakes the thread with this packet, which is sent before anything else. Gives it back if it was not
    /// taken, and then nobody is woken. The identifier of a packet that has one is the next one of
    /// the session.
    fn wake_with(&self, packet: Packet) -> Result<(), Packet>;
}
