//! docs/OPERATIONS.md: the table of log lines has what the source logs and nothing else.

use crate::tidy::source::{read, sources};

/// The level and the text of each line that the crate logs, with `{}` for what is filled in.
fn logged() -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for path in sources() {
        let name = path.display().to_string();
        // A test broker is no part of a program that runs, and one file has the macros themselves.
        if name.contains("src/testing/") || name == "src/supervise/log.rs" {
            continue;
        }
        let text = read(&name);
        for rest in text.split("log::").skip(1) {
            let Some((level, rest)) = rest.split_once("!(") else {
                continue;
            };
            let is_level = ["error", "warn", "info", "debug", "trace"].contains(&level);
            if let (true, Some(text)) = (is_level, rest.split('"').nth(1)) {
                lines.push((level.to_owned(), text.to_owned()));
            }
        }
        // Those that are thinned: methods of the client's log or the fleet's.
        for level in ["error", "warn", "info"] {
            for (at, call) in text.match_indices(&format!(".{level}(")) {
                let is_log = text[..at].trim_end().ends_with("log");
                if let (true, Some(text)) = (is_log, text[at + call.len()..].split('"').nth(1)) {
                    lines.push((level.to_owned(), text.to_owned()));
                }
            }
        }
    }
    lines
}

/// The level and the text of each line in the table.
fn documented(text: &str) -> Vec<(String, String)> {
    let section = text.split("## Log lines").nth(1).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with("| "));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let line = cells[2].strip_prefix('`')?.split('`').next()?;
        Some((cells[1].to_owned(), line.to_owned()))
    })
    .collect()
}

/// Whether a line may be what a format makes.
fn is_made_by(line: &str, format: &str) -> bool {
    let mut fixed = format.split('{').map(|part| match part.split_once('}') {
        Some((_name, fixed)) => fixed,
        None => part,
    });
    let Some(mut rest) = fixed.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    for part in fixed {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    // A placeholder at the end takes all that is left.
    rest.is_empty() || format.ends_with('}')
}

/// Fails if a line is logged that the table does not have, at another level, or the other way round.
#[test]
fn the_table_of_log_lines_is_true() {
    assert!(is_made_by("client A: stopped", "client {}: {outcome}"));
    assert!(!is_made_by("client A: stopped", "client {} at {}: {state}"));
    assert!(!is_made_by("fleet stopped", "fleet stopped, abandoned: {}"));
    assert!(!is_made_by("fleet stopped, abandoned: A", "fleet stopped"));
    let (logged, documented) = (logged(), documented(&read("docs/OPERATIONS.md")));
    assert!(
        logged.len() > 10 && documented.len() > 10,
        "{documented:#?}"
    );
    // Said by `Display` of the failure, which is all of the line.
    let of_failure = ("{failure}", "{} of {} failed on {}: {}");
    let made = |logged: &(String, String), documented: &(String, String)| {
        let format = match logged.1 == of_failure.0 {
            true => of_failure.1,
            false => &logged.1,
        };
        // As at a failure, `error` is in the row that follows for a panic.
        let level = logged.0 == documented.0 || logged.1 == of_failure.0;
        level && is_made_by(&documented.1, format)
    };
    for line in &logged {
        let known = documented.iter().any(|row| made(line, row));
        assert!(known, "no row for {line:?}");
    }
    for row in &documented {
        let known = logged.iter().any(|line| made(line, row));
        assert!(known, "nothing logs {row:?}");
    }
}

/// What happened and the code, of each row of the table of exit codes in a text.
fn exit_codes(text: &str, header: &str) -> Vec<(String, char)> {
    let rows = text.lines().map(|line| line.trim_start_matches([' ', '/']));
    let rows = rows.skip_while(|row| *row != header).skip(2);
    rows.take_while(|row| row.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            // What follows is worded for its place.
            let words: Vec<&str> = cells[1].split([' ', ',']).take(2).collect();
            let what = words.join(" ");
            (what, cells[3].chars().next().unwrap())
        })
        .collect()
}

/// Fails if the exit codes in the documentation of `Report::exit_code` and in docs/OPERATIONS.md differ.
#[test]
fn the_table_of_exit_codes_is_the_same_twice() {
    let documents = read("docs/OPERATIONS.md");
    let written = exit_codes(&documents, "| what happened | in the report | code |");
    let source = read("src/observe/report/mod.rs");
    let documented = exit_codes(&source, "| what happened | in the text | code |");
    assert!(written.len() > 10, "{written:#?}");
    assert_eq!(written, documented);
}
