//! What the ratios are to be, and the floors below which a change is a regression.

use super::{
    compare::{Compared, Spread},
    metric::Metric::{self, *},
    peers::Member::{self, *},
    scenario::{
        Scenario::{self, *},
        WINDOW,
    },
    table,
};

/// What a value is compared with.
#[derive(Debug, Clone, Copy)]
enum To {
    Member(Member),
    /// Itself, with this many clients.
    Clients(usize),
    /// Nothing: the value stands for itself.
    Itself,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    scenario: Scenario,
    qos: Option<u8>,
    window: u16,
    /// Empty: all of them.
    clients: &'static [usize],
    member: Member,
    metric: Metric,
    to: To,
    bound: Bound,
    /// Half of it is a floor. Not of what a busy machine can spoil, and never of a time.
    guarded: bool,
}

const fn rate(
    scenario: Scenario,
    qos: u8,
    clients: &'static [usize],
    to: Member,
    bound: f64,
) -> Target {
    Target {
        scenario,
        qos: Some(qos),
        window: WINDOW,
        clients,
        member: Ours(1),
        metric: Rate,
        to: To::Member(to),
        bound: Bound::AtLeast(bound),
        guarded: true,
    }
}

const fn at_most(scenario: Scenario, member: Member, metric: Metric, to: To, bound: f64) -> Target {
    Target {
        scenario,
        qos: None,
        window: WINDOW,
        clients: &[],
        member,
        metric,
        to,
        bound: Bound::AtMost(bound),
        guarded: true,
    }
}

const fn unguarded(mut target: Target) -> Target {
    target.guarded = false;
    target
}

const TARGETS: [Target; 33] = [
    rate(Publish, 0, &[1], Bare, 8.0),
    rate(Publish, 0, &[1], Mosquitto, 3.0),
    rate(Publish, 1, &[1], Bare, 4.0),
    rate(Publish, 1, &[1], Mosquitto, 7.0),
    rate(Publish, 0, &[10, 100], Bare, 5.0),
    rate(Publish, 1, &[10, 100], Bare, 3.0),
    rate(Publish, 0, &[], Symqtt, 2.0),
    rate(Publish, 1, &[], Symqtt, 2.0),
    rate(Receive, 0, &[1], Bare, 0.95),
    rate(Receive, 0, &[10, 100], Bare, 1.0),
    rate(Receive, 1, &[1], Bare, 0.95),
    rate(Receive, 1, &[10, 100], Bare, 1.2),
    rate(Receive, 0, &[], Mosquitto, 5.0),
    rate(Receive, 1, &[], Mosquitto, 5.0),
    rate(Receive, 0, &[], PahoC, 15.0),
    rate(Receive, 1, &[], PahoC, 15.0),
    rate(Receive, 0, &[], SymqttQueue, 1.0),
    rate(Receive, 1, &[], SymqttQueue, 1.2),
    Target {
        window: 20,
        ..rate(Receive, 1, &[1], Bare, 0.9)
    },
    at_most(Receive, Ours(1), Cpu, To::Member(Bare), 1.1),
    at_most(Publish, Ours(1), Cpu, To::Member(Bare), 0.25),
    at_most(Echo, Ours(0), P50, To::Member(Bare), 1.15),
    unguarded(at_most(Echo, Ours(0), P99, To::Member(Bare), 1.3)),
    unguarded(at_most(Paced, Ours(1), P50, To::Member(Bare), 1.15)),
    unguarded(at_most(Paced, Ours(1), P99, To::Member(Bare), 1.3)),
    at_most(ConnectStorm, Ours(0), Resident, To::Itself, 64.0),
    at_most(ConnectStorm, Ours(0), Threads, To::Itself, 1.0),
    at_most(ConnectStorm, Ours(0), Descriptors, To::Itself, 4.0),
    unguarded(at_most(ConnectStorm, Ours(0), Stop, To::Itself, 250.0)),
    Target {
        to: To::Clients(10),
        guarded: false,
        ..rate(Receive, 0, &[1_000], Bare, 0.8)
    },
    Target {
        to: To::Clients(10),
        guarded: false,
        ..rate(Receive, 1, &[1_000], Bare, 0.8)
    },
    Target {
        to: To::Clients(10),
        guarded: false,
        ..rate(Publish, 0, &[1_000], Bare, 0.8)
    },
    Target {
        to: To::Clients(10),
        guarded: false,
        ..rate(Publish, 1, &[1_000], Bare, 0.8)
    },
];

/// A target, held against a cell.
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) target: String,
    pub(crate) found: Spread,
    pub(crate) met: bool,
    /// Half of the target was missed in every round.
    pub(crate) below_floor: bool,
}

/// The verdicts of everything that was measured.
pub(crate) fn verdicts(all: &[Compared]) -> Vec<Verdict> {
    let pairs = TARGETS
        .iter()
        .flat_map(|target| all.iter().map(move |compared| (target, compared)));
    pairs
        .filter(|(target, compared)| target.is_about(compared))
        .filter_map(|(target, compared)| target.verdict(compared, all))
        .collect()
}

impl Target {
    fn is_about(&self, compared: &Compared) -> bool {
        let cell = &compared.cell;
        self.scenario == cell.scenario
            && self.qos.is_none_or(|qos| qos == cell.qos)
            && self.window == cell.window
            && (self.clients.is_empty() || self.clients.contains(&cell.clients))
    }

    fn verdict(&self, compared: &Compared, all: &[Compared]) -> Option<Verdict> {
        let (found, to) = match self.to {
            To::Member(to) => {
                let found = compared.ratio(self.member, to, self.metric)?;
                (found, format!(" of {}", to.name()))
            }
            To::Itself => (
                compared.row(self.member)?.value(self.metric)?,
                String::new(),
            ),
            To::Clients(clients) => {
                let few = all.iter().find(|it| {
                    it.cell.scenario == self.scenario
                        && it.cell.qos == compared.cell.qos
                        && it.cell.window == self.window
                        && it.cell.clients == clients
                })?;
                let base = few.row(self.member)?.value(self.metric)?.median;
                let found = compared.row(self.member)?.value(self.metric)?;
                let found = Spread {
                    median: found.median / base,
                    least: found.least / base,
                    most: found.most / base,
                };
                (found, format!(" of its own at N = {clients}"))
            }
        };
        let (met, target, below_floor) = match self.bound {
            Bound::AtLeast(bound) => (
                found.median >= bound,
                format!("at least {bound}"),
                found.most < bound / 2.0,
            ),
            Bound::AtMost(bound) => (
                found.median <= bound * 1.001,
                format!("at most {bound}"),
                found.least > bound * 2.0,
            ),
        };
        Some(Verdict {
            what: format!(
                "{}, {}: {} of {}{to}",
                self.scenario.name(),
                compared.cell.title(),
                self.metric.title(),
                self.member.name(),
            ),
            target,
            found,
            met,
            below_floor: self.guarded && below_floor,
        })
    }
}

/// The verdicts as lines of a table.
pub(crate) fn lines(verdicts: &[Verdict]) -> Vec<Vec<String>> {
    let line = |verdict: &Verdict| {
        vec![
            verdict.what.clone(),
            verdict.target.clone(),
            table::shown(verdict.found),
            if verdict.met { "met" } else { "missed" }.to_owned(),
        ]
    };
    verdicts.iter().map(line).collect()
}

pub(crate) fn titles() -> Vec<String> {
    ["what", "target", "found", ""].map(str::to_owned).to_vec()
}
