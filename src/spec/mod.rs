//! What the user says: plain data, no behavior.

pub(crate) mod qos;
