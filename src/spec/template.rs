//! Placeholders: `{i}` is the number of a client in its template, `{name}` its name; `{{i}}` and `{{name}}`
//! stand for those texts themselves. All other braces are what they are.
//!
//! A template's number is filled in first, the name afterwards: only then do the doubled braces go.

use std::path::{Path, PathBuf};

use bytes::Bytes;

const NUMBER: &str = "{i}";
const NAME: &str = "{name}";
const LITERAL_NUMBER: &str = "{{i}}";
const LITERAL_NAME: &str = "{{name}}";

/// Fills `{i}` with a number. Texts without the placeholder stay as they are.
pub(crate) fn number(text: &str, i: usize) -> String {
    let i = i.to_string();
    let rules = [
        (LITERAL_NUMBER, LITERAL_NUMBER),
        (LITERAL_NAME, LITERAL_NAME),
        (NUMBER, i.as_str()),
    ];
    replaced(text, &rules)
}

/// Fills `{name}` with the name of the client.
pub(crate) fn name(text: &str, name: &str) -> String {
    let rules = [(LITERAL_NUMBER, NUMBER), (LITERAL_NAME, NAME), (NAME, name)];
    replaced(text, &rules)
}

/// Fills a payload, if it is a text.
pub(crate) fn payload(payload: &Bytes, fill: impl Fn(&str) -> String) -> Bytes {
    match std::str::from_utf8(payload) {
        Ok(text) if text.contains('{') => fill(text).into(),
        _ => payload.clone(),
    }
}

/// Fills a path, if it is UTF-8.
pub(crate) fn path(path: &Path, fill: impl Fn(&str) -> String) -> PathBuf {
    path.to_str()
        .map_or_else(|| path.to_owned(), |text| fill(text).into())
}

/// Whether `{i}` would be filled in.
pub(crate) fn has_number(text: &str) -> bool {
    text.replace(LITERAL_NUMBER, "").contains(NUMBER)
}

/// Whether `{name}` would be filled in.
pub(crate) fn has_name(text: &str) -> bool {
    text.replace(LITERAL_NAME, "").contains(NAME)
}

/// One walk over the text: what was put in is not looked at again.
fn replaced(text: &str, rules: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        filled.push_str(before);
        let rule = rules.iter().find(|(from, _)| after.starts_with(from));
        let (from, to) = rule.copied().unwrap_or(("{", "{"));
        filled.push_str(to);
        rest = after.get(from.len()..).unwrap_or_default();
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_the_rest_is_left() {
        assert_eq!(number("dev-{i}/{i}", 7), "dev-7/7");
        assert_eq!(number("{name}/{j}", 7), "{name}/{j}");
        assert_eq!(name("a/{name}/b", "dev-7"), "a/dev-7/b");
    }

    /// Fails when a text can't hold the placeholders themselves, or when what was filled in is filled again.
    #[test]
    fn doubled_braces_stand_for_the_placeholders_themselves() {
        let filled = |text: &str| name(&number(text, 7), "{{i}}{name}");
        assert_eq!(filled("{{i}} {{name}} {i}"), "{i} {name} 7");
        assert_eq!(
            filled("{{{i}}} {\"i\": {i}} { {{x}}"),
            "{{i}} {\"i\": 7} { {{x}}"
        );
        assert_eq!(filled("{name}"), "{{i}}{name}");
        assert!(has_name("{name}") && !has_name("{{name}}"));
        assert!(has_number("{{i}}{i}") && !has_number("{{i}} {n}"));
    }
}
