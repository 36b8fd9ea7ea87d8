//! What the tests share: a real broker, this process as the system sees it, and waiting for facts.

pub(crate) mod attacks;
pub(crate) mod certificates;
pub(crate) mod chaos;
pub(crate) mod crowd;
pub(crate) mod fleet;
pub(crate) mod hostile;
pub(crate) mod leaks;
pub(crate) mod matrix;
pub(crate) mod mosquitto;
pub(crate) mod proc;
pub(crate) mod program;
#[path = "../../../src/properties.rs"]
pub(crate) mod properties;
pub(crate) mod proxy;
pub(crate) mod receiving;
pub(crate) mod remote;
pub(crate) mod scale;
pub(crate) mod scratch;
pub(crate) mod silent;
pub(crate) mod stopping;
pub(crate) mod streams;
pub(crate) mod world;
