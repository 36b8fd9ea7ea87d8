//! Many blocking MQTT clients in one process.

mod receive;
mod spec;
#[cfg(feature = "testing")]
pub mod testing;

pub use receive::filter::{TopicError, check_filter, check_topic, topic_matches};
pub use spec::qos::{InvalidQoS, QoS};
