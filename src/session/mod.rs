//! MQTT without a socket, a thread or a clock: packet identifiers, what is in flight, subscriptions,
//! the order of acknowledgements, topic matching, the message that a user publishes.

pub(crate) mod ack_order;
pub(crate) mod filter;
pub(crate) mod inflight;
pub(crate) mod keep_alive;
pub(crate) mod packet;
pub(crate) mod packet_ids;
pub(crate) mod publish;
pub(crate) mod subscriptions;
mod unsubscribes;
