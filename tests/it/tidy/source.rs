//! Reading the repository: its files, and what in a Rust source is code.

use std::fs;
use std::path::{Path, PathBuf};

/// The names that stand right after `prefix`, each with its line. For a group in braces these are the
/// first names of its parts; what is no name, such as `*`, comes as an empty one.
pub(crate) fn named_after(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        // `xcrate::` is another name, and the second half of `super::super::` was seen with the first.
        let before = &code[..at];
        if before.chars().next_back().is_some_and(is_word)
            || (prefix == "super::" && before.ends_with(prefix))
        {
            continue;
        }
        let start = at + prefix.len();
        let Some(group) = code[start..].strip_prefix('{') else {
            names.push(name_at(code, start));
            continue;
        };
        let mut depth = 0;
        let mut part = start + 1;
        for (offset, c) in group.char_indices() {
            let here = start + 1 + offset;
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    if !code[part..here].trim().is_empty() {
                        names.push(name_at(code, part));
                    }
                    part = here + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names
}

/// The name that begins at `at`, after blanks, with the line it is on.
fn name_at(code: &str, at: usize) -> (usize, String) {
    let rest = code[at..].trim_start();
    let start = code.len() - rest.len();
    let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
    (code[..start].matches('\n').count() + 1, name)
}

/// The text with comments and the insides of literals made blank; every line keeps its number.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hidden = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, '"').unwrap_or(rest.len()),
            'r' if !code.ends_with(is_word) || code.ends_with('b') => raw_string(rest),
            // Otherwise it is a lifetime.
            '\'' if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') => {
                quoted(rest, '\'').unwrap_or(0)
            }
            _ => 0,
        };
        if hidden == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(
                rest[..hidden]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            rest = &rest[hidden..];
        }
    }
    code
}

/// The length of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[..at].ends_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

/// The length of the literal that `text` begins with, quotes included.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return Some(at + 1);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// The length of the raw string that `text` begins with, from its `r` on; 0 if it is none.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let body = 2 + hashes;
    let end = format!("\"{}", "#".repeat(hashes));
    text[body..]
        .find(&end)
        .map_or(text.len(), |at| body + at + end.len())
}

/// The insides of a document's ```rust blocks, with or without attributes such as `no_run`.
pub(crate) fn rust_blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(fence) = lines.by_ref().find_map(|line| line.strip_prefix("```")) {
        let body: Vec<&str> = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .map(str::trim_end)
            .collect();
        if fence.split(',').next() == Some("rust") {
            blocks.push(body.join("\n"));
        }
    }
    blocks
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(crate) fn sources() -> Vec<PathBuf> {
    files(Path::new("src"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

/// All files under a directory of the repository, but for what is built and for git's own.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root().join(directory)).expect("the directory can be listed") {
        let entry = entry.expect("the directory can be listed");
        let path = directory.join(entry.file_name());
        if entry.file_type().expect("a file has a type").is_dir() {
            if ![Path::new("target"), Path::new(".git")].contains(&path.as_path()) {
                paths.extend(files(&path));
            }
        } else if path != Path::new(".git") {
            // In a linked work tree `.git` is a file, with a path in it.
            paths.push(path);
        }
    }
    paths.sort();
    paths
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path} is part of the repository: {error}"))
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn code_is_told_from_comments_and_text() {
    let text = r####"a /* b /* c */ d */ e // f
"g\"h" i 'j' '\'' k<'l> r#"m " n"# o br"p" b'q' '"' r '{'"####;
    let code = code_of(text);
    let words: Vec<&str> = code
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(words, ["a", "e", "i", "k", "l", "o", "b", "b", "r"]);
    assert_eq!(code.lines().count(), 2);
    assert_eq!(code_of("\"a\nb\"\nc").lines().nth(2), Some("c"));
}
