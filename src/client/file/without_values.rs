//! What serde, TOML and JSON say of a mistake, without what stands in the file: a password may be in any
//! place of it, also where a key or a number should be.
//!
//! Only short numbers, and words that are almost one of those that are expected, are repeated.

/// A message without values, and whether it may end the path to the mistake with the key that it is about.
pub(super) fn without_values(message: &str) -> (String, bool) {
    let message = message.trim_end();
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = message.strip_prefix(kind) {
            // The last one: the value may hold the same words.
            let (value, expected) = split_last(rest, ", expected ");
            let expected = in_words(expected);
            return (format!("{kind}{}{expected}", described(value)), true);
        }
    }
    for (kind, instead) in [
        ("unknown field `", "unknown field"),
        ("unknown variant `", "unknown word"),
    ] {
        if let Some(rest) = message.strip_prefix(kind) {
            let (value, expected) = match rest.rfind("`, expected ") {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (split_last(rest, "`, there are no").0, ""),
            };
            if value.starts_with("$__toml_private") {
                return ("invalid type: a date, expected a table".to_owned(), false);
            }
            let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            return match known.iter().any(|known| is_typo_of(value, known)) {
                true => (format!("{kind}{value}`{expected}"), true),
                false => (format!("{instead}{expected}"), instead != "unknown field"),
            };
        }
    }
    match message {
        // TOML's words, where a word such as `clean` is expected.
        "wanted string or table" => return ("expected a word in quotes".to_owned(), true),
        _ if message.starts_with("wanted exactly 1 element") => {
            return ("expected a word in quotes".to_owned(), true);
        }
        // JSON's, there and where nothing stands.
        "expected value" | "invalid float, expected `nan`" | "invalid float, expected `inf`" => {
            let told = "expected a value: a text in quotes, a number, a list or a table";
            return (told.to_owned(), true);
        }
        _ if message.starts_with("EOF while parsing") => {
            return ("the text ends too early".to_owned(), true);
        }
        _ => {}
    }
    let (before, expected) = split_last(message, ", expected ");
    let told = format!("{before}{}", in_words(expected));
    (told.replace('\n', ", "), true)
}

/// What is expected, where serde says it in the words of Rust.
fn in_words(expected: &str) -> String {
    let words = match expected.strip_prefix(", expected ").unwrap_or_default() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65,535",
        "u32" => "a whole number from 0 to 4,294,967,295",
        "u64" | "usize" => "a whole number from 0 on",
        "a boolean" => "true or false",
        "a string" => "a string in quotes",
        "path string" => "the path of a file in quotes",
        "a sequence" => "a list in brackets",
        _ => return expected.to_owned(),
    };
    format!(", expected {words}")
}

fn split_last<'a>(text: &'a str, separator: &str) -> (&'a str, &'a str) {
    text.rfind(separator)
        .map_or((text, ""), |at| text.split_at(at))
}

/// serde's description of a value, without the value.
fn described(value: &str) -> &str {
    match value {
        "sequence" => return "a list",
        "map" => return "a table",
        "null" | "unit value" => return "nothing",
        _ if value.starts_with("string ") => return "this text",
        _ => {}
    }
    let number = value
        .strip_prefix("integer `")
        .or_else(|| value.strip_prefix("floating point `"));
    match number {
        // No more of it than the three characters of 999.
        Some(number) if number.trim_end_matches('`').len() <= 3 => value,
        Some(_) => "this number",
        None if value.starts_with("character ") => "this character",
        None if value.contains('"') => "this value",
        None => value,
    }
}

/// Whether a word is a key with a slip, of which it shows nothing but the key.
fn is_typo_of(word: &str, known: &str) -> bool {
    let plain = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|letter| !matches!(letter, '_' | '-'));
        letters.flat_map(char::to_lowercase).collect()
    };
    // Longer than any key: the work below is that of its square.
    if word.len() > 40 {
        return false;
    }
    let (word, known) = (plain(word), plain(known));
    known.starts_with(&word) || word.len() <= 3 || {
        let slips = slips(&word, &known);
        let begins_alike = word.iter().zip(&known).take_while(|(a, b)| a == b).count() >= 4;
        slips <= 3 && (begins_alike || slips * 2 <= known.len().min(word.len()))
    }
}

/// Letters to be added, left out or changed (Levenshtein's distance).
fn slips(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (other, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let change = diagonal + usize::from(letter != other);
            diagonal = *above;
            left = change.min(left + 1).min(*above + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a slip of the pen is not repeated to its writer.
    #[test]
    fn typos_are_told() {
        for (word, known) in [
            ("retries", "retry"),
            ("retained", "retain"),
            ("QoS", "qos"),
            ("attempt", "attempts"),
            ("user", "username"),
            ("keepalive", "keep_alive"),
            ("DropOldest", "drop_oldest"),
            ("clients", "client"),
        ] {
            assert!(is_typo_of(word, known), "{word}");
        }
        for word in ["s3cret", "s3cret-of-mine", "hunter2", "namehunter2"] {
            for known in ["name", "retry", "session", "tls", "ca_file", "secret_a"] {
                let told = is_typo_of(word, known);
                assert!(!told || known == "secret_a", "{word} {known}");
            }
        }
    }

    /// Fails when a value of a file is in what is said of it.
    #[test]
    fn values_are_left_out() {
        let told = |message: &str| without_values(message).0;
        assert_eq!(
            told("invalid type: string \"a, expected b\", expected u16"),
            "invalid type: this text, expected a whole number from 0 to 65,535"
        );
        assert_eq!(
            told("invalid value: integer `70000`, expected u16"),
            "invalid value: this number, expected a whole number from 0 to 65,535"
        );
        assert_eq!(
            told("invalid value: integer `3`, expected 0, 1 or 2"),
            "invalid value: integer `3`, expected 0, 1 or 2"
        );
        assert_eq!(
            told("unknown field `s3`cret`, expected `name` or `broker`"),
            "unknown field, expected `name` or `broker`"
        );
    }
}
