//! The unacknowledged messages of one client, shared by its network thread and the workers.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::session::ack_order::{AckOrder, Acknowledgement, Reception, Ticket};

/// Where released acknowledgements go, in their order: one and, in the same call, those that
/// follow. It must not wait and must not come back here.
pub(crate) type Release = Box<dyn Fn(&[Acknowledgement]) + Send + Sync>;

/// An [`AckOrder`] behind a lock. What is released leaves under it: two workers that finish at once must not
/// swap their releases.
pub(crate) struct AckQueue {
    order: Mutex<AckOrder>,
    release: Release,
    /// Tickets below this number are of earlier connections of the current session. Relaxed: a
    /// worker that sees it late handles one more message twice, as QoS 1 allows.
    superseded: AtomicU64,
}

impl AckQueue {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            order: Mutex::default(),
            release,
            superseded: AtomicU64::new(0),
        }
    }

    /// A message came, and there is a place for it or not.
    pub(crate) fn received(&self, acknowledgement: Acknowledgement, has_place: bool) -> Reception {
        let mut order = self.order.lock();
        order.received(acknowledgement, has_place, &self.release)
    }

    /// A message is handled.
    pub(crate) fn handled(&self, ticket: Ticket) {
        self.order.lock().handled(ticket, &self.release);
    }

    /// PUBREL came.
    pub(crate) fn completed(&self, packet_id: u16) {
        self.order.lock().completed(packet_id);
    }

    /// The connection is lost.
    pub(crate) fn forget(&self) {
        self.order.lock().forget();
    }

    /// A connection found its session: the broker sends again what was not acknowledged.
    pub(crate) fn session_kept(&self) {
        let first = self.order.lock().first();
        self.superseded.store(first, Ordering::Relaxed);
    }

    /// The session is lost.
    pub(crate) fn forget_session(&self) {
        self.order.lock().forget_session();
    }

    /// Whether a message that waits to be handled will come again, or has.
    pub(crate) fn is_superseded(&self, ticket: Ticket) -> bool {
        ticket.is_superseded(self.superseded.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for AckQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckQueue").finish_non_exhaustive()
    }
}
