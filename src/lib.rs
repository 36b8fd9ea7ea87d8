//! Many blocking MQTT clients in one process.

// The library logs; only programs print. (Not in Cargo.toml, which speaks for the examples too.)
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod fleet;
mod publish;
mod receive;
mod spec;
mod supervise;
#[cfg(feature = "testing")]
pub mod testing;

pub use client::{
    clients::{Clients, StopHandle, UnknownClient},
    error::{SubscribeError, SubscribeErrorKind},
    handle::Client,
    spec::ClientSpec,
};
pub use fleet::{
    bill::ThreadBill,
    builder::FleetBuilder,
    error::{Error, Problem, StartError},
    running::Fleet,
};
pub use publish::{
    error::{PublishError, PublishErrorKind},
    receipt::{Delivery, FailedCause, Receipt, ReceiptError},
};
pub use receive::{
    filter::topic_matches,
    handler::{HandlerResult, OnFailure},
    message::Message,
    messages::{IntoIter, Messages},
};
pub use spec::{
    broker::{Broker, BrokerError},
    outbox::{Offline, OutboxOverflow, RefusedSubscription, Replay},
    qos::{InvalidQoS, QoS},
    retry::Retry,
    settings::Session,
    topic::{TopicError, check_filter, check_topic},
    will::Will,
};
pub use supervise::{
    cause::{Cause, Refusal},
    counters::Stats,
    ledger::Ledger,
    limits::Resource,
    outcome::{Failure, FailureKind, Outcome},
    report::{ClientReport, Report},
    signal::SignalError,
    state::{ClientState, StateChange, StateChanges},
    status::WaitError,
};
