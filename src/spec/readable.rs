//! `Debug` of the errors: their text.
//!
//! `fn main() -> Result<(), mqtt_fleet::Error>`, `unwrap` and `expect` print the `Debug` of an error, and a
//! person reads it. So it is the text of `Display`, followed by the texts of the sources, and never the
//! structure.

use std::{error::Error, fmt};

/// The text of an error, and behind it those of its sources that it does not end with already.
pub(crate) fn with_sources(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = error.to_string();
    f.write_str(&text)?;
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            write!(f, ": {next}")?;
            text = next;
        }
        source = error.source();
    }
    Ok(())
}

/// Implements `Debug` of error types as the text of the error.
macro_rules! debug_is_text {
    ($($error:ty),+ $(,)?) => {$(
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                $crate::spec::readable::with_sources(self, f)
            }
        }
    )+};
}

pub(crate) use debug_is_text;

#[cfg(test)]
mod tests {
    use std::io;

    #[derive(thiserror::Error)]
    enum Outer {
        #[error("the file can't be read")]
        Read(#[source] io::Error),
        #[error("the file can't be read: {0}")]
        Told(#[source] io::Error),
        #[error(transparent)]
        Inner(#[from] Box<Outer>),
    }

    debug_is_text!(Outer);

    /// Fails when a source is missing in the text, or is in it twice.
    #[test]
    fn sources_are_told_once() {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let text = "the file can't be read: no such file";
        assert_eq!(format!("{:?}", Outer::Read(gone())), text);
        assert_eq!(format!("{:#?}", Outer::Told(gone())), text);
        assert_eq!(
            format!("{:?}", Outer::Inner(Box::new(Outer::Read(gone())))),
            text
        );
    }
}
