//! The front door: what a program builds, starts, asks and stops.

pub(crate) mod builder;
pub(crate) mod check;
pub(crate) mod error;
#[expect(clippy::module_inception, reason = "the type gives the file its name")]
pub(crate) mod fleet;
pub(crate) mod layout;
pub(crate) mod publishers;
pub(crate) mod routes;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tls;
