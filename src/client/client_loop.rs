//! What a client's network thread has, and what its loop decides on.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{brokers::Brokers, member::Member},
    engine::Engine,
    inbox::dispatch::Dispatch,
    observe::{cause::Cause, state::Outcome},
    outbox::{brief_wait::BriefWaits, entry::Progress, send_batch::SendBatch},
    session::packet::Outgoing,
    spec::{outbox::RefusedSubscription, retry::Attempts},
    supervise::pace::Pacer,
};

/// Everything a network thread has.
pub(crate) struct ClientLoop {
    pub(crate) member: Arc<Member>,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) dispatch: Dispatch,
    pub(crate) pacer: Option<Arc<Pacer>>,
    pub(crate) brokers: Brokers,
    pub(crate) attempts: Attempts,
    /// What was seen and the outbox does not know yet: told in one go for each wake-up.
    pub(crate) progress: Vec<Progress>,
    /// What was taken from the outbox and is not sent.
    pub(crate) batch: SendBatch,
    /// What each connection begins with, if there is one.
    pub(crate) birth: Option<Outgoing>,
    pub(crate) on_refused_subscription: RefusedSubscription,
    pub(crate) brief_waits: BriefWaits,
    /// How the client ends, once it has been decided on a live connection.
    pub(crate) ending: Option<Outcome>,
    /// Told once, at the first CONNACK: where the schedules of pub functions begin.
    pub(crate) on_first_connect: Option<Box<dyn FnOnce() + Send>>,
    /// Whether the subscriptions that this connection began with have all been answered. Later
    /// ones don't matter: they can't make a stable connection unstable.
    pub(crate) answered: bool,
    /// The packet of the broker that the last connection ended on, by what was wrong with it.
    pub(crate) ended_on: Option<Cause>,
    pub(crate) outage: Option<Outage>,
}

/// What follows an attempt or a connection.
pub(crate) enum After {
    /// A pause of a random length between these, then the next attempt.
    Pause(RangeInclusive<Duration>),
    End(Outcome),
}

/// An outage whose end is not in the log yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(super) since: Instant,
    pub(super) failed_attempts: u32,
}
