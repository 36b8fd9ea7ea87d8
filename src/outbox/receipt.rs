//! How one message ended: the receipt that `publish` returns.

use std::{fmt, time::Duration};

use crate::{
    observe::{
        cause::{Cause, in_a_row},
        stop_refusals,
    },
    outbox::completion::{Completion, Disposition},
};

/// Says how one message ended. Dropping it costs nothing and changes nothing.
///
/// The calls that wait block the caller's thread only. In a handler or pub function they block
/// its worker or the publisher thread, never a connection.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS};
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// let fleet = Fleet::builder().client(ClientSpec::new("plant", broker.url())).start()?;
/// let receipt = fleet.client("plant")?.publish("gw/boot", QoS::AtLeastOnce, false, "1")?;
/// assert_eq!(receipt.wait_timeout(Duration::from_secs(5))?, Delivery::Acknowledged);
/// # Ok(())
/// # }
/// ```
pub struct Receipt(Completion);

/// How a message ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// QoS 1 and 2: the broker has it.
    Acknowledged,
    /// QoS 0: it was written to the connection.
    Sent,
}

/// How a message ended otherwise, or that it has not ended.
///
/// ```
/// use mqtt_fleet::ReceiptError;
///
/// fn may_have_arrived(error: ReceiptError) -> bool {
///     matches!(error, ReceiptError::Timeout | ReceiptError::Failed(_))
/// }
/// # let _ = may_have_arrived;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It has not ended within the time; it is still in progress.
    #[error("the message has not ended yet")]
    Timeout,
    /// It grew older than the client's `max_age` before it could be sent.
    #[error("the message expired before it could be sent")]
    Expired,
    /// The full outbox dropped it to make room for a newer one.
    #[error("the message was dropped for a newer one")]
    Dropped,
    /// It was sent, and what became of it can't be known any more.
    #[error("the message was sent, but {0}")]
    Failed(FailedCause),
    /// The client ended before it was sent.
    #[error("the message was not sent: the client has ended")]
    Unsent,
}

crate::spec::readable::debug_is_text!(ReceiptError);

/// Why it can't be known what became of a sent message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FailedCause {
    /// QoS 0: the connection broke while it was written, and it must not be repeated.
    #[error("the connection broke while it was written")]
    ConnectionLost,
    /// The broker lost the session, and the client repeats only with one.
    #[error("the session was lost before it was acknowledged")]
    SessionLost,
    /// The client ended first.
    #[error("the client ended before it was acknowledged")]
    NotAcknowledged,
    /// The broker closed the connection on this message again and again: see
    /// [`ClientSpec::max_closes`](crate::ClientSpec::max_closes). It may be too large for the broker,
    /// or not allowed; MQTT 3.1.1 gives a broker no other way to say so. [`Receipt::cause`] names the
    /// topic.
    #[error("the broker closed the connection on it{}", in_a_row(*times))]
    BrokerCloses {
        /// How many connections ended on it, one after the other.
        times: u32,
    },
}

crate::spec::readable::debug_is_text!(FailedCause);

impl Receipt {
    pub(crate) fn new(completion: Completion) -> Self {
        Self(completion)
    }

    /// Waits until the message has ended, for as long as it takes. While the client is away that
    /// can be long; a client that ends ends its messages.
    ///
    /// # Errors
    ///
    /// How it ended otherwise; never [`ReceiptError::Timeout`].
    pub fn wait(&self) -> Result<Delivery, ReceiptError> {
        self.ended(self.0.wait(Duration::MAX))
            .unwrap_or(Err(ReceiptError::Timeout))
    }

    /// Waits until the message has ended, at most this long.
    ///
    /// # Errors
    ///
    /// How it ended otherwise, or [`ReceiptError::Timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Delivery, ReceiptError> {
        self.ended(self.0.wait(timeout))
            .unwrap_or(Err(ReceiptError::Timeout))
    }

    /// How the message ended, or `None` if it has not. Never waits.
    pub fn try_result(&self) -> Option<Result<Delivery, ReceiptError>> {
        self.ended(self.0.disposition())
    }

    /// Why the message was given up, if it was: [`Cause::ClosedOn`], which names its topic. Never waits.
    pub fn cause(&self) -> Option<Cause> {
        let (topic, times) = self.0.given_up()?;
        Some(Cause::ClosedOn {
            topic: topic.as_ref().to_owned(),
            times,
        })
    }

    /// Whether the message has ended, of whatever kind. Never waits.
    pub fn is_done(&self) -> bool {
        self.0.disposition().is_some()
    }

    /// What an end means for the caller. A handler that learns of an end which a stop has brought about
    /// has not done what it was called for, as if its message had been refused.
    fn ended(&self, disposition: Option<Disposition>) -> Option<Result<Delivery, ReceiptError>> {
        let result = self.result_of(disposition?);
        if matches!(
            result,
            Err(ReceiptError::Unsent | ReceiptError::Failed(FailedCause::NotAcknowledged))
        ) {
            stop_refusals::record();
        }
        Some(result)
    }

    fn result_of(&self, disposition: Disposition) -> Result<Delivery, ReceiptError> {
        let cause = match disposition {
            Disposition::Acknowledged => return Ok(Delivery::Acknowledged),
            Disposition::Sent => return Ok(Delivery::Sent),
            Disposition::Expired => return Err(ReceiptError::Expired),
            Disposition::Dropped => return Err(ReceiptError::Dropped),
            Disposition::Unsent => return Err(ReceiptError::Unsent),
            Disposition::ConnectionLost => FailedCause::ConnectionLost,
            Disposition::SessionLost => FailedCause::SessionLost,
            Disposition::NotAcknowledged => FailedCause::NotAcknowledged,
            Disposition::GivenUp => FailedCause::BrokerCloses {
                times: self.0.given_up().map_or(0, |(_, times)| times),
            },
        };
        Err(ReceiptError::Failed(cause))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0.disposition().map(|it| self.result_of(it));
        f.debug_tuple("Receipt").field(&result).finish()
    }
}
