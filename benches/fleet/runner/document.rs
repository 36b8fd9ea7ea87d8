//! Writes what was measured between the markers of a Markdown file:
//! `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`, where NAME is a scenario, `targets` or
//! `machine`. A block that was not measured stays as it is.

use std::{fs, path::Path};

use super::{
    compare::Compared,
    machine,
    options::Options,
    scenario::Scenario,
    table,
    targets::{self, Verdict},
};
use crate::Result;

pub(crate) fn update(
    path: &Path,
    all: &[Compared],
    verdicts: &[Verdict],
    options: &Options,
) -> Result<()> {
    let mut text = fs::read_to_string(path)?;
    for scenario in Scenario::ALL {
        let lines: Vec<Vec<String>> = all
            .iter()
            .filter(|it| it.cell.scenario == scenario)
            .flat_map(table::lines)
            .collect();
        if !lines.is_empty() {
            let table = table::markdown(&table::titles(scenario), &lines);
            replace(&mut text, scenario.name(), &table)?;
        }
    }
    let lines = targets::lines(verdicts);
    if !lines.is_empty() {
        replace(
            &mut text,
            "targets",
            &table::markdown(&targets::titles(), &lines),
        )?;
    }
    replace(&mut text, "machine", &facts(options))?;
    Ok(fs::write(path, text)?)
}

fn facts(options: &Options) -> String {
    let mut text = String::new();
    for (name, value) in machine::facts() {
        text += &format!("- {name}: {value}\n");
    }
    text += &format!(
        "- measured: {} rounds of {} s each\n",
        options.rounds,
        options.duration.as_secs_f64()
    );
    for missing in &options.available.missing {
        text += &format!("- not measured: {missing}\n");
    }
    text
}

fn replace(text: &mut String, name: &str, block: &str) -> Result<()> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->"),
        format!("<!-- /bench:{name} -->"),
    );
    let missing = || format!("the document has no {begin} and {end}");
    let from = text.find(&begin).ok_or_else(missing)? + begin.len();
    let to = text[from..].find(&end).ok_or_else(missing)? + from;
    text.replace_range(from..to, &format!("\n{block}"));
    Ok(())
}
