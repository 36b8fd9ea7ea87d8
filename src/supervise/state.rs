//! What a client is doing, and the announcement that it does something else now.

use std::{fmt, sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::supervise::{cause::Cause, outcome::Outcome};

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
                write!(f, "attempt {} failed: {cause}", Numbered(*attempt, *of))
            }
            Self::Ended { outcome } => write!(f, "ended: {outcome}"),
        }
    }
}

/// "2 of 3", or "2" where there is no limit.
struct Numbered(u32, Option<u32>);

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(of) => write!(f, "{} of {of}", self.0),
            None => self.0.fmt(f),
        }
    }
}

/// One change of one client's state.
///
/// ```
/// use mqtt_fleet::StateChange;
///
/// fn line(change: &StateChange) -> String {
///     format!("{} ({}): {}", change.client(), change.broker(), change.state())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StateChange {
    pub(crate) client: Arc<str>,
    pub(crate) broker: Arc<str>,
    pub(crate) state: ClientState,
    pub(crate) note: Option<Cause>,
    pub(crate) at: Instant,
}

impl StateChange {
    /// The client's name.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The broker it belongs to, as `host:port`.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// What it does from now on.
    pub fn state(&self) -> &ClientState {
        &self.state
    }

    /// Why, where something went wrong. A refused subscription is announced as a change that
    /// leaves the client connected and has [`Cause::SubscriptionRefused`] here.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.state {
            ClientState::Lost { cause } | ClientState::AttemptFailed { cause, .. } => Some(cause),
            ClientState::Ended {
                outcome:
                    Outcome::RetriesExhausted { last_error, .. } | Outcome::NotMqtt { last_error },
            } => Some(last_error),
            _ => self.note.as_ref(),
        }
    }

    /// When it happened.
    pub fn at(&self) -> Instant {
        self.at
    }
}

/// The sending side of state changes: bounded, and it never waits. A listener that falls behind
/// loses the oldest changes, not the newest: the newest tell what is true now.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    listeners: Vec<(Sender<StateChange>, Receiver<StateChange>)>,
}

impl Announcer {
    pub(crate) fn new(listeners: Vec<(Sender<StateChange>, Receiver<StateChange>)>) -> Self {
        Self { listeners }
    }

    pub(crate) fn announce(&self, change: &StateChange) {
        for (sender, oldest) in &self.listeners {
            let mut change = change.clone();
            while let Err(TrySendError::Full(returned)) = sender.try_send(change) {
                // Emptied meanwhile by the listener is as good: there is room then.
                let _ = oldest.try_recv();
                change = returned;
            }
        }
    }
}
