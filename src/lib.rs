//! Many blocking MQTT clients in one process.

mod receive;
mod spec;
mod supervise;
#[cfg(feature = "testing")]
pub mod testing;

pub use receive::filter::{TopicError, check_filter, check_topic, topic_matches};
pub use spec::{
    broker::{Broker, BrokerError},
    qos::{InvalidQoS, QoS},
    retry::Retry,
    settings::Session,
    will::Will,
};
pub use supervise::{
    cause::{Cause, Refusal},
    counters::Stats,
    limits::Resource,
    outcome::{Failure, FailureKind, Outcome},
    report::{ClientReport, Report},
    signal::SignalError,
    state::{ClientState, StateChange},
    status::WaitError,
};
