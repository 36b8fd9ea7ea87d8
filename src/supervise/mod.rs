//! Watching over threads: how they start, stop and fail. This room knows nothing of MQTT.

pub(crate) mod backoff;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod pace;
pub(crate) mod panic;
pub(crate) mod signal;
pub(crate) mod stop;
pub(crate) mod stream;
pub(crate) mod thread;
