//! The tables that map faults to tests name tests that exist: docs/GUARANTEES.md, with all of those in
//! `matrix_*.rs`, and docs/TESTING.md.

use crate::tidy::source::{files, read};

/// The names in backticks in the last column of a table.
fn named(text: &str) -> Vec<&str> {
    let section = text.split("## Which test shows it").nth(1).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.filter_map(|row| row.strip_suffix("` |")?.rsplit('`').next())
        .collect()
}

/// The tests of a file, in order.
fn tests_of(text: &str) -> Vec<&str> {
    let after_mark = text.split("#[test]\nfn ").skip(1);
    after_mark
        .filter_map(|rest| rest.split('(').next())
        .collect()
}

/// Fails if a test is renamed, or a row of the matrix added, and the table is forgotten.
#[test]
fn the_table_of_faults_is_true() {
    let text = read("docs/GUARANTEES.md");
    let named = named(&text);
    assert!(named.len() > 50, "{named:#?}");
    let mut in_matrix = Vec::new();
    for path in files("tests/it".as_ref()) {
        let path = path.display().to_string();
        if path.contains("/matrix_") && !path.ends_with("_map.rs") {
            in_matrix.extend(tests_of(&read(&path)).into_iter().map(str::to_owned));
        }
    }
    for test in &in_matrix {
        assert!(named.contains(&test.as_str()), "no row for {test}");
    }
    for name in named {
        let exists = match name.split_once("::") {
            Some((file, test)) => tests_of(&read(&format!("tests/it/{file}.rs"))).contains(&test),
            None => in_matrix.iter().any(|test| test == name),
        };
        assert!(exists, "there is no test {name}");
    }
}

/// The text of a file that a table names by its name alone, or by its path in `src`.
fn text_of(name: &str) -> Option<String> {
    let mut paths = files("tests/it".as_ref());
    paths.extend(files("src".as_ref()));
    let path = paths.into_iter().find(|path| path.ends_with(name))?;
    Some(read(&path.display().to_string()))
}

/// Fails if one of the faults that were found from outside has no test, or if a test that shows one is renamed.
#[test]
fn each_fault_that_was_found_has_its_test() {
    let text = read("docs/TESTING.md");
    let section = text
        .split("## Faults found by running it hard")
        .nth(1)
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut numbers = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let of_row = cells[0]
            .split(',')
            .filter_map(|it| it.trim().parse::<u32>().ok());
        let before = numbers.len();
        numbers.extend(of_row);
        if numbers.len() == before {
            continue;
        }
        let mut file = None;
        for name in cells[2].split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                let text = text_of(name);
                file = Some(text.unwrap_or_else(|| panic!("there is no file {name}: {row}")));
            } else if name.contains('_') && !name.contains([':', '/', '.', ' ']) {
                let text = file
                    .as_ref()
                    .unwrap_or_else(|| panic!("no file for {name}: {row}"));
                assert!(
                    text.contains(&format!("fn {name}(")),
                    "there is no test {name}: {row}"
                );
            }
        }
        assert!(file.is_some(), "no test: {row}");
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=48).collect::<Vec<_>>());
}
