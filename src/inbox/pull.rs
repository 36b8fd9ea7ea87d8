//! Pull mode: the application takes messages itself.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, TryRecvError};

use crate::{inbox::message::Message, supervise::stop::deadline_after};

/// The received messages of all clients, for a fleet without workers and handlers.
///
/// `recv`, `try_recv`, `recv_timeout` and `iter` mean what crossbeam means by them. The stream
/// ends ("disconnected") when every client has ended and the queue is empty. Clones share the
/// queue: each message goes to one of them. Messages of one client come in the order of receipt.
/// In a fleet with handlers the stream is empty and ended.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Fleet, QoS};
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// let spec = ClientSpec::new("plant", broker.url()).subscribe("greeting", QoS::AtLeastOnce);
/// let fleet = Fleet::builder().client(spec).start()?;
/// fleet.wait_subscribed(Duration::from_secs(5))?;
/// fleet.client("plant")?.publish("greeting", QoS::AtLeastOnce, false, "hello")?;
/// let message = fleet.messages().recv_timeout(Duration::from_secs(5))?;
/// assert_eq!(message.text(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Messages(Receiver<Message>);

impl Messages {
    pub(crate) fn new(queue: Receiver<Message>) -> Self {
        Self(queue)
    }

    /// Waits for a message.
    ///
    /// # Errors
    ///
    /// When every client has ended and the queue is empty.
    pub fn recv(&self) -> Result<Message, RecvError> {
        loop {
            if let Some(message) = self.0.recv()?.take() {
                return Ok(message);
            }
        }
    }

    /// Takes a message if one is there. Never waits.
    ///
    /// # Errors
    ///
    /// `Empty` now, or `Disconnected` for ever.
    pub fn try_recv(&self) -> Result<Message, TryRecvError> {
        loop {
            if let Some(message) = self.0.try_recv()?.take() {
                return Ok(message);
            }
        }
    }

    /// Waits for a message, at most this long.
    ///
    /// # Errors
    ///
    /// `Timeout`, or `Disconnected` for ever.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvTimeoutError> {
        let Some(deadline) = deadline_after(timeout) else {
            return self.recv().map_err(RecvTimeoutError::from);
        };
        loop {
            if let Some(message) = self.0.recv_deadline(deadline)?.take() {
                return Ok(message);
            }
        }
    }

    /// Waits for one message after the other, until every client has ended.
    pub fn iter(&self) -> impl Iterator<Item = Message> + '_ {
        self.0.iter().filter_map(Message::take)
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Messages {
    type Item = Message;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self.0.into_iter())
    }
}

/// What `for message in fleet.messages()` runs over.
///
/// ```
/// fn drain(messages: mqtt_fleet::Messages) -> usize {
///     messages.into_iter().map(|message| message.payload().len()).sum()
/// }
/// ```
#[derive(Debug)]
pub struct IntoIter(crossbeam_channel::IntoIter<Message>);

impl Iterator for IntoIter {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.0.by_ref().find_map(Message::take)
    }
}
