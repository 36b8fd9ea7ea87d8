//! Why a filter was not subscribed to.

use crate::spec::topic::TopicError;

/// Why a filter was not subscribed to or unsubscribed from.
///
/// ```
/// use mqtt_fleet::{SubscribeError, SubscribeErrorKind};
///
/// fn is_typo(error: &SubscribeError) -> bool {
///     matches!(error.kind(), SubscribeErrorKind::Filter(_) | SubscribeErrorKind::Unknown)
/// }
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("client {client}, filter {filter:?}: {kind}")]
pub struct SubscribeError {
    pub(crate) client: String,
    pub(crate) filter: String,
    pub(crate) kind: SubscribeErrorKind,
}

crate::spec::readable::debug_is_text!(SubscribeError);

impl SubscribeError {
    /// What is wrong.
    pub fn kind(&self) -> SubscribeErrorKind {
        self.kind
    }

    /// The client that was asked.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The filter that was given.
    pub fn filter(&self) -> &str {
        &self.filter
    }
}

/// What is wrong with a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeErrorKind {
    /// The filter is not valid.
    #[error("the filter is not valid: {0}")]
    Filter(TopicError),
    /// The filter alone exceeds the client's packet size limit.
    #[error("the filter exceeds the packet size limit (max_packet_size)")]
    TooLarge,
    /// There is no subscription to this filter.
    #[error("there is no such subscription")]
    Unknown,
    /// The client is stopping or has ended.
    #[error("the client is stopping or has ended")]
    Ended,
}

crate::spec::readable::debug_is_text!(SubscribeErrorKind);
