//! Which topic names a topic filter matches (MQTT 3.1.1 section 4.7).
//!
//! rumqttc's own matcher panics on a topic whose first character takes more than one byte,
//! and a peer chooses the topics: so dispatch never uses it.

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
    let (filter, topic) = (filter.as_bytes(), topic.as_bytes());
    // Both walked once, by bytes: neither `/` nor a wildcard is ever part of a longer character.
    let (mut f, mut t) = (0, 0);
    loop {
        match (filter.get(f), topic.get(t)) {
            (Some(b'#'), _) if is_level(filter, f) => return true,
            (Some(b'+'), _) if is_level(filter, f) => {
                let rest = topic.get(t..).unwrap_or_default();
                let level = rest.iter().position(|byte| *byte == b'/');
                t += level.unwrap_or(rest.len());
                f += 1;
            }
            (Some(wanted), Some(byte)) if wanted == byte => {
                f += 1;
                t += 1;
            }
            (None, None) => return true,
            // `a/#` matches `a` too.
            (Some(b'/'), None) => return filter.get(f + 1..) == Some(b"#"),
            _ => return false,
        }
    }
}

/// Whether the byte at this place is all there is between two slashes.
fn is_level(filter: &[u8], at: usize) -> bool {
    let begins = at
        .checked_sub(1)
        .is_none_or(|before| filter.get(before) == Some(&b'/'));
    begins && filter.get(at + 1).is_none_or(|after| *after == b'/')
}

/// The filter of a shared subscription, or the filter itself.
fn unshared(filter: &str) -> &str {
    filter
        .strip_prefix("$share/")
        .and_then(|shared| shared.split_once('/'))
        .map_or(filter, |(_, filter)| filter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::topic::{check_filter, check_topic};

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

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

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
