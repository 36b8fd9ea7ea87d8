//! What the user says about a client: plain data that is checked once, before any thread exists.
//!
//! Nothing here runs, connects or knows of another room. [`Settings`](settings::Settings) is the data part of a
//! client; the functions a user attaches to it are added one floor up, in `client/spec.rs`.

pub(crate) mod address;
pub(crate) mod broker;
pub(crate) mod broker_error;
pub(crate) mod credentials;
#[cfg(feature = "serde")]
pub(crate) mod form;
mod host;
pub(crate) mod on_failure;
pub(crate) mod outbox;
pub(crate) mod payload;
pub(crate) mod qos;
pub(crate) mod readable;
pub(crate) mod retry;
pub(crate) mod settings;
pub(crate) mod template;
pub(crate) mod tls;
pub(crate) mod topic;
mod url;
pub(crate) mod will;
