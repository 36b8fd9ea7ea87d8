//! In: from a received packet to a handler's return and its acknowledgement.

pub(crate) mod filter;
