//! One client: what it is, its handle, its network thread, and the door to rumqttc.

pub(crate) mod brokers;
pub(crate) mod clients;
pub(crate) mod error;
pub(crate) mod handle;
pub(crate) mod life;
pub(crate) mod link;
pub(crate) mod network;
pub(crate) mod resolve;
pub(crate) mod spec;
pub(crate) mod subscriptions;
pub(crate) mod tls;
