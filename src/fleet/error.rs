//! What can go wrong at the front door, and one type for all errors of the crate.

use std::{
    fmt::Display,
    io,
    ops::RangeInclusive,
    sync::mpsc::{RecvError, RecvTimeoutError},
    time::Duration,
};

#[cfg(feature = "files")]
use crate::client::file::error::SpecFileError;
use crate::{
    client::{clients::UnknownClient, error::SubscribeError},
    observe::wait::WaitError,
    outbox::{error::PublishError, receipt::ReceiptError},
    spec::{broker_error::BrokerError, readable::Exact, tls::TlsError, topic::TopicError},
    supervise::{limits::Resource, signal::SignalError},
};

/// Why a fleet did not start. Nothing runs then: threads that were made already are stopped.
///
/// ```
/// use mqtt_fleet::{ClientSpec, Fleet, StartError};
///
/// let error = Fleet::builder().client(ClientSpec::new("plant", "mqtt//typo")).start().unwrap_err();
/// assert!(matches!(error, StartError::Client { .. }));
/// let text = "client \"plant\", broker: there is no colon behind its scheme: write mqtt://host:port";
/// assert_eq!(error.to_string(), text);
/// assert_eq!(format!("{error:?}"), text, "what `unwrap`, and `?` in `main`, print");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No client was added.
    #[error("the fleet has no client: add one with `client` or `clients`")]
    NoClient,
    /// A field of a client's spec can't be used.
    #[error("client {client:?}, {field}: {problem}")]
    Client {
        /// The client's name.
        client: String,
        /// The field, by the name of its setter.
        field: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A setting of the fleet can't be used.
    #[error("fleet, {field}: {problem}")]
    Fleet {
        /// The field, by the name of its setter.
        field: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The operating system does not allow as much as the fleet needs.
    #[error(
        "the fleet needs {needed} more {resource}, and {available} are available: {}",
        resource.to_raise()
    )]
    Limits {
        /// What there is not enough of.
        resource: Resource,
        /// How many the fleet needs.
        needed: u64,
        /// How many there are.
        available: u64,
    },
    /// A thread could not be made.
    #[error("the thread {thread:?} could not be made")]
    Thread {
        /// The thread's name: the client's, or `worker-n`, or `publisher`.
        thread: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// rumqttc could not be set up for a client.
    #[error("client {client:?} could not be set up: {message}")]
    Setup {
        /// The client's name.
        client: String,
        /// What rumqttc said.
        message: String,
    },
    /// `run` could not listen to Ctrl-C and SIGTERM.
    #[error("the fleet can't be stopped by signals")]
    Signal(#[from] SignalError),
}

crate::spec::readable::debug_is_text!(StartError);

/// What is wrong with a field.
///
/// ```
/// use mqtt_fleet::{Problem, TopicError};
///
/// assert_eq!(Problem::from(TopicError::Empty).to_string(), "it is empty");
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The broker's URL.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A topic name or filter.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The settings of TLS, or a file that they name.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A number or duration.
    #[error("{given} is out of range: {allowed}")]
    OutOfRange {
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A text.
    #[error("{0}")]
    Text(&'static str),
    /// A password that is not where it is said to be.
    #[error("there is no password: {0}")]
    Password(String),
    /// Another client has the same name, or the same client id on the same broker.
    #[error(
        "{value:?} is also that of client {other:?}: give each its own (copies of a template get it by {{i}})"
    )]
    Duplicate {
        /// What both have.
        value: String,
        /// The client that had it first.
        other: String,
    },
}

crate::spec::readable::debug_is_text!(Problem);

