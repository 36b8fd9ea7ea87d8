//! Measures what was asked for, and shows it.

mod compare;
mod measure;
mod metric;
mod options;
mod peers;
mod process;
mod scenario;
mod table;

use std::{io::Write, process::ExitCode, time::Instant};

use crate::Result;
use options::Options;
use scenario::Scenario;

pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if options.help {
        println!("{}", options::HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let mut all = Vec::new();
    for scenario in Scenario::ALL {
        let titles = table::titles(scenario);
        let mut lines = Vec::new();
        for cell in scenario::cells(&options) {
            if cell.scenario != scenario {
                continue;
            }
            eprint!("{}: {} ...", scenario.name(), cell.title());
            std::io::stderr().flush()?;
            let compared = compare::compare(cell, &options);
            eprintln!(" {:.0} s", start.elapsed().as_secs_f64());
            lines.extend(table::lines(&compared));
            all.push(compared);
        }
        if !lines.is_empty() {
            println!(
                "\n{}\n\n{}",
                scenario.title(),
                table::plain(&titles, &lines)
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
