//! How everything ended: one line per client, for programs and for people.

use std::fmt;

use crate::supervise::{
    counters::Stats,
    lateness::Lateness,
    outcome::{Failure, Outcome},
};

/// More clients than this are shown as a summary with the ones that did not simply stop.
const TABLE_ROWS: usize = 40;

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
    pub(crate) outcome: Outcome,
    pub(crate) stats: Stats,
    pub(crate) first_failure: Option<Failure>,
    pub(crate) refused_subscriptions: Vec<String>,
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

    /// The first failure of a handler or pub function of this client.
    pub fn first_failure(&self) -> Option<&Failure> {
        self.first_failure.as_ref()
    }

    /// Filters that the broker refused, in the order in which it did.
    pub fn refused_subscriptions(&self) -> &[String] {
        &self.refused_subscriptions
    }

    fn is_clean(&self) -> bool {
        self.outcome == Outcome::Stopped
            && self.first_failure.is_none()
            && self.refused_subscriptions.is_empty()
    }
}

/// How a fleet ended: the outcome and the counts of every client.
///
/// Its `Display` is a table of the clients, or, for more than 40 of them, a summary and the rows
/// of those that did not simply stop. A line on [`Lateness`] comes before it if there are pub
/// functions.
///
/// ```
/// use mqtt_fleet::Report;
///
/// fn finish(report: &Report) -> i32 {
///     println!("{report}");
///     report.exit_code()
/// }
/// ```
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

    /// What the process should exit with: 0 if every client was stopped, nothing failed in a
    /// handler or pub function, no subscription was refused and nothing was abandoned; else 1.
    pub fn exit_code(&self) -> i32 {
        let clean = self.abandoned.is_empty() && self.clients.iter().all(ClientReport::is_clean);
        i32::from(!clean)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.clients.len();
        let ended_otherwise = self.clients.iter().filter(|client| !client.is_clean());
        let not_clean = ended_otherwise.clone().count();
        let total = self.total();
        writeln!(
            f,
            "{n} client{}, {not_clean} of them with something to report; received {}, handled {}, \
             dropped {}, published {}",
            if n == 1 { "" } else { "s" },
            total.received,
            total.handled,
            total.dropped,
            total.published.accepted,
        )?;
        if self.lateness.called() + self.lateness.missed() > 0 {
            writeln!(f, "pub functions: {}", self.lateness)?;
        }
        let rows: Vec<&ClientReport> = match n > TABLE_ROWS {
            true => ended_otherwise.collect(),
            false => self.clients.iter().collect(),
        };
        if !rows.is_empty() {
            let shown = &rows[..rows.len().min(TABLE_ROWS)];
            table(f, shown)?;
            if rows.len() > shown.len() {
                writeln!(f, "… and {} more such clients", rows.len() - shown.len())?;
            }
        }
        for thread in &self.abandoned {
            writeln!(f, "abandoned: {thread}")?;
        }
        Ok(())
    }
}

fn table(f: &mut fmt::Formatter<'_>, rows: &[&ClientReport]) -> fmt::Result {
    let width = |header: &str, cell: fn(&ClientReport) -> &str| {
        rows.iter()
            .map(|row| cell(row).chars().count())
            .chain([header.len()])
            .max()
            .unwrap_or(0)
    };
    let name = width("client", |row| &row.name);
    let broker = width("broker", |row| &row.broker);
    writeln!(
        f,
        "{:name$}  {:broker$}  {:>9}  {:>9}  {:>8}  {:>9}  {:>8}  outcome",
        "client", "broker", "connects", "received", "dropped", "published", "failures",
    )?;
    for row in rows {
        let stats = &row.stats;
        let failures =
            stats.handler_errors + stats.handler_panics + stats.pub_errors + stats.pub_panics;
        writeln!(
            f,
            "{:name$}  {:broker$}  {:>9}  {:>9}  {:>8}  {:>9}  {failures:>8}  {}",
            row.name,
            row.broker,
            stats.connects,
            stats.received,
            stats.dropped,
            stats.published.accepted,
            row.outcome,
        )?;
        if let Some(failure) = &row.first_failure {
            writeln!(f, "{:name$}  first failure: {failure}", "")?;
        }
        for filter in &row.refused_subscriptions {
            writeln!(f, "{:name$}  subscription refused: {filter}", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::cause::Cause;

    fn client(i: usize, outcome: Outcome) -> ClientReport {
        ClientReport {
            name: format!("client-{i}"),
            broker: "h:1883".into(),
            outcome,
            stats: Stats::default(),
            first_failure: None,
            refused_subscriptions: Vec::new(),
        }
    }

    #[test]
    fn two_clients_are_a_table_and_a_thousand_a_summary() {
        let gave_up = Outcome::RetriesExhausted {
            attempts: 3,
            last_error: Cause::Closed,
        };
        let report = |n| Report {
            clients: (0..n)
                .map(|i| match i {
                    1 => client(i, gave_up.clone()),
                    _ => client(i, Outcome::Stopped),
                })
                .collect(),
            lateness: Lateness::default(),
            abandoned: Vec::new(),
        };
        let two = report(2).to_string();
        assert_eq!(two.lines().count(), 4, "{two}");
        assert!(two.contains("gave up after 3 attempts"), "{two}");
        let many = report(1_000).to_string();
        assert_eq!(many.lines().count(), 3, "{many}");
        assert!(many.starts_with("1000 clients, 1 of them"), "{many}");
        assert!(many.contains("client-1 "), "{many}");
        assert_eq!(report(1).exit_code(), 0);
        assert_eq!(report(2).exit_code(), 1);
    }
}
