//! Why a message was not taken, with the message.

use std::fmt;

use bytes::Bytes;

use crate::{
    session::{packet::Outgoing, publish::Publish},
    spec::topic::TopicError,
};

/// A message that was not taken. It holds the message, so that nothing is lost.
///
/// ```
/// use mqtt_fleet::{Publish, PublishError, PublishErrorKind};
///
/// fn keep_for_later(error: PublishError, later: &mut Vec<Publish<'static>>) {
///     if matches!(error.kind(), PublishErrorKind::Full) {
///         later.push(error.into_publish());
///     }
/// }
/// ```
pub struct PublishError(Box<Refused>);

struct Refused {
    client: String,
    kind: PublishErrorKind,
    message: Outgoing,
}

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The client's outbox has no room. Only from the calls that do not wait.
    #[error("its outbox is full (outbox_capacity)")]
    Full,
    /// The client's outbox had no room for the whole timeout.
    #[error("its outbox stayed full until the timeout (outbox_capacity)")]
    Timeout,
    /// The client is not connected, and its spec says that nothing waits for the connection.
    #[error("it is not connected")]
    Offline,
    /// The client is stopping or has ended: no message will be sent any more.
    #[error("it is stopping or has ended")]
    Ended,
    /// The packet would exceed the client's packet size limit.
    #[error("the packet of {size} bytes exceeds its limit of {limit} (max_packet_size)")]
    TooLarge {
        /// Bytes of the whole packet.
        size: usize,
        /// The client's limit.
        limit: usize,
    },
    /// The topic name is not valid.
    #[error("the topic is not valid: {0}")]
    Topic(TopicError),
}

crate::spec::readable::debug_is_text!(PublishErrorKind);

impl PublishError {
    pub(crate) fn new(client: &str, kind: PublishErrorKind, publish: Publish<'_>) -> Self {
        Self(Box::new(Refused {
            client: client.to_owned(),
            kind,
            message: publish.into_outgoing(),
        }))
    }

    /// Why the message was not taken.
    pub fn kind(&self) -> PublishErrorKind {
        self.0.kind
    }

    /// The client that should have published it.
    pub fn client(&self) -> &str {
        &self.0.client
    }

    /// The message's topic.
    pub fn topic(&self) -> &str {
        &self.0.message.topic
    }

    /// The message's payload.
    pub fn payload(&self) -> &Bytes {
        &self.0.message.payload
    }

    /// The message, to try again with [`Client::send`](crate::Client::send).
    pub fn into_publish(self) -> Publish<'static> {
        self.0.message.into()
    }

    /// Its topic and its payload, to keep.
    pub fn into_message(self) -> (String, Bytes) {
        let Outgoing { topic, payload, .. } = self.0.message;
        (topic, payload)
    }
}

crate::spec::readable::debug_is_text!(PublishError);

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {} did not take a message to {:?}: {}",
            self.0.client,
            self.topic(),
            self.0.kind
        )
    }
}

impl std::error::Error for PublishError {}
