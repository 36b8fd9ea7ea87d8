//! The fault matrix in docs/GUARANTEES.md names tests that exist, and all of those in `matrix_*.rs`.

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
