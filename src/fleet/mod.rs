//! The front door: what a program builds, starts, asks and stops.

pub(crate) mod bill;
pub(crate) mod builder;
pub(crate) mod check;
pub(crate) mod encryption;
pub(crate) mod ending;
pub(crate) mod error;
pub(crate) mod handling;
pub(crate) mod plan;
pub(crate) mod pub_function;
pub(crate) mod publishers;
mod queue;
mod range;
pub(crate) mod running;
pub(crate) mod start;
