//! What the outbox has done with: it is dropped when the lock has been given back.

use std::collections::VecDeque;

use crate::{
    outbox::{completion::Woken, packing::Entry},
    session::packet::Outgoing,
    supervise::panic::discard,
};

/// What nobody needs any longer and nobody has dropped yet: a payload may be of the user's own type,
/// whose `Drop` may call us, and large memory takes its time.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    #[expect(clippy::vec_box, reason = "they are boxed already: this moves a word")]
    pub(super) messages: Vec<Box<Outgoing>>,
    /// What queues have given back. Nothing waits in these any more.
    pub(super) memory: Vec<(VecDeque<Entry>, VecDeque<u8>)>,
    /// Those that waited for messages which have ended.
    pub(super) woken: Woken,
}

impl Drop for Garbage {
    /// Each by itself: the `Drop` of a payload may panic.
    fn drop(&mut self) {
        self.messages.drain(..).for_each(discard);
    }
}
