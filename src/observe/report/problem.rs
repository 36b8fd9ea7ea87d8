//! What can be wrong with a client at the end, and what of it costs the exit code.

use crate::observe::{report::client::ClientReport, state::Outcome};

/// What went wrong with a client. A client with at least one of these is listed in the report as
/// one that had problems.
///
/// | problem | costs the exit code |
/// |---|---|
/// | [`Abandoned`](Self::Abandoned) | yes |
/// | [`Panicked`](Self::Panicked) | yes |
/// | [`GaveUp`](Self::GaveUp) | yes |
/// | [`Refused`](Self::Refused) | yes |
/// | [`Failed`](Self::Failed) | yes |
/// | [`NeverConnected`](Self::NeverConnected) | yes |
/// | [`LostMessages`](Self::LostMessages) | yes |
/// | [`DroppedOnReceipt`](Self::DroppedOnReceipt) | yes: nobody chose it |
/// | [`LeftUnhandled`](Self::LeftUnhandled) | yes |
/// | [`FunctionFailed`](Self::FunctionFailed) | yes |
/// | [`SubscriptionRefused`](Self::SubscriptionRefused) | yes |
/// | [`UnsubscribeUnfinished`](Self::UnsubscribeUnfinished) | yes |
/// | [`AwayAtEnd`](Self::AwayAtEnd) | no: what it lost is counted above |
/// | [`CutOff`](Self::CutOff) | no: QoS 0 promises no more |
/// | [`DroppedByPolicy`](Self::DroppedByPolicy) | no: the program chose it |
/// | [`Unmatched`](Self::Unmatched) | no: the handlers' filters were chosen |
/// | [`SubscriptionLowered`](Self::SubscriptionLowered) | yes |
/// | [`LoweredByChoice`](Self::LoweredByChoice) | no: the program chose it |
/// | [`Flapped`](Self::Flapped) | no: it recovered, and what was lost meanwhile is counted above |
///
/// ```
/// use mqtt_fleet::{ClientProblem, Report};
///
/// fn is_connectivity(report: &Report) -> bool {
///     let mut all = report.clients().iter().flat_map(|client| client.problems());
///     all.any(|it| matches!(it, ClientProblem::NeverConnected | ClientProblem::Flapped))
/// }
/// assert!(ClientProblem::NeverConnected.costs_code());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientProblem {
    /// It did not end by the deadline ([`Outcome::Abandoned`]).
    Abandoned,
    /// Its thread panicked ([`Outcome::Panicked`]).
    Panicked,
    /// All attempts of an outage failed ([`Outcome::RetriesExhausted`]).
    GaveUp,
    /// The broker refused the client or a subscription for good, or it is no MQTT broker, or a
    /// certificate was not accepted.
    Refused,
    /// A function failed, and the policy was to stop for it ([`Outcome::Failed`]).
    Failed,
    /// It never had a connection, and at least one attempt failed. A client that was stopped
    /// before its first attempt could fail is no problem.
    NeverConnected,
    /// Published messages were lost against a promise: they were
    /// [`unsent`](crate::Ledger::unsent) at the end, or [`failed`](crate::Ledger::failed) for
    /// another reason than the two below.
    LostMessages,
    /// QoS 0 messages were dropped on receipt, because the client's share of the queue was full
    /// ([`Stats::dropped`](crate::Stats::dropped)).
    DroppedOnReceipt,
    /// Messages were received and no handler had been called for them when the fleet ended.
    LeftUnhandled,
    /// A handler, a pub function or the dead-letter function returned an error or panicked.
    FunctionFailed,
    /// The broker refused a subscription.
    SubscriptionRefused,
    /// The broker granted a subscription with a lower quality of service than asked for.
    SubscriptionLowered,
    /// The same, and the spec accepts it ([`OnLowered::Accept`](crate::OnLowered::Accept)).
    LoweredByChoice,
    /// The broker's session may still have filters that were unsubscribed from
    /// ([`ClientReport::unfinished_unsubscribes`]).
    UnsubscribeUnfinished,
    /// It lost its connection at least three times within a minute.
    Flapped,
    /// It was stopped while it was away: its last connection was lost, and an attempt after that
    /// failed.
    AwayAtEnd,
    /// QoS 0 messages [`failed`](crate::Ledger::failed): their connection broke while they were
    /// written.
    CutOff,
    /// Published messages were dropped as the spec says: [`expired`](crate::Ledger::expired),
    /// [`dropped`](crate::Ledger::dropped), or [`failed`](crate::Ledger::failed) under
    /// [`Replay::OnlyWithSession`](crate::Replay::OnlyWithSession).
    DroppedByPolicy,
    /// Messages came that no handler's filter matched.
    Unmatched,
}

/// All of them, in the order in which they are named.
pub(crate) const ALL: [ClientProblem; 19] = [
    ClientProblem::Abandoned,
    ClientProblem::Panicked,
    ClientProblem::GaveUp,
    ClientProblem::Refused,
    ClientProblem::Failed,
    ClientProblem::NeverConnected,
    ClientProblem::LostMessages,
    ClientProblem::DroppedOnReceipt,
    ClientProblem::LeftUnhandled,
    ClientProblem::FunctionFailed,
    ClientProblem::SubscriptionRefused,
    ClientProblem::SubscriptionLowered,
    ClientProblem::LoweredByChoice,
    ClientProblem::UnsubscribeUnfinished,
    ClientProblem::Flapped,
    ClientProblem::AwayAtEnd,
    ClientProblem::CutOff,
    ClientProblem::DroppedByPolicy,
    ClientProblem::Unmatched,
];

