//! A cell, measured: all members in turn, several times, in alternating order.

use super::{
    measure::{Figures, measure},
    metric::Metric,
    options::Options,
    peers::Member,
    scenario::{Cell, Scenario},
};
use crate::Result;

/// What came of a cell: for each member, a figure for each round.
pub(crate) struct Compared {
    pub(crate) cell: Cell,
    /// Of a paced cell, messages a second.
    pub(crate) rate: u64,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) member: Member,
    pub(crate) rounds: Vec<Result<Figures>>,
}

/// A median with its extremes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

pub(crate) fn compare(cell: Cell, options: &Options) -> Compared {
    let rate = match cell.scenario {
        Scenario::Paced => half_load(&cell, options),
        _ => 0,
    };
    let mut rows: Vec<Row> = cell
        .members
        .iter()
        .map(|&member| Row {
            member,
            rounds: Vec::new(),
        })
        .collect();
    for round in 0..options.rounds {
        // A B C, then C B A: what drifts harms all of them alike.
        let mut order: Vec<&mut Row> = rows.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            row.rounds.push(measure(&cell, row.member, options, rate));
        }
    }
    Compared { cell, rate, rows }
}

/// Half of what the bare loop receives at most, in messages a second.
fn half_load(cell: &Cell, options: &Options) -> u64 {
    let full = Cell {
        scenario: Scenario::Receive,
        ..cell.clone()
    };
    let figures = measure(&full, Member::Bare, options, 0);
    let rate = figures.ok().and_then(|it| it.value(Metric::Rate));
    // Whole thousands: as many in each burst.
    rate.map_or(100_000, |rate| (rate / 2_000.0) as u64 * 1_000)
}

impl Compared {
    pub(crate) fn row(&self, member: Member) -> Option<&Row> {
        self.rows.iter().find(|it| it.member == member)
    }

    /// How often a member is as much as another, round by round.
    pub(crate) fn ratio(&self, member: Member, to: Member, metric: Metric) -> Option<Spread> {
        let (row, base) = (self.row(member)?, self.row(to)?);
        let pairs = row.rounds.iter().zip(&base.rounds);
        spread(pairs.filter_map(|pair| match pair {
            (Ok(one), Ok(other)) => {
                let base = other.value(metric).filter(|it| *it > 0.0)?;
                Some(one.value(metric)? / base)
            }
            _ => None,
        }))
    }
}

impl Row {
    pub(crate) fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.rounds.iter().filter_map(|it| it.as_ref().ok())
    }

    pub(crate) fn value(&self, metric: Metric) -> Option<Spread> {
        spread(self.figures().filter_map(|it| it.value(metric)))
    }

    /// In most rounds.
    pub(crate) fn instrument_bound(&self) -> bool {
        let bound = self.figures().filter(|it| it.instrument_bound()).count();
        bound * 2 > self.rounds.len()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.rounds.iter().filter_map(|it| it.as_ref().err());
        failed.map(ToString::to_string).collect()
    }
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    };
    Some(Spread {
        median,
        least,
        most,
    })
}
