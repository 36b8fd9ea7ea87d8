//! TOML and JSON into specs, and their two kinds of errors into one.

use std::path::Path;

use serde::Deserialize;

use crate::client::{
    copies::Copies,
    file::{error::SpecFileError, without_values::without_values},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with the list `client`")]
struct File {
    client: Vec<Copies>,
}

/// All keys of a file, as docs/SPEC_FILES.md has them: those that an error may repeat.
const KEYS: [&str; 44] = [
    "client",
    "name",
    "times",
    "broker",
    "tls",
    "client_id",
    "keep_alive",
    "session",
    "credentials",
    "will",
    "birth",
    "subscribe",
    "retry",
    "connect_timeout",
    "max_packet_size",
    "filters_per_subscribe",
    "outbox_capacity",
    "outbox_overflow",
    "window",
    "offline",
    "max_age",
    "max_closes",
    "replay",
    "refused_subscription",
    "lowered_subscription",
    "ca_file",
    "client_certificate",
    "certificate",
    "key",
    "alpn",
    "server_name",
    "username",
    "password",
    "password_env",
    "password_file",
    "topic",
    "payload",
    "qos",
    "retain",
    "filter",
    "attempts",
    "pause",
    "stable_after",
    "refusals_too",
];

/// What is wrong in a text, and where.
pub(super) struct Fault {
    line: usize,
    column: usize,
    key: String,
    problem: String,
}

impl Fault {
    fn new((line, column): (usize, usize), key: &str, message: &str) -> Self {
        let mut key = match key {
            "." => String::new(),
            key => key.to_owned(),
        };
        // serde tells these at the table that they are of.
        let field = quoted_after(message, "missing field ");
        if let Some(field) = field.or_else(|| quoted_after(message, "duplicate field ")) {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(field);
        }
        let (problem, names_key) = without_values(message);
        if !names_key {
            // What stands where a key should be.
            let end = key.rfind('.').unwrap_or_default();
            key.truncate(end);
        }
        Self {
            line,
            column,
            key,
            problem,
        }
    }

    pub(super) fn found_in(self, path: Option<&Path>) -> SpecFileError {
        SpecFileError::Content {
            path: path.map(Path::to_owned),
            line: self.line,
            column: self.column,
            key: self.key,
            problem: self.problem,
        }
    }
}

pub(super) fn toml(text: &str) -> Result<Vec<Copies>, Fault> {
    let fault = |key: &str, error: &toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let place = position(text, start);
        let message = match (error.message(), key_at(text, start)) {
            ("duplicate key", Some(key)) => format!("duplicate key `{key}`"),
            (message, _) => message.to_owned(),
        };
        Fault::new(place, key, &message)
    };
    let document = toml::Deserializer::parse(text).map_err(|error| fault("", &error))?;
    let file: Result<File, _> = serde_path_to_error::deserialize(document);
    file.map(|file| file.client)
        .map_err(|error| fault(&error.path().to_string(), error.inner()))
}

pub(super) fn json(text: &str) -> Result<Vec<Copies>, Fault> {
    let fault = |key: &str, error: &serde_json::Error| {
        let message = error.to_string();
        // It ends in the place, which we have.
        let end = message.rfind(" at line ").unwrap_or(message.len());
        let place = (error.line().max(1), error.column().max(1));
        let key = match error.classify() {
            serde_json::error::Category::Data => key,
            _ => "",
        };
        Fault::new(place, key, &message[..end])
    };
    let mut document = serde_json::Deserializer::from_str(text);
    let file: Result<File, _> = serde_path_to_error::deserialize(&mut document);
    let file = file.map_err(|error| fault(&error.path().to_string(), error.inner()))?;
    document.end().map_err(|error| fault("", &error))?;
    Ok(file.client)
}

/// The key or the table that begins at a byte, if it is one of ours: any other may be a secret.
fn key_at(text: &str, at: usize) -> Option<&str> {
    let rest = text.get(at..)?.trim_start_matches('[');
    let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
    let word = rest.get(..end.unwrap_or(rest.len()))?;
    KEYS.contains(&word).then_some(word)
}

/// Line and column of a byte, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
    (line, column)
}

fn quoted_after<'a>(message: &'a str, beginning: &str) -> Option<&'a str> {
    message.strip_prefix(beginning)?.split('`').nth(1)
}
