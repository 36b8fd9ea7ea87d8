//! Whether a text holds a part of a secret.

/// Panics if a text has more than three bytes of a secret in a row, as they are or as a list of numbers.
pub(crate) fn assert_hidden(secret: &str, text: &str) {
    for part in secret.as_bytes().windows(4) {
        let numbers: Vec<String> = part.iter().map(ToString::to_string).collect();
        let numbers = numbers.join(", ");
        assert!(
            !text.contains(&numbers),
            "the bytes {part:?} are in: {text}"
        );
        let Ok(part) = std::str::from_utf8(part) else {
            continue;
        };
        // White space and dashes are no secret.
        if part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            assert!(!text.contains(part), "{part:?} is in: {text}");
        }
    }
}
