//! What failed in the user's functions.

use std::{fmt, sync::Arc};

use crate::observe::{log_lines::what, thinning::About};

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

/// What follows a failure of a function for one client: it is kept, and the policy may stop the client or the
/// fleet.
pub(crate) type FailureSink = Arc<dyn Fn(Failure) + Send + Sync>;

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
