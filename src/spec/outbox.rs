//! What a client's outbox does with messages that can't be sent at once.

use std::time::Duration;

/// What happens to a message that is published while the client is not connected.
///
/// ```
/// use mqtt_fleet::{ClientSpec, Offline};
///
/// let live = ClientSpec::new("live", "mqtt://10.0.0.5").offline(Offline::Reject);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Offline {
    /// It waits in the outbox, as far as that has room.
    #[default]
    Queue,
    /// It is refused with [`PublishErrorKind::Offline`](crate::PublishErrorKind::Offline). What
    /// was accepted before a loss stays.
    Reject,
}

/// What happens to a message that is published while the outbox is full.
///
/// ```
/// use mqtt_fleet::{ClientSpec, OutboxOverflow};
///
/// let latest = ClientSpec::new("gauge", "mqtt://10.0.0.5")
///     .outbox_capacity(10)
///     .outbox_overflow(OutboxOverflow::DropOldest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OutboxOverflow {
    /// `publish` waits for room, `try_publish` gives it back.
    #[default]
    Refuse,
    /// It is taken, and the oldest one that waits is dropped; no call waits.
    DropOldest,
}

/// Whether a message that was sent and not acknowledged is sent again when the broker has lost
/// the session. With a session it always is, as the standard demands [MQTT-4.4.0-1].
///
/// ```
/// use mqtt_fleet::{ClientSpec, Replay};
///
/// let meter = ClientSpec::new("meter", "mqtt://10.0.0.5").replay(Replay::OnlyWithSession);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Replay {
    /// Again, as a new message. The default, because nobody publishes at QoS 1 or 2 to have it
    /// lost. It may arrive twice: the broker may have had it before it forgot the session, also
    /// at QoS 2.
    #[default]
    Always,
    /// Not: it ends as failed, with
    /// [`FailedCause::SessionLost`](crate::FailedCause::SessionLost).
    OnlyWithSession,
}

/// What a client does when the broker refuses one of its subscriptions.
///
/// ```
/// use mqtt_fleet::{ClientSpec, QoS, RefusedSubscription};
///
/// let strict = ClientSpec::new("plant", "mqtt://10.0.0.5")
///     .subscribe("sensors/#", QoS::AtLeastOnce)
///     .refused_subscription(RefusedSubscription::EndClient);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RefusedSubscription {
    /// Goes on without it. It is logged, announced, counted and in the report.
    #[default]
    Continue,
    /// Ends, with [`Outcome::SubscriptionRefused`](crate::Outcome::SubscriptionRefused).
    EndClient,
}

/// What a client does when the broker grants one of its subscriptions with a lower quality of
/// service than it asked for (section 3.9.3). Messages come with the lower one at most: at QoS 0
/// they may be lost, although the program asked for more.
///
/// ```
/// use mqtt_fleet::{ClientSpec, OnLowered, QoS};
///
/// // A service that is known to have QoS 0 and 1 only.
/// let spec = ClientSpec::new("cloud", "mqtt://10.0.0.5")
///     .subscribe("commands/#", QoS::ExactlyOnce)
///     .lowered_subscription(OnLowered::Accept);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnLowered {
    /// Goes on with less. It is logged, announced, counted and in the report, and
    /// [`Report::exit_code`](crate::Report::exit_code) is 1.
    #[default]
    Continue,
    /// The same, and it does not cost the exit code: the program does with less.
    Accept,
    /// Ends, with [`Outcome::SubscriptionLowered`](crate::Outcome::SubscriptionLowered).
    EndClient,
}

/// The settings of an outbox.
#[derive(Debug, Clone)]
pub(crate) struct OutboxSettings {
    pub(crate) capacity: usize,
    /// Unacknowledged messages of QoS 1 and 2.
    pub(crate) window: u16,
    pub(crate) offline: Offline,
    pub(crate) overflow: OutboxOverflow,
    pub(crate) replay: Replay,
    pub(crate) max_age: Option<Duration>,
    /// `None`: a message is never given up.
    pub(crate) max_closes: Option<u32>,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            capacity: 1_000,
            window: 100,
            offline: Offline::default(),
            overflow: OutboxOverflow::default(),
            replay: Replay::default(),
            max_age: None,
            max_closes: Some(3),
        }
    }
}
