//! Why a wait for a client's state ended without it.

use std::{fmt, ops::Deref, time::Duration};

use crate::{
    observe::{
        cause::{Cause, OfAttempt},
        state::{ClientState, Outcome},
    },
    spec::readable::Rounded,
};

/// Why a wait for a client's state ended without it.
///
/// ```
/// use mqtt_fleet::WaitError;
///
/// fn is_hopeless(error: &WaitError) -> bool {
///     matches!(error, WaitError::Ended { .. })
/// }
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time was over.
    #[error("client {client} is not {} after {}: {state}", state.wanted(), Rounded(*waited))]
    Timeout {
        /// The client that was waited for.
        client: String,
        /// What it was doing at the end.
        state: StateAtTimeout,
        /// How long was waited for this client. A wait for all clients has waited for others before.
        waited: Duration,
    },
    /// The client ended, so it can't come to that state any more.
    #[error("client {client} has ended: {outcome}")]
    Ended {
        /// The client that was waited for.
        client: String,
        /// How it ended.
        outcome: Box<Outcome>,
    },
}

crate::spec::readable::debug_is_text!(WaitError);

/// What a client was doing when a wait for it timed out: its [`ClientState`], and why it got no further,
/// as far as it knows.
///
/// ```
/// use mqtt_fleet::{Cause, WaitError};
///
/// fn last_cause(error: &WaitError) -> Option<&Cause> {
///     match error {
///         WaitError::Timeout { state, .. } => state.last_cause(),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAtTimeout(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    /// What was waited for, as in "it is not connected".
    wanted: &'static str,
    state: ClientState,
    last_cause: Option<Cause>,
}

impl StateAtTimeout {
    pub(crate) fn new(wanted: &'static str, state: ClientState, last_cause: Option<Cause>) -> Self {
        Self(Box::new(Inner {
            wanted,
            state,
            last_cause,
        }))
    }

    fn wanted(&self) -> &'static str {
        self.0.wanted
    }

    /// Why the last attempt failed or the last connection was lost, if the client was not connected.
    pub fn last_cause(&self) -> Option<&Cause> {
        match &self.0.state {
            ClientState::Connected { .. } => None,
            ClientState::Lost { cause } | ClientState::AttemptFailed { cause, .. } => Some(cause),
            _ => self.0.last_cause.as_ref(),
        }
    }
}

impl Deref for StateAtTimeout {
    type Target = ClientState;

    fn deref(&self) -> &ClientState {
        &self.0.state
    }
}

impl fmt::Display for StateAtTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.0.state;
        match (state, self.last_cause()) {
            (ClientState::Connected { .. }, _) if self.0.wanted.starts_with("subscribed") => {
                f.write_str("connected, and the broker has not answered every SUBSCRIBE")
            }
            (ClientState::Connecting { .. }, Some(cause)) => {
                write!(f, "{state}, before that: {}", OfAttempt(cause))
            }
            _ => state.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn text(wanted: &'static str, state: ClientState, last_cause: Option<Cause>) -> String {
        let error = WaitError::Timeout {
            client: "plant".to_owned(),
            state: StateAtTimeout::new(wanted, state, last_cause),
            waited: Duration::from_nanos(4_999_999_083),
        };
        error.to_string()
    }

    /// Fails when a wait that timed out does not say why the client got no further, or says so of one that is
    /// connected.
    #[test]
    fn a_timeout_names_the_last_cause() {
        let second = ClientState::Connecting {
            attempt: 2,
            of: Some(3),
        };
        let refused = Cause::Connect {
            address: "127.0.0.1:1883".to_owned(),
            kind: io::ErrorKind::ConnectionRefused,
            message: "Connection refused (os error 111)".to_owned(),
        };
        assert_eq!(
            text("connected", second.clone(), Some(refused.clone())),
            "client plant is not connected after 5 s: connecting (attempt 2 of 3), before that: no connection to \
             127.0.0.1:1883: Connection refused: is the broker running, and is the port right?"
        );
        assert_eq!(
            text("connected", second, None),
            "client plant is not connected after 5 s: connecting (attempt 2 of 3)"
        );
        let connected = ClientState::Connected {
            session_present: false,
        };
        assert_eq!(
            text("subscribed", connected.clone(), Some(refused.clone())),
            "client plant is not subscribed after 5 s: connected, and the broker has not answered every SUBSCRIBE"
        );
        assert_eq!(
            text("disconnected", connected, Some(refused)),
            "client plant is not disconnected after 5 s: connected"
        );
    }
}
