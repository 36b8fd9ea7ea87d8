//! What is a valid topic name and topic filter (MQTT 3.1.1 section 4.7).

/// Why a topic name or a topic filter is not valid.
///
/// ```
/// use mqtt_fleet::{TopicError, check_filter, check_topic};
///
/// assert_eq!(check_topic("plant/+/temp"), Err(TopicError::Wildcard));
/// assert_eq!(check_filter("plant/#/temp"), Err(TopicError::HashNotLast));
/// assert!(check_filter("plant/+/temp").is_ok());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
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

crate::spec::readable::debug_is_text!(TopicError);

/// What fits the length field of a string in a packet.
const LONGEST: usize = u16::MAX as usize;

/// Checks a topic name, to which messages are published.
///
/// # Errors
///
/// [`TopicError`] says what is wrong with it.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    check_length(topic)?;
    // Almost all are valid, and each message comes by here: one look at each byte.
    let is_special = |byte| matches!(byte, b'\0' | b'+' | b'#');
    match topic.bytes().any(is_special) {
        false => Ok(()),
        true if topic.contains('\0') => Err(TopicError::Null),
        true => Err(TopicError::Wildcard),
    }
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

fn check_text(text: &str) -> Result<(), TopicError> {
    check_length(text)?;
    match text.contains('\0') {
        true => Err(TopicError::Null),
        false => Ok(()),
    }
}

fn check_length(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        1..=LONGEST => Ok(()),
        _ => Err(TopicError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_texts_are_named() {
        assert_eq!(check_topic(""), Err(TopicError::Empty));
        assert_eq!(check_topic("a\0b"), Err(TopicError::Null));
        assert_eq!(check_topic(&"a".repeat(65_536)), Err(TopicError::TooLong));
        assert_eq!(check_topic(&"a".repeat(65_535)), Ok(()));
        assert_eq!(check_topic("a/#"), Err(TopicError::Wildcard));
        assert_eq!(check_topic("ä/+/€"), Err(TopicError::Wildcard));
        assert_eq!(check_topic("+/\0"), Err(TopicError::Null));
        assert_eq!(check_filter("a#"), Err(TopicError::HashNotLast));
        assert_eq!(check_filter("#/a"), Err(TopicError::HashNotLast));
        assert_eq!(check_filter("a/b+"), Err(TopicError::PlusNotAlone));
        assert_eq!(check_filter("$share/g"), Err(TopicError::Shared));
        assert_eq!(check_filter("$share//a"), Err(TopicError::Shared));
        assert_eq!(check_filter("$share/+/a"), Err(TopicError::Shared));
        assert_eq!(check_filter("$share/g/a/#"), Ok(()));
        assert_eq!(check_filter("/"), Ok(()));
    }
}
