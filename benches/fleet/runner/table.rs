//! Tables: for each cell a block, for each member a line.

use super::{
    compare::{Compared, Row, Spread},
    peers::Member,
    scenario::Scenario,
};

/// The line of column titles, and the lines of a cell.
pub(crate) fn titles(scenario: Scenario) -> Vec<String> {
    let mut titles = vec!["cell".to_owned(), "client".to_owned()];
    for metric in scenario.metrics() {
        titles.push(metric.title().to_owned());
        titles.push("ratio".to_owned());
    }
    titles.push("remarks".to_owned());
    titles
}

pub(crate) fn lines(compared: &Compared) -> Vec<Vec<String>> {
    let metrics = compared.cell.scenario.metrics();
    let mut title = compared.cell.title();
    if compared.rate > 0 {
        title += &format!(", {} k/s", compared.rate / 1_000);
    }
    let mut lines = Vec::new();
    for row in &compared.rows {
        let mut line = vec![title.clone(), row.member.name().to_owned()];
        for &metric in metrics {
            let value = row.value(metric).map(|it| metric.show(it.median));
            line.push(value.unwrap_or_else(|| "–".to_owned()));
            let ratio = match row.member {
                Member::Bare => None,
                member => compared.ratio(member, Member::Bare, metric),
            };
            line.push(ratio.map_or_else(String::new, shown));
        }
        line.push(remarks(row));
        lines.push(line);
    }
    lines
}

/// For a terminal: columns of even width.
pub(crate) fn plain(titles: &[String], lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().map(|line| &line[column]);
        let cells = cells.chain(std::iter::once(&titles[column]));
        cells.map(|it| it.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    for line in std::iter::once(titles).chain(lines.iter().map(Vec::as_slice)) {
        let mut shown = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let width = *width;
            shown += &match column {
                0 | 1 => format!("{cell:<width$}  "),
                _ if column + 1 == line.len() => cell.clone(),
                _ => format!("{cell:>width$}  "),
            };
        }
        text += shown.trim_end();
        text.push('\n');
    }
    text
}

pub(crate) fn markdown(titles: &[String], lines: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|", titles.join(" | "));
    for column in 0..titles.len() {
        text += match column {
            0 | 1 => "---|",
            _ if column + 1 == titles.len() => "---|",
            _ => "---:|",
        };
    }
    text.push('\n');
    for line in lines {
        text += &format!("| {} |\n", line.join(" | "));
    }
    text
}

/// A median, and between what it was.
pub(crate) fn shown(spread: Spread) -> String {
    let show = |value: f64| match value {
        value if value < 0.1 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    };
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!("{} ({}..{})", show(median), show(least), show(most))
}

fn remarks(row: &Row) -> String {
    let mut remarks = Vec::new();
    if row.instrument_bound() {
        remarks.push("the instrument was the limit".to_owned());
    }
    let failures = row.failures();
    if let Some(first) = failures.first() {
        remarks.push(format!(
            "{} of {} rounds failed: {first}",
            failures.len(),
            row.rounds.len()
        ));
    }
    remarks.join("; ")
}
