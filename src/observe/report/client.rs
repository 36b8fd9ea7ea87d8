//! How one client ended.

use std::time::Instant;

use crate::{
    observe::{
        cause::Cause, counters::Stats, failure::Failure, ledger::Unpromised, state::Outcome,
    },
    session::subscriptions::LoweredSubscription,
};

/// Messages that a client gave up, because the broker closed the connection on each of them again and
/// again ([`ClientSpec::max_closes`](crate::ClientSpec::max_closes)).
///
/// ```
/// use mqtt_fleet::ClientReport;
///
/// fn not_allowed(client: &ClientReport) -> Vec<&str> {
///     client.given_up().iter().map(|it| it.topic.as_str()).collect()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GivenUp {
    /// Their topic.
    pub topic: String,
    /// How many messages.
    pub messages: u64,
}

/// How one client ended.
///
/// ```
/// use mqtt_fleet::ClientReport;
///
/// fn line(client: &ClientReport) -> String {
///     format!("{}: {} after {} messages", client.name(), client.outcome(), client.stats().received)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ClientReport {
    pub(crate) name: String,
    pub(crate) broker: String,
    pub(crate) client_id: String,
    pub(crate) outcome: Outcome,
    pub(crate) stats: Stats,
    pub(crate) unpromised: Unpromised,
    /// Received, and no handler was called. None in pull mode, where the application takes them.
    pub(crate) unhandled: u64,
    pub(crate) last_cause: Option<(Cause, Instant)>,
    pub(crate) flapped: bool,
    /// Its last connection was lost, and an attempt after that failed.
    pub(crate) is_away: bool,
    pub(crate) is_id_contested: bool,
    pub(crate) first_failure: Option<Failure>,
    pub(crate) refused_subscriptions: Vec<String>,
    pub(crate) lowered_subscriptions: Vec<LoweredSubscription>,
    /// For the first topics.
    pub(crate) given_up: Vec<GivenUp>,
    pub(crate) unfinished_unsubscribes: Vec<String>,
    /// The spec says that it does with less.
    pub(crate) accepts_lowered: bool,
}

impl ClientReport {
    /// The client's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The broker that it was with last, as [`Client::broker`](crate::Client::broker) writes it.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// How it ended.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Its counts.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Why its last connection was lost or its last attempt failed, whichever was later. `None` if
    /// neither ever happened.
    pub fn last_cause(&self) -> Option<&Cause> {
        self.last_cause.as_ref().map(|(cause, _)| cause)
    }

    /// When that was.
    pub fn last_cause_at(&self) -> Option<Instant> {
        self.last_cause.as_ref().map(|(_, at)| *at)
    }

    /// The first failure of a handler or pub function of this client.
    pub fn first_failure(&self) -> Option<&Failure> {
        self.first_failure.as_ref()
    }

    /// Filters that the broker refused, in the order in which it did.
    pub fn refused_subscriptions(&self) -> &[String] {
        &self.refused_subscriptions
    }

    /// Subscriptions that the broker granted with a lower quality of service than asked for, as it
    /// did last.
    pub fn lowered_subscriptions(&self) -> &[LoweredSubscription] {
        &self.lowered_subscriptions
    }

    /// Messages that were given up, by topic, in the order in which the topics failed: the first ten
    /// topics. [`Stats::given_up`](crate::Stats::given_up) counts all.
    pub fn given_up(&self) -> &[GivenUp] {
        &self.given_up
    }

    /// Filters that were unsubscribed from and that the broker's session may still have: UNSUBSCRIBE
    /// was not sent before the client ended, or its connection broke before the answer. The session
    /// goes on collecting their messages. Empty with [`Session::Clean`](crate::Session::Clean).
    pub fn unfinished_unsubscribes(&self) -> &[String] {
        &self.unfinished_unsubscribes
    }

    /// Calls of its functions that failed.
    pub(super) fn failures(&self) -> u64 {
        let stats = &self.stats;
        stats.handler_errors
            + stats.handler_panics
            + stats.pub_errors
            + stats.pub_panics
            + stats.callback_panics
    }
}
