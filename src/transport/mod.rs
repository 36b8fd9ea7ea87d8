//! Below the engine: name look-up and TLS.

pub(crate) mod read;
pub(crate) mod resolve;
pub(crate) mod tls;
