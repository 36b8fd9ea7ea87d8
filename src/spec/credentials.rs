//! User name and password: fixed, or asked for before each attempt. Never shown.

use std::{error::Error, fmt, sync::Arc};

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
    Asked(AskCredentials),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Fixed { username, .. } => write!(f, "Fixed {{ username: {username:?}, .. }}"),
            Self::Asked(_) => f.write_str("Asked(..)"),
        }
    }
}
