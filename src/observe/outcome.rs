//! How a client's thread ended, and what failed in the user's functions.

use std::{fmt, sync::Arc};

use crate::{
    observe::{
        cause::{Cause, OfAttempt, Refusal, to_be_let_in},
        log_lines::what,
        state::ClientState,
        thinning::About,
    },
    spec::qos::QoS,
};

/// How a client ended.
///
/// ```
/// use mqtt_fleet::Outcome;
///
/// fn alarm(outcome: &Outcome) -> Option<String> {
///     match outcome {
///         Outcome::Stopped => None,
///         Outcome::RetriesExhausted { attempts, last_error } => {
///             Some(format!("gave up after {attempts} attempts: {last_error}"))
///         }
///         other => Some(other.to_string()),
///     }
/// }
/// assert_eq!(alarm(&Outcome::Stopped), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was stopped, by whoever may do so.
    Stopped,
    /// Every attempt of one outage failed.
    RetriesExhausted {
        /// How many attempts were made.
        attempts: u32,
        /// Why the last one failed.
        last_error: Cause,
    },
    /// The broker refused for good: no further attempt was made.
    Refused {
        /// The return code of the CONNACK.
        code: Refusal,
    },
    /// The peer does not speak MQTT: no further attempt was made.
    NotMqtt {
        /// What it answered.
        last_error: Cause,
    },
    /// A certificate was not accepted, on this or on that side: no further attempt was made.
    Certificate {
        /// Which one, and why.
        last_error: Cause,
    },
    /// The broker refused a subscription, and the spec says that this ends the client.
    SubscriptionRefused {
        /// The filter that was refused.
        filter: String,
    },
    /// The broker granted a subscription with a lower quality of service than asked for, and the
    /// spec says that this ends the client.
    SubscriptionLowered {
        /// The filter.
        filter: String,
        /// What was asked for.
        asked: QoS,
        /// What was granted.
        granted: QoS,
    },
    /// A handler or pub function failed, and the policy was to stop for it.
    Failed {
        /// What failed.
        failure: Failure,
    },
    /// The client's own thread panicked: a defect of this crate or of rumqttc.
    Panicked {
        /// The panic's text.
        message: String,
    },
    /// It did not end by the deadline. It makes no further attempt and ends by itself, at the
    /// latest when its connect timeout has passed, or its name look-up or the credentials function
    /// has returned.
    Abandoned {
        /// What it was doing.
        state: Box<ClientState>,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::RetriesExhausted {
                attempts,
                last_error,
            } => {
                let plural = if *attempts == 1 { "" } else { "s" };
                let last_error = OfAttempt(last_error);
                write!(f, "gave up after {attempts} attempt{plural}: {last_error}")
            }
            Self::Refused { code } => write!(f, "refused: {code}{}", to_be_let_in(*code)),
            Self::NotMqtt { last_error } | Self::Certificate { last_error } => last_error.fmt(f),
            Self::SubscriptionRefused { filter } => {
                write!(f, "the broker refused the subscription to {filter}")
            }
            Self::SubscriptionLowered {
                filter,
                asked,
                granted,
            } => {
                let (asked, granted) = (u8::from(*asked), u8::from(*granted));
                write!(
                    f,
                    "the broker lowered the subscription to {filter}: asked for QoS {asked}, \
                     granted QoS {granted}"
                )
            }
            Self::Failed { failure } => write!(f, "stopped because {failure}"),
            Self::Panicked { message } => write!(f, "panicked: {message}"),
            Self::Abandoned { state } => write!(f, "abandoned while {state}"),
        }
    }
}

/// Which of the user's functions failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// A message handler.
    Handler,
    /// A pub function.
    PubFunction,
    /// The dead-letter function.
    DeadLetter,
    /// The callback of [`FleetBuilder::on_state`](crate::FleetBuilder::on_state), by a panic.
    StateCallback,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "a handler",
            Self::PubFunction => "a pub function",
            Self::DeadLetter => "the dead-letter function",
            Self::StateCallback => "the state callback",
        })
    }
}

/// An error that a function of the user returned, or its panic.
///
/// ```
/// use mqtt_fleet::Failure;
///
/// fn line(failure: &Failure) -> String {
///     format!("{}: {} {}", failure.client(), failure.topic().unwrap_or("-"), failure.message())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) client: Arc<str>,
    pub(crate) topic: Option<String>,
    pub(crate) message: String,
    pub(crate) panicked: bool,
}

impl Failure {
    /// Which function failed.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The client whose message or tick it was called for.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The topic of the message, of a handler.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// The text of the error or of the panic.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What a log line on it is about: the topics may be many.
    pub(crate) fn about(&self) -> About<'_> {
        About {
            what: match self.kind {
                FailureKind::Handler => what::HANDLER,
                FailureKind::PubFunction => what::PUB_FUNCTION,
                FailureKind::DeadLetter => what::DEAD_LETTER,
                FailureKind::StateCallback => what::STATE_CALLBACK,
            },
            place: if self.panicked { "by panic" } else { "" },
            text: &self.message,
        }
    }

    /// Whether it panicked rather than returned an error.
    pub fn panicked(&self) -> bool {
        self.panicked
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.panicked { "panicked" } else { "failed" };
        write!(f, "{} of {}", self.kind, self.client)?;
        if let Some(topic) = &self.topic {
            write!(f, " {verb} on {topic:?}: {}", self.message)
        } else {
            write!(f, " {verb}: {}", self.message)
        }
    }
}
