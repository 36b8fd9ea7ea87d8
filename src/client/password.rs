//! Reading a password from where its user keeps it.

use std::env;

use crate::{
    spec::credentials::{PasswordPlace, check_login, shown_variable},
    transport::read::read_at_most,
};

/// A password has at most 65,535 bytes; a byte order mark and a line end may be around it.
const LARGEST: u64 = 65_535 + 5;

/// The password of a user, or what is wrong with it or its place; the text never holds what was read.
pub(crate) fn read(username: &str, place: &PasswordPlace) -> Result<String, String> {
    let password = match place {
        PasswordPlace::Env(variable) => of_variable(variable)?,
        PasswordPlace::File(path) => {
            of_file(path).map_err(|problem| match path.as_os_str().is_empty() {
                true => problem,
                false => format!("{}: {problem}", path.display()),
            })?
        }
    };
    check_login(username, &password)?;
    Ok(password)
}

fn of_variable(variable: &str) -> Result<String, String> {
    let shown = match shown_variable(variable) {
        name if name == variable => format!("{name:?}"),
        other => other.to_owned(),
    };
    // `env::var` compares names only; one that no variable can have is not looked up.
    if variable.is_empty() || variable.contains(['=', '\0']) {
        return Err("no environment variable can have this name".to_owned());
    }
    match env::var(variable) {
        Ok(password) if password.is_empty() => {
            Err(format!("the environment variable {shown} is empty"))
        }
        Ok(password) => Ok(password),
        Err(env::VarError::NotPresent) => {
            let hint = match shown_variable(variable) == variable {
                true => "",
                false => ": `password_env` takes its name, not the password",
            };
            Err(format!("the environment variable {shown} is not set{hint}"))
        }
        Err(env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {shown} is not UTF-8"))
        }
    }
}

fn of_file(path: &std::path::Path) -> Result<String, String> {
    if path.as_os_str().is_empty() {
        return Err("no file is named".to_owned());
    }
    let bytes = read_at_most(path, LARGEST).map_err(|error| error.to_string())?;
    // Of editors that mark UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16: save it as UTF-8".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    // The end of the line that editors and `echo` add.
    let password = match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    };
    match password.is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(password.to_owned()),
    }
}
