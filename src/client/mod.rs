//! One client: what it is, its handle, and its network thread.

pub(crate) mod attempts;
pub(crate) mod brokers;
pub(crate) mod client_loop;
pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod copies;
pub(crate) mod error;
pub(crate) mod events;
#[cfg(feature = "files")]
pub(crate) mod file;
#[cfg(feature = "serde")]
pub(crate) mod form;
pub(crate) mod handle;
pub(crate) mod member;
pub(crate) mod next;
pub(crate) mod outage;
pub(crate) mod password;
pub(crate) mod spec;
pub(crate) mod task;
pub(crate) mod verdict;
