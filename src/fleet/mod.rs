//! The front door: what a program builds, starts, asks and stops.

pub(crate) mod builder;
mod check;
mod check_client;
mod config;
mod crew;
pub(crate) mod error;
#[expect(clippy::module_inception, reason = "the type gives the file its name")]
pub(crate) mod fleet;
mod layout;
mod members;
mod publishers;
mod report;
mod routes;
mod start;
mod stop;
mod tls;
