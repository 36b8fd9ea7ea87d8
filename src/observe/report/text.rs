//! The report for people: a first line that says how it went, the totals, and a table.

use std::fmt::{self, Write};

use crate::observe::{
    counters::Stats,
    ledger::{Ledger, Unpromised},
    report::{ClientProblem, ClientReport, Report, problem},
    state::Outcome,
};

/// Of more clients than this only those with problems have a row of their own, and at most this
/// many of them.
const TABLE_ROWS: usize = 40;

/// At most this many lines of one kind below a row.
const DETAIL_LINES: usize = 10;

/// Texts of the system, of TLS or of a user's error may be long; a cell of the table is not.
const CELL_CHARACTERS: usize = 100;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", headline(self))?;
        let total = self.total();
        writeln!(
            f,
            "received {}, handled {}, published {}, delivered {}",
            total.received,
            total.handled,
            total.published.accepted,
            delivered(&total.published),
        )?;
        if self.lateness.called() + self.lateness.missed() > 0 {
            writeln!(f, "pub functions: {}", self.lateness)?;
        }
        let is_summary = self.clients.len() > TABLE_ROWS;
        let (listed, others): (Vec<_>, Vec<_>) = self
            .clients
            .iter()
            .partition(|client| !is_summary || client.has_problems());
        let (shown, beyond) = listed.split_at(listed.len().min(TABLE_ROWS));
        table(f, shown, &others)?;
        match beyond.len() {
            0 => {}
            n => writeln!(f, "… and {n} more with problems")?,
        }
        // The clients come first, and have rows above: they must not hide the other threads.
        let n_clients = abandoned_clients(self).min(self.abandoned.len());
        let (clients, threads) = self.abandoned.split_at(n_clients);
        for abandoned in [clients, threads] {
            for thread in abandoned.iter().take(TABLE_ROWS) {
                writeln!(f, "abandoned: {}", one_line(thread, usize::MAX))?;
            }
            match abandoned.len().saturating_sub(TABLE_ROWS) {
                0 => {}
                n => writeln!(f, "… and {n} more abandoned")?,
            }
        }
        Ok(())
    }
}

/// How many clients had problems, of which kinds, and what was lost.
fn headline(report: &Report) -> String {
    let n = report.clients.len();
    let with_problems = report.clients.iter().filter(|it| it.has_problems()).count();
    let mut line = match with_problems {
        0 if n == 1 => "1 client ended well".to_owned(),
        0 => format!("all {n} clients ended well"),
        _ => {
            let kinds: Vec<String> = problem::ALL
                .into_iter()
                .filter_map(|kind| {
                    match report.clients.iter().filter(|it| kind.is_of(it)).count() {
                        0 => None,
                        count => Some(format!("{count} {}", kind.label())),
                    }
                })
                .collect();
            let s = plural(n);
            format!(
                "{with_problems} of {n} client{s} had problems ({})",
                kinds.join(", ")
            )
        }
    };
    let unhandled = report.clients.iter().map(|it| it.unhandled).sum();
    let mut unpromised = Unpromised::default();
    for client in &report.clients {
        unpromised += client.unpromised;
    }
    if let Some(lost) = lost(&report.total(), unpromised, unhandled) {
        line += "; lost: ";
        line += &lost;
    }
    // The clients among them are counted already.
    match report
        .abandoned
        .len()
        .saturating_sub(abandoned_clients(report))
    {
        0 => {}
        1 => line += "; 1 other thread abandoned",
        threads => {
            let _ = write!(line, "; {threads} other threads abandoned");
        }
    }
    line
}

fn abandoned_clients(report: &Report) -> usize {
    let clients = report.clients.iter();
    let abandoned = clients.filter(|it| matches!(it.outcome, Outcome::Abandoned { .. }));
    abandoned.count()
}

