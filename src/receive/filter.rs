//! Topic names and topic filters by MQTT 3.1.1 section 4.7.
//!
//! rumqttc's own matcher panics on a topic whose first character takes more than one byte,
//! and a peer chooses the topics: so dispatch never uses it.

/// Why a topic name or a topic filter is not valid.
///
/// ```
/// use mqtt_fleet::{TopicError, check_filter, check_topic};
///
/// assert_eq!(check_topic("plant/+/temp"), Err(TopicError::Wildcard));
/// assert_eq!(check_filter("plant/#/temp"), Err(TopicError::HashNotLast));
/// assert!(check_filter("plant/+/temp").is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// Topic names and filters have at least one character [MQTT-4.7.3-1].
    #[error("it is empty")]
    Empty,
    /// At most 65,535 bytes of UTF-8 fit their length field [MQTT-4.7.3-3].
    #[error("it is longer than 65,535 bytes")]
    TooLong,
    /// The null character is not allowed [MQTT-4.7.3-2].
    #[error("it contains a null character")]
    Null,
    /// A topic name contains no wildcard [MQTT-3.3.2-2].
    #[error("a topic name contains no wildcard '+' or '#'")]
    Wildcard,
    /// `#` is a whole level, and the last one [MQTT-4.7.1-2].
    #[error("'#' must be the whole last level")]
    HashNotLast,
    /// `+` is a whole level [MQTT-4.7.1-3].
    #[error("'+' must be a whole level")]
    PlusNotAlone,
    /// `$share` is followed by a group name without wildcard and a filter.
    #[error("a shared subscription is '$share/group/filter'")]
    Shared,
}

/// Checks a topic name, to which messages are published.
///
/// # Errors
///
/// [`TopicError`] says what is wrong with it.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    check_text(topic)?;
    if topic.contains(['+', '#']) {
        return Err(TopicError::Wildcard);
    }
    Ok(())
}

/// Checks a topic filter, to which a client subscribes. `$share/group/filter` is allowed.
///
/// # Errors
///
/// [`TopicError`] says what is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    let filter = match filter.strip_prefix("$share/") {
        None => filter,
        Some(shared) => {
            let (group, filter) = shared.split_once('/').ok_or(TopicError::Shared)?;
            if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
                return Err(TopicError::Shared);
            }
            filter
        }
    };
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::HashNotLast);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::PlusNotAlone);
        }
    }
    Ok(())
}

/// Whether a topic name matches a topic filter (section 4.7).
///
/// A filter that begins with a wildcard does not match a topic that begins with `$`
/// [MQTT-4.7.2-1]; `a/#` also matches its parent `a`. Of `$share/group/filter` the filter counts.
/// Neither side is checked: an invalid filter matches as its levels read.
///
/// ```
/// use mqtt_fleet::topic_matches;
///
/// assert!(topic_matches("plant/+/temp", "plant/7/temp"));
/// assert!(topic_matches("plant/#", "plant"));
/// assert!(!topic_matches("#", "$SYS/uptime"));
/// ```
pub fn topic_matches(filter: &str, topic: &str) -> bool {
    let filter = unshared(filter);
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut filter_levels = filter.split('/');
    let mut topic_levels = topic.split('/');
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// The filter of a shared subscription, or the filter itself.
fn unshared(filter: &str) -> &str {
    filter
        .strip_prefix("$share/")
        .and_then(|shared| shared.split_once('/'))
        .map_or(filter, |(_, filter)| filter)
}

fn check_text(text: &str) -> Result<(), TopicError> {
    match text {
        "" => Err(TopicError::Empty),
        _ if text.len() > usize::from(u16::MAX) => Err(TopicError::TooLong),
        _ if text.contains('\0') => Err(TopicError::Null),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The standard's rules said a second time, by recursion over byte strings: an oracle that
    /// shares no code with the matcher.
    fn oracle(filter: &[u8], topic: &[u8]) -> bool {
        fn level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
            match text.iter().position(|byte| *byte == b'/') {
                None => (text, None),
                Some(at) => (&text[..at], Some(&text[at + 1..])),
            }
        }
        fn levels(filter: Option<&[u8]>, topic: Option<&[u8]>) -> bool {
            match (filter.map(level), topic.map(level)) {
                (None, None) => true,
                (Some((b"#", None)), _) => true,
                (Some((wanted, filter)), Some((have, topic))) => {
                    (wanted == b"+" || wanted == have) && levels(filter, topic)
                }
                _ => false,
            }
        }
        let wild = matches!(filter.first(), Some(b'+' | b'#'));
        !(wild && topic.first() == Some(&b'$')) && levels(Some(filter), Some(topic))
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/ranking",
                true,
            ),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
                true,
            ),
            ("sport/#", "sport", true),
            ("#", "sport/tennis", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/broker", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/broker", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("é/+/#", "é/ü", true),
            ("+", "日本", true),
            ("$share/group/a/+", "a/b", true),
            ("$share/group/#", "$SYS/x", false),
        ] {
            assert_eq!(
                topic_matches(filter, topic),
                expected,
                "{filter} on {topic}"
            );
        }
    }

    #[test]
    fn invalid_texts_are_named() {
        assert_eq!(check_topic(""), Err(TopicError::Empty));
        assert_eq!(check_topic("a\0b"), Err(TopicError::Null));
        assert_eq!(check_topic(&"a".repeat(65_536)), Err(TopicError::TooLong));
        assert_eq!(check_topic(&"a".repeat(65_535)), Ok(()));
        assert_eq!(check_topic("a/#"), Err(TopicError::Wildcard));
        assert_eq!(check_filter("a#"), Err(TopicError::HashNotLast));
        assert_eq!(check_filter("#/a"), Err(TopicError::HashNotLast));
        assert_eq!(check_filter("a/b+"), Err(TopicError::PlusNotAlone));
        assert_eq!(check_filter("$share/g"), Err(TopicError::Shared));
        assert_eq!(check_filter("$share//a"), Err(TopicError::Shared));
        assert_eq!(check_filter("$share/+/a"), Err(TopicError::Shared));
        assert_eq!(check_filter("$share/g/a/#"), Ok(()));
        assert_eq!(check_filter("/"), Ok(()));
    }

    proptest! {
        #[test]
        fn matches_as_the_oracle_does(filter in "[ab+#/$é]{1,8}", topic in "[ab/$é]{1,8}") {
            prop_assume!(check_filter(&filter).is_ok());
            prop_assert_eq!(
                topic_matches(&filter, &topic),
                oracle(filter.as_bytes(), topic.as_bytes()),
            );
        }

        #[test]
        fn never_panics(filter in ".*", topic in ".*") {
            let _ = (topic_matches(&filter, &topic), check_filter(&filter), check_topic(&topic));
        }

        #[test]
        fn a_topic_matches_itself(topic in "[a-z/é日]{1,20}") {
            prop_assert!(topic_matches(&topic, &topic));
        }
    }
}
