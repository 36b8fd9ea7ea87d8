//! Out: from a call of `publish` to the hand-over of the message to the client's connection,
//! and the schedule on which pub functions are called.

pub(crate) mod batch;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod flight;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod packing;
pub(crate) mod receipt;
pub(crate) mod schedule;
pub(crate) mod size;
pub(crate) mod window;
