//! Why a file of specs could not be used: where, and what.

use std::{io, path::PathBuf};

/// Why a file of specs could not be used. No text of it repeats a password.
///
/// ```
/// use mqtt_fleet::{SpecFile, SpecFileError};
///
/// let error = SpecFile::from_toml("[[client]]\nname = 'plant'\nbroker = 'localhost'").unwrap_err();
/// let text = error.to_string();
/// assert!(text.starts_with("3:10: client[0].broker: it has no scheme: write mqtt://localhost"), "{text}");
/// let SpecFileError::Content { line, key, .. } = error else { panic!("{error}") };
/// assert_eq!((line, key.as_str()), (3, "client[0].broker"));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SpecFileError {
    /// The file can't be read.
    #[error("{} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file's name does not say what is in it.
    #[error("{}: a file of specs ends in .toml or .json", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// What is in it is wrong: its syntax, a key that is not known or is missing, a value of the
    /// wrong type or one that can't be.
    #[error("{}{line}:{column}: {}{problem}", file(path), at(key))]
    Content {
        /// The file, unless it was a text.
        path: Option<PathBuf>,
        /// The line, from 1.
        line: usize,
        /// The column, in bytes from 1. In JSON it is where the reader had got to: the end of the
        /// value.
        column: usize,
        /// The key, such as `client[2].will.qos`; the first client is `client[0]`. Empty where the
        /// syntax is wrong.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// `attach` names a client that the file does not have.
    #[error("the file has no client {name:?}")]
    UnknownName {
        /// The name.
        name: String,
    },
}

crate::spec::readable::debug_is_text!(SpecFileError);

fn file(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map_or_else(String::new, |path| format!("{}:", path.display()))
}

fn at(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("{key}: "),
    }
}
