//! In: from a received packet to the return of its handlers and its acknowledgement.

pub(crate) mod acks;
pub(crate) mod dispatch;
pub(crate) mod handler;
pub(crate) mod lane;
pub(crate) mod message;
pub(crate) mod packed;
pub(crate) mod pull;
pub(crate) mod share;
pub(crate) mod worker;