/// [`Fleet::messages`](crate::Fleet::messages) was called on a fleet with handlers, which take its messages.
///
/// ```
/// use mqtt_fleet::{ClientSpec, Fleet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let handled = ClientSpec::new("plant", "mqtt://127.0.0.1:1").on_message("#", |_, _| Ok(()));
/// let fleet = Fleet::builder().client(handled).start()?;
/// assert!(fleet.messages().is_err());
/// # fleet.stop_now(std::time::Duration::ZERO);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the fleet has handlers, which take its messages: `messages` is for a fleet without any")]
#[non_exhaustive]
pub struct HandlersTakeMessages;

crate::spec::readable::debug_is_text!(HandlersTakeMessages);

/// The errors of starting, publishing, subscribing, waiting and receiving in one type, so that one
/// `?` serves a whole program.
///
/// `Debug` of this and of every other error of the crate is its text, followed by those of its sources:
/// what `fn main() -> Result<(), mqtt_fleet::Error>` and `unwrap` print can be read. Neither has a password
/// or a payload in it.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Fleet};
/// use mqtt_fleet::testing::TestBroker;
///
/// fn program(url: &str) -> Result<(), mqtt_fleet::Error> {
///     let fleet = Fleet::builder().client(ClientSpec::new("plant", url)).start()?;
///     fleet.wait_connected(Duration::from_secs(5))?;
///     let _plant = fleet.client("plant")?;
///     Ok(())
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// program(&TestBroker::start()?.url())?;
/// # Ok(())
/// # }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From `start` and `run`.
    #[error(transparent)]
    Start(#[from] StartError),
    /// From the calls that publish.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// From `subscribe` and `unsubscribe`.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// From the calls that wait for a state.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// From the look-up of a client by name.
    #[error(transparent)]
    UnknownClient(#[from] UnknownClient),
    /// From `messages`.
    #[error(transparent)]
    Messages(#[from] HandlersTakeMessages),
    /// From `stop_on_signal`.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// From reading a file of specs.
    #[cfg(feature = "files")]
    #[error(transparent)]
    SpecFile(#[from] SpecFileError),
    /// From the calls that wait for a receipt.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// From the receiving calls of `Messages` and `StateChanges`.
    #[error("every client has ended, nothing more will be received")]
    Disconnected,
    /// From their calls with a timeout.
    #[error("nothing was received in time")]
    ReceiveTimeout,
}

crate::spec::readable::debug_is_text!(Error);

impl From<RecvError> for Error {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}

impl From<RecvTimeoutError> for Error {
    fn from(error: RecvTimeoutError) -> Self {
        match error {
            RecvTimeoutError::Timeout => Self::ReceiveTimeout,
            RecvTimeoutError::Disconnected => Self::Disconnected,
        }
    }
}

/// The longest pause, interval and timeout: clocks can count it, and nobody waits longer.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The names by which a spec's fields are called in errors are those of their setters.
pub(super) type Checked = Result<(), (&'static str, Problem)>;

/// What is wrong with a field, if something is.
pub(super) fn at<T>(field: &'static str, result: Result<T, impl Into<Problem>>) -> Checked {
    result.map(drop).map_err(|problem| (field, problem.into()))
}

/// Whether a field is in its range; `allowed` is the range in words.
pub(super) fn in_range<T: PartialOrd + Display>(
    field: &'static str,
    given: T,
    range: RangeInclusive<T>,
    allowed: &'static str,
) -> Checked {
    let given_text = given.to_string();
    ranged(field, &given, &range, given_text, allowed)
}

/// The same for a time.
pub(super) fn duration(
    field: &'static str,
    given: Duration,
    range: RangeInclusive<Duration>,
    allowed: &'static str,
) -> Checked {
    ranged(field, &given, &range, Exact(given).to_string(), allowed)
}

fn ranged<T: PartialOrd>(
    field: &'static str,
    given: &T,
    range: &RangeInclusive<T>,
    given_text: String,
    allowed: &'static str,
) -> Checked {
    if range.contains(given) {
        return Ok(());
    }
    let problem = Problem::OutOfRange {
        given: given_text,
        allowed,
    };
    Err((field, problem))
}
