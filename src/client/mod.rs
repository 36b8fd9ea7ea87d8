//! One client: what it is, its handle, its network thread, and the door to rumqttc.

pub(crate) mod brokers;
pub(crate) mod clients;
pub(crate) mod copies;
pub(crate) mod error;
#[cfg(feature = "files")]
pub(crate) mod file;
#[cfg(feature = "serde")]
mod form;
pub(crate) mod handle;
pub(crate) mod life;
pub(crate) mod network;
pub(crate) mod next;
pub(crate) mod password;
mod read;
pub(crate) mod resolve;
pub(crate) mod spec;
pub(crate) mod subscriptions;
pub(crate) mod tls;