impl ClientProblem {
    /// Whether it makes [`Report::exit_code`](crate::Report::exit_code) 1: something was lost
    /// against a promise or left undone, and no setting asked for it.
    pub fn costs_code(self) -> bool {
        !matches!(
            self,
            Self::LoweredByChoice
                | Self::Flapped
                | Self::AwayAtEnd
                | Self::CutOff
                | Self::DroppedByPolicy
                | Self::Unmatched
        )
    }

    /// What follows the number of clients that have it, in the first line of a report.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Panicked => "panicked",
            Self::GaveUp => "gave up",
            Self::Refused => "refused",
            Self::Failed => "stopped by a failure",
            Self::NeverConnected => "never connected",
            Self::LostMessages => "lost messages",
            Self::DroppedOnReceipt => "dropped received messages",
            Self::LeftUnhandled => "left messages unhandled",
            Self::FunctionFailed => "with failing functions",
            Self::SubscriptionRefused => "with refused subscriptions",
            Self::SubscriptionLowered => "with lowered subscriptions",
            Self::LoweredByChoice => "with lowered subscriptions, accepted",
            Self::UnsubscribeUnfinished => "with unfinished unsubscribes",
            Self::Flapped => "flapped",
            Self::AwayAtEnd => "away at the end",
            Self::CutOff => "cut off at QoS 0",
            Self::DroppedByPolicy => "dropped messages by policy",
            Self::Unmatched => "with unmatched messages",
        }
    }

    /// What an outcome is.
    fn of_outcome(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Stopped => None,
            Outcome::Abandoned { .. } => Some(Self::Abandoned),
            Outcome::Panicked { .. } => Some(Self::Panicked),
            Outcome::RetriesExhausted { .. } => Some(Self::GaveUp),
            Outcome::Refused { .. }
            | Outcome::NotMqtt { .. }
            | Outcome::Certificate { .. }
            | Outcome::SubscriptionRefused { .. }
            | Outcome::SubscriptionLowered { .. } => Some(Self::Refused),
            Outcome::Failed { .. } => Some(Self::Failed),
        }
    }

    /// Whether this client has it.
    pub(crate) fn is_of(self, client: &ClientReport) -> bool {
        let (stats, unpromised) = (&client.stats, &client.unpromised);
        match self {
            Self::Abandoned | Self::Panicked | Self::GaveUp | Self::Refused | Self::Failed => {
                Self::of_outcome(&client.outcome) == Some(self)
            }
            Self::NeverConnected => stats.connects == 0 && client.last_cause.is_some(),
            Self::LostMessages => {
                let unpromised = unpromised.cut_off + unpromised.not_repeated;
                let ledger = &stats.published;
                ledger.failed.saturating_sub(unpromised) + ledger.unsent > 0
            }
            Self::DroppedOnReceipt => stats.dropped > 0,
            Self::LeftUnhandled => client.unhandled > 0,
            Self::FunctionFailed => client.failures() > 0 || client.first_failure.is_some(),
            Self::SubscriptionRefused => !client.refused_subscriptions.is_empty(),
            Self::SubscriptionLowered => {
                !client.accepts_lowered && !client.lowered_subscriptions.is_empty()
            }
            Self::LoweredByChoice => {
                client.accepts_lowered && !client.lowered_subscriptions.is_empty()
            }
            Self::UnsubscribeUnfinished => !client.unfinished_unsubscribes.is_empty(),
            Self::Flapped => client.flapped,
            // Another outcome says so itself.
            Self::AwayAtEnd => client.is_away && client.outcome == Outcome::Stopped,
            Self::CutOff => unpromised.cut_off > 0,
            Self::DroppedByPolicy => {
                let ledger = &stats.published;
                ledger.expired + ledger.dropped + unpromised.not_repeated > 0
            }
            Self::Unmatched => stats.unmatched > 0,
        }
    }
}

impl ClientReport {
    /// What went wrong with it, most serious first. None of a client that did all it should.
    pub fn problems(&self) -> impl Iterator<Item = ClientProblem> + '_ {
        let all = ALL.into_iter();
        all.filter(|problem| problem.is_of(self))
    }

    pub(super) fn has_problems(&self) -> bool {
        self.problems().next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when the table in the documentation and the code differ, or a problem is missing in
    /// it.
    #[test]
    fn the_documented_table_is_the_code() {
        let rows = include_str!("problem.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("/// | [`"));
        let documented: Vec<(String, bool)> = rows
            .filter_map(|row| {
                let name = row.split('`').next()?.to_owned();
                let costs = row.split(" | ").nth(1)?.starts_with("yes");
                Some((name, costs))
            })
            .collect();
        assert_eq!(documented.len(), ALL.len());
        for problem in ALL {
            let row = (format!("{problem:?}"), problem.costs_code());
            assert!(documented.contains(&row), "{row:?}");
        }
    }
}
