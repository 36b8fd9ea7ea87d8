//! Reading a password from where its user keeps it.

use std::{env, fs};

use crate::spec::credentials::PasswordPlace;

/// The password, or what is wrong with its place; the text never holds what was read.
pub(crate) fn read(place: &PasswordPlace) -> Result<String, String> {
    match place {
        PasswordPlace::Env(variable) => match env::var(variable) {
            Ok(password) => Ok(password),
            Err(env::VarError::NotPresent) => {
                Err(format!("the environment variable {variable:?} is not set"))
            }
            Err(env::VarError::NotUnicode(_)) => Err(format!(
                "the environment variable {variable:?} is not UTF-8"
            )),
        },
        PasswordPlace::File(path) => {
            let mut password =
                fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            // The end of the line that editors and `echo` add.
            if password.ends_with('\n') {
                password.pop();
                if password.ends_with('\r') {
                    password.pop();
                }
            }
            Ok(password)
        }
    }
}
