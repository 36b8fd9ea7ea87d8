//! How everything ended: one entry per client, for programs. `text.rs` writes it for people.

mod client;
mod problem;
mod text;

use crate::observe::{counters::Stats, lateness::Lateness};

pub use crate::session::subscriptions::LoweredSubscription;
pub use client::{ClientReport, GivenUp};
pub use problem::ClientProblem;

/// How a fleet ended: the outcome and the counts of every client.
///
/// Its `Display` says first how many clients had which problems and what was lost. The totals
/// follow, a line on [`Lateness`] if there are pub functions, and a table of the clients. Of more
/// than 40 clients those without problems share one row, and at most 40 with problems are shown.
///
/// ```
/// use mqtt_fleet::Report;
///
/// fn finish(report: &Report) -> i32 {
///     println!("{report}");
///     report.exit_code()
/// }
/// ```
///
/// | column | what it counts |
/// |---|---|
/// | `connects` | connections that the broker accepted |
/// | `losses` | connections that ended without being stopped |
/// | `failed attempts` | connects that failed, and connections lost before they were stable |
/// | `received` | messages from the broker |
/// | `handled` | those whose handlers have returned, or that the application has dropped |
/// | `accepted` | messages that `publish` and its kin took |
/// | `delivered` | those acknowledged (QoS 1 and 2), or written to the connection (QoS 0) |
/// | `lost` | those that failed, were unsent, expired, or were dropped by the outbox |
/// | `last cause` | why a connection was lost or an attempt failed, the last time |
/// | `outcome` | how the client ended |
#[derive(Debug, Clone)]
pub struct Report {
    pub(crate) clients: Vec<ClientReport>,
    pub(crate) lateness: Lateness,
    pub(crate) abandoned: Vec<String>,
}

impl Report {
    /// One entry per client, in the order in which they were added.
    pub fn clients(&self) -> &[ClientReport] {
        &self.clients
    }

    /// The entry of one client.
    pub fn client(&self, name: &str) -> Option<&ClientReport> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// The sums of all clients' counts.
    pub fn total(&self) -> Stats {
        let mut total = Stats::default();
        for client in &self.clients {
            total += client.stats;
        }
        total
    }

    /// How late pub functions were called, and how many calls were missed.
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// Threads that did not end by the deadline, each with what it was doing. Empty is normal.
    pub fn abandoned(&self) -> &[String] {
        &self.abandoned
    }

    /// What the process should exit with: 1 if anything was lost against a promise or left undone,
    /// else 0.
    ///
    /// | what happened | in the text | code |
    /// |---|---|---|
    /// | every client was stopped, and nothing below happened | "ended well" | 0 |
    /// | a client gave up, was refused, was stopped by a failure, panicked or was abandoned | its outcome | 1 |
    /// | a thread was abandoned | `abandoned:` | 1 |
    /// | a client never connected, and an attempt failed | "never connected" | 1 |
    /// | a client was stopped before its first attempt could fail | `connects` is 0 | 0 |
    /// | published messages were unsent, or sent and never acknowledged | `lost` | 1 |
    /// | a QoS 0 message was cut off: its connection broke while it was written | `lost` | 0: QoS 0 promises no more |
    /// | QoS 0 messages were dropped on receipt: the client's share of the queue was full | `lost` | 1 |
    /// | received messages were left unhandled at the end | `lost` | 1 |
    /// | a handler, pub function or dead-letter function failed or panicked | `failures` | 1 |
    /// | a subscription was refused | `subscription refused` | 1 |
    /// | a subscription was granted with a lower quality of service than asked for | `subscription lowered` | 1 |
    /// | the same, under [`OnLowered::Accept`](crate::OnLowered::Accept) | `subscription lowered` | 0: the program chose it |
    /// | an UNSUBSCRIBE was not sent, or its connection broke before the answer, with a kept session | `unsubscribe unfinished` | 1 |
    /// | messages expired ([`max_age`](crate::ClientSpec::max_age)), were dropped for newer ones ([`DropOldest`](crate::OutboxOverflow::DropOldest)), or not repeated ([`OnlyWithSession`](crate::Replay::OnlyWithSession)) | `lost` | 0: the program chose it |
    /// | messages matched no handler | `unmatched` | 0 |
    /// | a client lost its connection, and no attempt after that had succeeded when it was stopped | "away at the end" | 0: what it lost is counted above |
    /// | connections were lost and came back, attempts failed and a later one did not | `losses`, `failed attempts`, "flapped" | 0 |
    /// | calls of a pub function were missed | `missed` | 0 |
    ///
    /// [`ClientReport::problems`] has the same for one client.
    pub fn exit_code(&self) -> i32 {
        let mut problems = self.clients.iter().flat_map(ClientReport::problems);
        let clean = self.abandoned.is_empty() && !problems.any(ClientProblem::costs_code);
        i32::from(!clean)
    }
}
