//! Code that is not ours, run so that nothing of it unwinds into our threads: the functions of the user,
//! the formatting and the dropping of what they return, and the panics of rumqttc.
//!
//! Each of these may panic by itself: a `Display`, a `Drop`, the payload of a panic. A panic inside a
//! destructor that runs while another panic unwinds ends the process, as the language has it; nothing can
//! be done about that here.

use std::{
    any::Any,
    error::Error,
    fmt::{self, Display, Write},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The longest text of a foreign error that is kept, in bytes.
const LONGEST_TEXT: usize = 8 * 1024;

/// The payload of a panic may panic when it is dropped, and so may that panic's payload. After this many
/// the last one is leaked.
const MOST_PAYLOADS: usize = 8;

/// A function of the user failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// What its error or its panic says.
    pub(crate) text: String,
    pub(crate) panicked: bool,
}

/// Runs foreign code; its panic comes back as text.
///
/// Unwind safety is asserted: what the code captured is either used by it alone (a later call
/// sees what its own panic left behind) or guarded by locks that do not poison.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = text_of_panic(panic.as_ref());
        discard(panic);
        text
    })
}

/// Calls a function of the user. Its error is formatted and dropped here.
pub(crate) fn call<T>(
    function: impl FnOnce() -> Result<T, Box<dyn Error + Send + Sync>>,
) -> Result<T, Failed> {
    match caught(function) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let text = text_of(&error);
            discard(error);
            Err(Failed {
                text,
                panicked: false,
            })
        }
        Err(text) => Err(Failed {
            text,
            panicked: true,
        }),
    }
}

/// What a foreign value displays, as far as it does.
pub(crate) fn text_of(value: &(impl Display + ?Sized)) -> String {
    let mut text = Bounded(String::new());
    let written = caught(|| write!(text, "{value}"));
    let Bounded(mut text) = text;
    let problem = match written {
        Ok(Ok(())) => return text,
        Ok(Err(_)) if text.len() >= LONGEST_TEXT => "…".to_owned(),
        Ok(Err(_)) => "(its text could not be written: its Display returned an error)".to_owned(),
        Err(panic) => format!("(its text could not be written: its Display panicked: {panic})"),
    };
    if !text.is_empty() {
        text.push(' ');
    }
    text + &problem
}

/// Drops a foreign value, such as a function of the user, whose destructor may panic. Of several values
/// each is given here by itself: a second panic while the first one unwinds would end the process.
pub(crate) fn discard<T>(value: T) {
    // The panic itself was announced by the panic hook.
    let Err(mut payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) else {
        return;
    };
    for _ in 0..MOST_PAYLOADS {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

fn text_of_panic(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without text".to_owned()
    }
}

/// A text that takes no more than this many bytes.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_TEXT.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
        self.0.push_str(text.get(..end.unwrap_or(0)).unwrap_or(""));
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics when it is dropped, with another one as the payload.
    struct Nested(u32);

    impl Drop for Nested {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Nested(self.0 - 1));
            }
        }
    }

    struct Shown(fn(&mut fmt::Formatter<'_>) -> fmt::Result);

    impl Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }

    #[test]
    fn the_text_of_a_panic_survives() {
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
        assert_eq!(caught(|| panic!("{}", 7)), Err::<(), _>("7".to_owned()));
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_goes_no_further() {
        for depth in [1, 3, 1_000] {
            let text = caught(|| panic_any(Nested(depth)));
            assert_eq!(text, Err::<(), _>("a panic without text".to_owned()));
            discard(Nested(depth));
        }
    }

    #[test]
    fn a_display_that_fails_is_a_text_all_the_same() {
        assert_eq!(text_of("plain"), "plain");
        let refuses = Shown(|f| f.write_str("before").and(Err(fmt::Error)));
        assert_eq!(
            text_of(&refuses),
            "before (its text could not be written: its Display returned an error)"
        );
        let panics = Shown(|f| f.write_str("before").map(|()| panic!("inside")));
        assert_eq!(
            text_of(&panics),
            "before (its text could not be written: its Display panicked: inside)"
        );
        let endless = Shown(|f| {
            loop {
                f.write_str("ä")?;
            }
        });
        let text = text_of(&endless);
        assert!(text.len() < LONGEST_TEXT + 10 && text.ends_with("ä …"));
    }
}
