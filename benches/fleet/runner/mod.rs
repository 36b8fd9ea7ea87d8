//! Measures what was asked for, and shows it.

mod compare;
mod document;
mod json;
mod machine;
mod measure;
mod metric;
mod options;
mod peers;
mod plot;
mod process;
mod scenario;
mod table;
mod targets;

use std::{fs, process::ExitCode, time::Instant};

use crate::{Result, say, tell};
use compare::Compared;
use options::Options;
use scenario::Scenario;

pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if options.help {
        say(options::HELP);
        return Ok(ExitCode::SUCCESS);
    }
    for missing in &options.available.missing {
        tell(format_args!("not measured: {missing}\n"));
    }
    let start = Instant::now();
    let mut all = Vec::new();
    for scenario in Scenario::ALL {
        all.extend(measure_scenario(scenario, &options, start));
    }
    let verdicts = targets::verdicts(&all);
    say(format_args!(
        "\nTargets\n\n{}",
        table::plain(&targets::titles(), &targets::lines(&verdicts))
    ));
    if let Some(path) = &options.json {
        fs::write(path, json::document(&all, &options))?;
    }
    if let Some(path) = &options.markdown {
        document::update(path, &all, &verdicts, &options)?;
    }
    if let Some(directory) = &options.svg {
        for scenario in [Scenario::Receive, Scenario::Publish] {
            if let Some(svg) = plot::svg(scenario, &all) {
                fs::write(directory.join(format!("{}.svg", scenario.name())), svg)?;
            }
        }
    }
    Ok(guard(&options, &all, &verdicts))
}

fn measure_scenario(scenario: Scenario, options: &Options, start: Instant) -> Vec<Compared> {
    let cells = scenario::cells(options);
    let mut measured = Vec::new();
    for cell in cells.into_iter().filter(|it| it.scenario == scenario) {
        tell(format_args!("{}: {} ...", scenario.name(), cell.title()));
        measured.push(compare::compare(cell, options));
        tell(format_args!(" {:.0} s\n", start.elapsed().as_secs_f64()));
    }
    let lines: Vec<Vec<String>> = measured.iter().flat_map(table::lines).collect();
    if !lines.is_empty() {
        let table = table::plain(&table::titles(scenario), &lines);
        say(format_args!("\n{}\n\n{table}", scenario.title()));
    }
    measured
}

/// With `--floors`: whether everything that was measured is above its floor, and valid.
fn guard(options: &Options, all: &[Compared], verdicts: &[targets::Verdict]) -> ExitCode {
    if !options.floors {
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    for verdict in verdicts.iter().filter(|it| it.below_floor) {
        let found = table::shown(verdict.found);
        let (what, target) = (&verdict.what, &verdict.target);
        say(format_args!(
            "below the floor: {what}: {found}, half of the target ({target}) in no round"
        ));
        code = ExitCode::FAILURE;
    }
    for compared in all {
        for row in compared.rows.iter().filter(|row| row.member.is_guarded()) {
            if row.figures().next().is_none() {
                let failures = row.failures().join("; ");
                let (cell, member) = (compared.cell.title(), row.member.name());
                say(format_args!("no valid round: {cell}, {member}: {failures}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
