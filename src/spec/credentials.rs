//! User name and password: fixed, read or asked for before each attempt. Never shown.

use std::{error::Error, fmt, path::PathBuf, sync::Arc};

use crate::spec::template;

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
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PasswordPlace {
    /// An environment variable.
    Env(String),
    File(PathBuf),
}

/// A variable's name, unless it might be a password that stands in the wrong place: names that are capital
/// letters, digits and underscores are shown, as almost all are.
pub(crate) fn shown_variable(variable: &str) -> &str {
    let is_usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    match variable.bytes().all(is_usual)
        && variable.starts_with(|first: char| !first.is_ascii_digit())
    {
        true => variable,
        false => "(the one that is named)",
    }
}

impl fmt::Debug for PasswordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "Env({:?})", shown_variable(variable)),
            Self::File(path) => write!(f, "File({path:?})"),
        }
    }
}

/// What fits the length field of a text in CONNECT.
const LONGEST: usize = u16::MAX as usize;

/// What makes a user name and a password unfit for CONNECT, without a part of them.
pub(crate) fn check_login(username: &str, password: &str) -> Result<(), &'static str> {
    if username.is_empty() && !password.is_empty() {
        // MQTT 3.1.1 would allow an empty one; rumqttc leaves it out and sends the password alone, which no
        // packet may have [MQTT-3.1.2-22].
        return Err("a password needs a user name, and that is empty");
    }
    if username.len() > LONGEST {
        return Err("the user name is longer than 65,535 bytes");
    }
    if username.contains('\0') {
        return Err(
            "the user name has a null character, which no text of MQTT may have [MQTT-1.5.3-2]",
        );
    }
    if password.len() > LONGEST {
        return Err("the password is longer than 65,535 bytes");
    }
    Ok(())
}

impl Credentials {
    /// What is wrong with what is known of them now.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Anonymous | Self::Asked(_) => Ok(()),
            Self::Fixed { username, password } => check_login(username, password),
            // There is a password; what it is, is seen when it is read.
            Self::Stored { username, .. } => check_login(username, "?"),
        }
    }

    /// With all of its texts filled in.
    pub(crate) fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Anonymous | Self::Asked(_) => self.clone(),
            Self::Fixed { username, password } => Self::Fixed {
                username: fill(username),
                password: fill(password),
            },
            Self::Stored { username, place } => Self::Stored {
                username: fill(username),
                place: match place {
                    PasswordPlace::Env(variable) => PasswordPlace::Env(fill(variable)),
                    PasswordPlace::File(path) => PasswordPlace::File(template::path(path, fill)),
                },
            },
        }
    }

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
