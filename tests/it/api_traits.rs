//! Which traits the public types have: a program that relies on one of them must not stop to compile.

use std::{error::Error as StdError, fmt, hash::Hash};

use mqtt_fleet::{
    Broker, BrokerError, Cause, Client, ClientProblem, ClientReport, ClientSpec, ClientState,
    Clients, Copies, Delivery, Error, FailedCause, Failure, FailureKind, Fleet, FleetBuilder,
    GivenUp, HandlersTakeMessages, InvalidQoS, Lateness, Ledger, LoweredSubscription, Message,
    Messages, MessagesIter, NextConnection, NextConnections, Offline, OnFailure, OnLowered,
    OutboxOverflow, Outcome, Payload, Problem, Publish, PublishError, PublishErrorKind, QoS,
    Receipt, ReceiptError, Refusal, RefusedSubscription, Repeat, Replay, Report, Resource, Retry,
    Session, SignalError, StartError, StateAtTimeout, StateChange, StateChanges, StateChangesIter,
    Stats, StopHandle, SubscribeError, SubscribeErrorKind, ThreadCount, Tls, TlsError, TopicError,
    UnknownClient, WaitError, Will,
};

/// What every public type has: it can be sent to and used from any thread, printed, and dropped while
/// another panic unwinds.
fn every_type<T: Send + Sync + fmt::Debug>() {}

fn cloned<T: Clone>() {}

/// Plain values: keys of a map, copied without a thought.
fn plain<T: Copy + Eq + Hash>() {}

fn shown<T: fmt::Display>() {}

/// What `?` converts into `anyhow::Error` and `Box<dyn Error + Send + Sync>`.
fn error<T: StdError + Send + Sync + 'static>() {}

macro_rules! all {
    ($check:ident: $($type:ty),* $(,)?) => {
        $($check::<$type>();)*
    };
}

/// Fails to compile when a public type loses a trait.
#[test]
fn traits_of_public_types() {
    all!(every_type:
        Broker, BrokerError, Cause, Client, ClientProblem, ClientReport, ClientSpec, ClientState, Clients,
        Copies, Delivery, Error, FailedCause, Failure, FailureKind, Fleet, FleetBuilder, GivenUp, HandlersTakeMessages,
        InvalidQoS, Lateness, Ledger, LoweredSubscription, Message, Messages, MessagesIter, NextConnection,
        NextConnections, Offline, OnFailure, OnLowered, Outcome, OutboxOverflow, Payload<'static>, Problem, Publish<'static>, PublishError,
        PublishErrorKind, QoS, Receipt, ReceiptError, Refusal, RefusedSubscription, Repeat, Replay, Report,
        Resource, Retry, Session, SignalError, StartError, StateAtTimeout, StateChange, StateChanges, StateChangesIter,
        Stats, StopHandle, SubscribeError, SubscribeErrorKind, ThreadCount, Tls, TlsError, TopicError,
        UnknownClient, WaitError, Will,
    );
    all!(cloned:
        Broker, Client, ClientSpec, Clients, Copies, Lateness, Messages, MessagesIter, NextConnection, NextConnections,
        Report, Retry, StateChange, StateChanges, StopHandle, Tls, Will,
    );
    all!(error:
        BrokerError, Error, FailedCause, InvalidQoS, Problem, PublishError, PublishErrorKind,
        ReceiptError, SignalError, StartError, SubscribeError, SubscribeErrorKind, TlsError, TopicError,
        UnknownClient, WaitError,
    );
    all!(plain:
        Ledger, OnFailure, Repeat, Stats,
        ClientProblem, Delivery, FailedCause, FailureKind, InvalidQoS, HandlersTakeMessages, Offline, OnLowered, OutboxOverflow,
        PublishErrorKind, QoS, ReceiptError, Refusal, RefusedSubscription, Replay, Resource, Session,
        SubscribeErrorKind, TopicError,
    );
    all!(shown: Broker, Cause, ClientState, Failure, FailureKind, Ledger, Outcome, QoS, Report, Resource, Stats);
}
