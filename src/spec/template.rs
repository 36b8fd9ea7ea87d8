//! Placeholders: `{i}` is the number of a client in its template, `{name}` its name.

/// Fills `{i}` with a number. Texts without the placeholder stay as they are.
pub(crate) fn number(text: &str, i: usize) -> String {
    text.replace("{i}", &i.to_string())
}

/// Fills `{name}` with the name of the client.
pub(crate) fn name(text: &str, name: &str) -> String {
    text.replace("{name}", name)
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
}
