//! User name and password: fixed, read or asked for before each attempt. Never shown.

use std::{error::Error, fmt, path::PathBuf, sync::Arc};

/// What [`Credentials::Asked`] calls.
pub(crate) type AskCredentials =
    Arc<dyn Fn() -> Result<(String, String), Box<dyn Error + Send + Sync>> + Send + Sync>;

#[derive(Clone, Default)]
pub(crate) enum Credentials {
    #[default]
    Anonymous,
    Fixed {
        username: String,
        password: String,
    },
    /// The password is read at the start and again before each attempt.
    Stored {
        username: String,
        place: PasswordPlace,
    },
    Asked(AskCredentials),
}

/// Where a password is that is not in the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PasswordPlace {
    /// An environment variable.
    Env(String),
    File(PathBuf),
}

impl Credentials {
    /// The file that the password is in.
    #[cfg(feature = "files")]
    pub(crate) fn file(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Stored {
                place: PasswordPlace::File(path),
                ..
            } => Some(path),
            _ => None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Fixed { username, .. } => write!(f, "Fixed {{ username: {username:?}, .. }}"),
            Self::Stored { username, place } => {
                write!(f, "Stored {{ username: {username:?}, place: {place:?} }}")
            }
            Self::Asked(_) => f.write_str("Asked(..)"),
        }
    }
}
