//! What a client is doing, and how it ended.

use std::fmt;

use crate::{
    observe::{
        cause::{Cause, OfAttempt, Refusal, to_be_let_in},
        failure::Failure,
    },
    spec::qos::QoS,
};

/// What a client is doing.
///
/// ```
/// use mqtt_fleet::ClientState;
///
/// fn is_worth_a_line(state: &ClientState) -> bool {
///     !matches!(state, ClientState::Connecting { .. })
/// }
/// assert!(is_worth_a_line(&ClientState::Starting));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientState {
    /// Its thread is being made.
    Starting,
    /// It looks up the broker's name, connects, and waits for CONNACK.
    Connecting {
        /// The number of this attempt in the current outage, from one.
        attempt: u32,
        /// How many attempts it has; `None` is for ever.
        of: Option<u32>,
    },
    /// CONNACK came with return code 0.
    Connected {
        /// Whether the broker still had the client's session.
        session_present: bool,
    },
    /// A live connection was lost. Announced before the first retry.
    Lost {
        /// Why.
        cause: Cause,
    },
    /// An attempt failed; a pause follows, or the end.
    AttemptFailed {
        /// The number of this attempt in the current outage, from one.
        attempt: u32,
        /// How many attempts it has; `None` is for ever.
        of: Option<u32>,
        /// Why.
        cause: Cause,
    },
    /// Its thread ended, or will have by the time a join returns.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

impl ClientState {
    /// Whether the client has ended for good.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}

impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Connecting { attempt, of } => {
                write!(f, "connecting (attempt {})", Numbered(*attempt, *of))
            }
            Self::Connected { .. } => f.write_str("connected"),
            Self::Lost { cause } => write!(f, "disconnected: {cause}"),
            Self::AttemptFailed { attempt, of, cause } => {
                let (attempt, cause) = (Numbered(*attempt, *of), OfAttempt(cause));
                write!(f, "attempt {attempt} failed: {cause}")
            }
            Self::Ended { outcome } => write!(f, "ended: {outcome}"),
        }
    }
}

/// "2 of 3", or "2" where there is no limit.
pub(crate) struct Numbered(pub(crate) u32, pub(crate) Option<u32>);

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(of) => write!(f, "{} of {of}", self.0),
            None => self.0.fmt(f),
        }
    }
}

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
