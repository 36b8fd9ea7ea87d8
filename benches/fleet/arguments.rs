//! The arguments of the runner's children: `name=value` each.

use std::str::FromStr;

use crate::Result;

pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    pub(crate) fn new(arguments: impl IntoIterator<Item = String>) -> Self {
        Self(arguments.into_iter().collect())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    }

    /// The number of this name, or what it is without one.
    pub(crate) fn number<T: FromStr>(&self, name: &str, without: T) -> Result<T> {
        match self.text(name) {
            Some(text) => text
                .parse()
                .map_err(|_| format!("{name}={text} is no number").into()),
            None => Ok(without),
        }
    }
}
