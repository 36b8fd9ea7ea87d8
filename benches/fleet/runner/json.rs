//! Every measurement as JSON.

use super::{compare::Compared, machine, options::Options};

pub(crate) fn document(all: &[Compared], options: &Options) -> String {
    let machine: Vec<String> = machine::facts()
        .iter()
        .map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)))
        .collect();
    let missing: Vec<String> = options
        .available
        .missing
        .iter()
        .map(|it| quoted(it))
        .collect();
    let cells: Vec<String> = all.iter().map(cell).collect();
    format!(
        "{{\n\"machine\": {{{}}},\n\"seconds\": {},\n\"missing\": [{}],\n\"cells\": [\n{}\n]\n}}\n",
        machine.join(", "),
        options.duration.as_secs_f64(),
        missing.join(", "),
        cells.join(",\n")
    )
}

fn cell(compared: &Compared) -> String {
    let cell = &compared.cell;
    let rows: Vec<String> = compared
        .rows
        .iter()
        .map(|row| {
            let rounds: Vec<String> = row
                .rounds
                .iter()
                .map(|round| match round {
                    Ok(figures) => {
                        let mut fields = vec![
                            format!("\"instrument_load\": {}", figures.instrument),
                            format!("\"subject_load\": {}", figures.subject),
                        ];
                        for (metric, value) in &figures.values {
                            fields.push(format!("{}: {value}", quoted(metric.name())));
                        }
                        format!("{{{}}}", fields.join(", "))
                    }
                    Err(error) => format!("{{\"failed\": {}}}", quoted(&error.to_string())),
                })
                .collect();
            format!(
                "  {{\"client\": {}, \"rounds\": [\n    {}\n  ]}}",
                quoted(row.member.name()),
                rounds.join(",\n    ")
            )
        })
        .collect();
    format!(
        " {{\"scenario\": {}, \"qos\": {}, \"clients\": {}, \"window\": {}, \"rate\": {}, \"members\": [\n{}\n ]}}",
        quoted(cell.scenario.name()),
        cell.qos,
        cell.clients,
        cell.window,
        compared.rate,
        rows.join(",\n")
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted.push(' '),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
