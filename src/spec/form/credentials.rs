//! Credentials in a file: a password is read, or told where it is, and never written.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::spec::credentials::{Credentials, PasswordPlace};

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with username and password, password_env or password_file"
)]
struct CredentialsForm {
    username: String,
    #[serde(skip_serializing)]
    password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = CredentialsForm::deserialize(deserializer)?;
        let username = form.username;
        let place = match (form.password, form.password_env, form.password_file) {
            (password, None, None) => {
                return Ok(Self::Fixed {
                    username,
                    password: password.map(|secret| secret.0).unwrap_or_default(),
                });
            }
            (None, Some(variable), None) => PasswordPlace::Env(variable),
            (None, None, Some(path)) => PasswordPlace::File(path),
            _ => {
                return Err(de::Error::custom(
                    "only one of password, password_env and password_file can be given",
                ));
            }
        };
        Ok(Self::Stored { username, place })
    }
}

impl Serialize for Credentials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (username, place) = match self {
            Self::Fixed { username, password } if password.is_empty() => (username, None),
            Self::Stored { username, place } => (username, Some(place.clone())),
            Self::Fixed { .. } => {
                // Left out, the copy could not log in, and nobody would know why.
                return Err(ser::Error::custom(
                    "a password is not written out: keep it in password_env or password_file",
                ));
            }
            Self::Anonymous | Self::Asked(_) => {
                return Err(ser::Error::custom("these credentials are no data"));
            }
        };
        let (password_env, password_file) = match place {
            None => (None, None),
            Some(PasswordPlace::Env(variable)) => (Some(variable), None),
            Some(PasswordPlace::File(path)) => (None, Some(path)),
        };
        let form = CredentialsForm {
            username: username.clone(),
            password: None,
            password_env,
            password_file,
        };
        form.serialize(serializer)
    }
}

/// A password. What is wrong with it is said without it: serde's own errors repeat the value.
struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for a text, some formats do not ask us before they complain.
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl SecretVisitor {
    fn no_text<E: de::Error>() -> Result<Secret, E> {
        Err(E::custom("a password is a text in quotes"))
    }
}

impl<'de> de::Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: de::Error>(self, password: &str) -> Result<Secret, E> {
        match password.is_empty() {
            // Such as a variable of a shell that was not set.
            true => Err(E::custom(
                "a password is not empty: leave it out if there is none",
            )),
            false => Ok(Secret(password.to_owned())),
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Self::no_text()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Self::no_text()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Self::no_text()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Self::no_text()
    }
}