/// What was lost, by kind, or `None` if nothing was.
fn lost(stats: &Stats, unpromised: Unpromised, unhandled: u64) -> Option<String> {
    let ledger = &stats.published;
    let Unpromised {
        cut_off,
        not_repeated,
    } = unpromised;
    let failed = ledger.failed.saturating_sub(cut_off + not_repeated);
    let kinds = [
        (failed, "failed"),
        (ledger.unsent, "unsent"),
        (ledger.in_progress, "unfinished"),
        (ledger.expired, "expired"),
        (ledger.dropped, "dropped for newer ones"),
        (not_repeated, "not repeated without their session"),
        (cut_off, "cut off at QoS 0"),
        (stats.dropped, "dropped on receipt"),
        (unhandled, "received and not handled"),
    ];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

fn delivered(ledger: &Ledger) -> u64 {
    ledger.acknowledged + ledger.sent
}

/// A column of numbers: its header, and what stands in it.
type Column = (&'static str, fn(&Stats) -> u64);

/// The columns between the names and the texts.
const NUMBERS: [Column; 8] = [
    ("connects", |it| it.connects),
    ("losses", |it| it.losses),
    ("failed attempts", |it| it.failed_attempts),
    ("received", |it| it.received),
    ("handled", |it| it.handled),
    ("accepted", |it| it.published.accepted),
    ("delivered", |it| delivered(&it.published)),
    ("lost", |it| {
        let ledger = &it.published;
        ledger.failed + ledger.unsent + ledger.expired + ledger.dropped
    }),
];

/// A row, as it is written.
struct Row {
    name: String,
    broker: String,
    stats: Stats,
    last_cause: String,
    outcome: String,
    details: Vec<String>,
}

impl Row {
    fn of(client: &ClientReport) -> Self {
        let cause = client.last_cause().map(ToString::to_string);
        let outcome = client.outcome.to_string();
        let last_cause = match cause {
            None => "-".to_owned(),
            // Most outcomes name their cause.
            Some(cause) if outcome.contains(&cause) => "see outcome".to_owned(),
            Some(cause) => one_line(&cause, CELL_CHARACTERS),
        };
        Self {
            name: one_line(&client.name, usize::MAX),
            broker: one_line(&client.broker, usize::MAX),
            stats: client.stats,
            last_cause,
            outcome: one_line(&outcome, usize::MAX),
            details: details(client),
        }
    }

    /// The clients that have no row of their own.
    fn of_others(clients: &[&ClientReport], are_all: bool) -> Self {
        let mut stats = Stats::default();
        for client in clients {
            stats += client.stats;
        }
        let n = clients.len();
        Self {
            name: match are_all {
                true => format!("{n} clients"),
                false => format!("{n} other{}", plural(n)),
            },
            broker: String::new(),
            stats,
            last_cause: "-".to_owned(),
            outcome: "no problems".to_owned(),
            details: Vec::new(),
        }
    }
}

fn table(
    f: &mut fmt::Formatter<'_>,
    shown: &[&ClientReport],
    others: &[&ClientReport],
) -> fmt::Result {
    let mut rows: Vec<Row> = shown.iter().map(|client| Row::of(client)).collect();
    if !others.is_empty() {
        rows.push(Row::of_others(others, shown.is_empty()));
    }
    let width = |header: &str, cell: fn(&Row) -> &str| {
        let cells = rows.iter().map(|row| cell(row).chars().count());
        cells.chain([header.len()]).max().unwrap_or(0)
    };
    let name = width("client", |row| &row.name);
    let broker = width("broker", |row| &row.broker);
    let cause = width("last cause", |row| &row.last_cause);
    let numbers = NUMBERS.map(|(header, number)| {
        let cells = rows.iter().map(|row| number(&row.stats).to_string().len());
        cells.chain([header.len()]).max().unwrap_or(0)
    });
    write!(f, "{:name$}  {:broker$}", "client", "broker")?;
    for ((header, _), width) in NUMBERS.iter().zip(numbers) {
        write!(f, "  {header:>width$}")?;
    }
    writeln!(f, "  {:cause$}  outcome", "last cause")?;
    for row in &rows {
        write!(f, "{:name$}  {:broker$}", row.name, row.broker)?;
        for ((_, number), width) in NUMBERS.iter().zip(numbers) {
            write!(f, "  {:>width$}", number(&row.stats))?;
        }
        writeln!(f, "  {:cause$}  {}", row.last_cause, row.outcome)?;
        for detail in &row.details {
            writeln!(f, "{:name$}  {detail}", "")?;
        }
    }
    Ok(())
}

/// What a row has no column for.
fn details(client: &ClientReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(lost) = lost(&client.stats, client.unpromised, client.unhandled) {
        lines.push(format!("lost: {lost}"));
    }
    for it in &client.given_up {
        let (topic, n) = (one_line(&it.topic, usize::MAX), it.messages);
        lines.push(format!(
            "given up: {topic} (messages: {n}), the broker closed the connection on it"
        ));
    }
    let named: u64 = client.given_up.iter().map(|it| it.messages).sum();
    if client.stats.given_up > named {
        let n = client.stats.given_up - named;
        lines.push(format!("… and {n} more messages given up"));
    }
    if let Some(failure) = &client.first_failure {
        let failures = client.failures();
        let first = one_line(&failure.to_string(), usize::MAX);
        lines.push(format!("failures: {failures}, first failure: {first}"));
    }
    let refused = &client.refused_subscriptions;
    for filter in refused.iter().take(DETAIL_LINES) {
        let filter = one_line(filter, usize::MAX);
        lines.push(format!("subscription refused: {filter}"));
    }
    if refused.len() > DETAIL_LINES {
        let n = refused.len() - DETAIL_LINES;
        lines.push(format!("… and {n} more subscriptions refused"));
    }
    let lowered = &client.lowered_subscriptions;
    for it in lowered.iter().take(DETAIL_LINES) {
        let filter = one_line(&it.filter, usize::MAX);
        let (asked, granted) = (u8::from(it.asked), u8::from(it.granted));
        lines.push(format!(
            "subscription lowered: {filter} (asked for QoS {asked}, granted QoS {granted})"
        ));
    }
    if lowered.len() > DETAIL_LINES {
        let n = lowered.len() - DETAIL_LINES;
        lines.push(format!("… and {n} more subscriptions lowered"));
    }
    let unfinished = &client.unfinished_unsubscribes;
    for filter in unfinished.iter().take(DETAIL_LINES) {
        let filter = one_line(filter, usize::MAX);
        lines.push(format!(
            "unsubscribe unfinished: {filter} (the broker's session may still have it)"
        ));
    }
    if unfinished.len() > DETAIL_LINES {
        let n = unfinished.len() - DETAIL_LINES;
        lines.push(format!("… and {n} more unsubscribes unfinished"));
    }
    if client.stats.unmatched > 0 {
        let n = client.stats.unmatched;
        lines.push(format!("unmatched: {n}, no handler's filter matches them"));
    }
    if client.flapped {
        lines.push("flapped: three connections or more lost within a minute".to_owned());
    }
    if ClientProblem::AwayAtEnd.is_of(client) {
        lines.push(
            "away at the end: its last connection was lost, and an attempt after that failed"
                .to_owned(),
        );
    }
    if client.is_id_contested {
        lines.push(format!(
            "its broker closed one connection after the other soon after CONNACK: another client \
             may use the client id {:?}",
            client.client_id
        ));
    }
    lines
}

/// Foreign text, made fit for a line: no control characters, and not longer than this.
fn one_line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len());
    for (n, character) in text.chars().enumerate() {
        if n >= most {
            line.push('…');
            break;
        }
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::observe::{cause::Cause, lateness::Lateness, report::GivenUp, state::ClientState};

    fn client(i: usize) -> ClientReport {
        ClientReport {
            name: format!("client-{i}"),
            broker: "h:1883".into(),
            client_id: format!("id-{i}"),
            outcome: Outcome::Stopped,
            stats: Stats::default(),
            unpromised: Unpromised::default(),
            unhandled: 0,
            last_cause: None,
            flapped: false,
            is_away: false,
            is_id_contested: false,
            first_failure: None,
            refused_subscriptions: Vec::new(),
            lowered_subscriptions: Vec::new(),
            given_up: Vec::new(),
            unfinished_unsubscribes: Vec::new(),
            accepts_lowered: false,
        }
    }

    fn report(n: usize, change: impl Fn(usize, &mut ClientReport)) -> Report {
        let clients = (0..n).map(|i| {
            let mut client = client(i);
            change(i, &mut client);
            client
        });
        Report {
            clients: clients.collect(),
            lateness: Lateness::default(),
            abandoned: Vec::new(),
        }
    }

    fn first_line(report: &Report) -> String {
        report.to_string().lines().next().unwrap().to_owned()
    }

    fn gave_up(client: &mut ClientReport) {
        client.outcome = Outcome::RetriesExhausted {
            attempts: 3,
            last_error: Cause::Closed,
        };
        client.last_cause = Some((Cause::Closed, Instant::now()));
        client.stats.connects = 1;
    }

    fn never(client: &mut ClientReport) {
        client.last_cause = Some((Cause::Closed, Instant::now()));
        client.stats.failed_attempts = 7;
    }

    /// Fails when the first line does not say how many clients had problems, of which kind, and
    /// what was lost, in English.
    #[test]
    fn the_first_line_tells_the_end() {
        let line = |n, change: fn(usize, &mut ClientReport)| first_line(&report(n, change));
        assert_eq!(line(1, |_, _| ()), "1 client ended well");
        assert_eq!(line(2, |_, _| ()), "all 2 clients ended well");
        let unsent = |i: usize, client: &mut ClientReport| {
            if i == 1 {
                never(client);
                client.stats.published.accepted = 1;
                client.stats.published.unsent = 1;
            }
        };
        assert_eq!(
            line(2, unsent),
            "1 of 2 clients had problems (1 never connected, 1 lost messages); lost: 1 unsent"
        );
        assert_eq!(
            line(1, |_, client| never(client)),
            "1 of 1 client had problems (1 never connected)"
        );
        let by_policy = |_, client: &mut ClientReport| {
            client.stats.published.expired = 2;
            client.stats.dropped = 3;
            client.unhandled = 4;
        };
        assert_eq!(
            line(2, by_policy),
            "2 of 2 clients had problems (2 dropped received messages, 2 left messages unhandled, \
             2 dropped messages by policy); lost: 4 expired, 6 dropped on receipt, 8 received and \
             not handled"
        );
        let mut stuck = report(2, |_, _| ());
        stuck.abandoned = vec!["worker-0 (in a handler)".to_owned()];
        assert_eq!(
            first_line(&stuck),
            "all 2 clients ended well; 1 other thread abandoned"
        );
        assert_eq!(stuck.exit_code(), 1);
    }

    /// Fails when a column is missing, or is not where its header is.
    #[test]
    fn the_columns_are_aligned() {
        let text = report(3, |i, client| match i {
            0 => {
                client.name = "a much longer name ü".to_owned();
                client.stats.received = 123_456_789_012;
            }
            1 => never(client),
            _ => client.broker = "mqtts://a.long.name.example:8883".to_owned(),
        })
        .to_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        let columns = [
            "client",
            "broker",
            "connects",
            "losses",
            "failed attempts",
            "received",
            "handled",
            "accepted",
            "delivered",
            "lost",
            "last cause",
            "outcome",
        ];
        let mut at = 0;
        for column in columns {
            at += lines[0][at..]
                .find(column)
                .unwrap_or_else(|| panic!("{column}: {text}"));
        }
        let character = |line: &str, at: usize| line.chars().nth(at);
        let outcome = lines[0].find("outcome").unwrap();
        let connects = lines[0].find("connects").unwrap() + "connects".len() - 1;
        for line in &lines[1..] {
            assert_eq!(character(line, connects), Some('0'), "{text}");
            let rest: String = line.chars().skip(outcome).collect();
            assert_eq!(rest, "stopped", "{text}");
        }
        assert!(
            lines[2].contains("  the broker closed the connection  "),
            "{text}"
        );
    }

    /// Fails when a clean client has a row among more than 40, one with problems has none, or more
    /// than 40 rows are shown.
    #[test]
    fn of_more_than_forty_clients_the_clean_ones_share_a_row() {
        let two = report(2, |i, client| {
            if i == 1 {
                gave_up(client)
            }
        });
        let text = two.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("gave up after 3 attempts"), "{text}");
        assert_eq!(two.exit_code(), 1);
        let many = report(1_000, |i, client| {
            client.stats.received = 2;
            match i {
                1 => gave_up(client),
                5 => client.flapped = true,
                7 => client.stats.unmatched = 1,
                _ => {}
            }
        });
        let text = many.to_string();
        assert!(text.starts_with("3 of 1000 clients had problems"), "{text}");
        assert!(text.contains("\nclient-1 "), "{text}");
        assert!(text.contains("\nclient-5 "), "{text}");
        assert!(text.contains("\nclient-7 "), "{text}");
        let others = text.lines().find(|line| line.starts_with("997 others"));
        assert!(others.unwrap().contains(" 1994 "), "{text}");
        assert!(!text.contains("client-2"), "{text}");
        let all = report(1_000, |_, client| gave_up(client)).to_string();
        assert_eq!(all.matches("\nclient-").count(), TABLE_ROWS, "{all}");
        assert!(all.contains("… and 960 more with problems"), "{all}");
        assert!(!all.contains("others"), "{all}");
    }

    /// Fails when a thousand abandoned clients are a thousand lines, or hide a thread.
    #[test]
    fn not_all_that_was_abandoned_is_listed() {
        let mut stuck = report(1_000, |_, client| {
            client.outcome = Outcome::Abandoned {
                state: Box::new(ClientState::Starting),
            };
        });
        let clients = (0..1_000).map(|n| format!("client-{n} (connecting)"));
        stuck.abandoned = clients.chain(["worker-0 (in a handler)".into()]).collect();
        let text = stuck.to_string();
        assert_eq!(
            text.matches("\nabandoned: ").count(),
            TABLE_ROWS + 1,
            "{text}"
        );
        assert!(text.contains("\n… and 960 more abandoned\n"), "{text}");
        assert!(
            text.ends_with("\nabandoned: worker-0 (in a handler)\n"),
            "{text}"
        );
    }

    /// Fails when a text from outside breaks the table, or floods it.
    #[test]
    fn foreign_texts_stay_in_their_line() {
        let text = report(1, |_, client| {
            never(client);
            let message = "two\nlines\u{1b}[31m".repeat(100);
            client.last_cause = Some((Cause::Protocol { message }, Instant::now()));
            client.refused_subscriptions = (0..1_000).map(|n| format!("a\n{n}")).collect();
            client.unfinished_unsubscribes = client.refused_subscriptions.clone();
            client.given_up = vec![GivenUp {
                topic: "a\nb".into(),
                messages: 2,
            }];
            client.stats.given_up = 5;
        })
        .to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(
            text.lines().count(),
            4 + 2 * (DETAIL_LINES + 1) + 2,
            "{text}"
        );
        assert!(text.contains("… and 3 more messages given up"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() < 400),
            "{text}"
        );
    }

    /// Fails when what a policy drops costs the code, or a loss does not.
    #[test]
    fn losses_cost_the_code_and_policies_do_not() {
        let code = |change: fn(&mut ClientReport)| {
            let report = report(2, |i, client| {
                if i == 0 {
                    change(client)
                }
            });
            let shown = report.to_string().contains("1 of 2 clients had problems");
            (shown, report.exit_code())
        };
        assert_eq!(code(|_| ()), (false, 0));
        assert_eq!(code(never), (true, 1));
        assert_eq!(code(gave_up), (true, 1));
        assert_eq!(code(|it| it.stats.published.failed = 1), (true, 1));
        assert_eq!(code(|it| it.stats.published.unsent = 1), (true, 1));
        assert_eq!(code(|it| it.stats.dropped = 1), (true, 1));
        assert_eq!(code(|it| it.unhandled = 1), (true, 1));
        assert_eq!(code(|it| it.stats.pub_panics = 1), (true, 1));
        assert_eq!(
            code(|it| it.refused_subscriptions.push("a".into())),
            (true, 1)
        );
        assert_eq!(
            code(|it| it.unfinished_unsubscribes.push("a".into())),
            (true, 1)
        );
        assert_eq!(code(|it| it.stats.published.expired = 1), (true, 0));
        assert_eq!(code(|it| it.stats.published.dropped = 1), (true, 0));
        let cut_off = |it: &mut ClientReport| {
            it.stats.published.failed = 1;
            it.unpromised.cut_off = 1;
        };
        assert_eq!(code(cut_off), (true, 0));
        let not_repeated = |it: &mut ClientReport| {
            it.stats.published.failed = 1;
            it.unpromised.not_repeated = 1;
        };
        assert_eq!(code(not_repeated), (true, 0));
        let one_of_two = |it: &mut ClientReport| {
            it.stats.published.failed = 2;
            it.unpromised.cut_off = 1;
        };
        assert_eq!(code(one_of_two), (true, 1));
        assert_eq!(code(|it| it.stats.unmatched = 1), (true, 0));
        assert_eq!(code(|it| it.flapped = true), (true, 0));
        assert_eq!(code(|it| it.is_away = true), (true, 0));
        assert_eq!(code(|it| it.stats.losses = 1), (false, 0));
        assert_eq!(code(|it| it.stats.failed_attempts = 1), (false, 0));
    }
}
