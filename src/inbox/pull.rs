//! Pull mode: the application takes messages itself.

use std::{
    sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError},
    time::Duration,
};

use crossbeam_channel::Receiver;

use crate::{inbox::message::Message, supervise::stream::Stream};

/// The received messages of all clients, for a fleet without workers and handlers.
///
/// `recv`, `try_recv`, `recv_timeout` and `iter` mean what they mean for std's channels, and have their
/// errors. The stream ends ("disconnected") when every client has ended and the queue is empty. Clones
/// share the queue: each message goes to one of them. Messages of one client come in the order of receipt.
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
/// let message = fleet.messages()?.recv_timeout(Duration::from_secs(5))?;
/// assert_eq!(message.text(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Messages(Stream<Message, Message>);

impl Messages {
    pub(crate) fn new(queue: Receiver<Message>) -> Self {
        Self(Stream::new(queue, Message::take))
    }

    /// Waits for a message.
    ///
    /// # Errors
    ///
    /// When every client has ended and the queue is empty.
    pub fn recv(&self) -> Result<Message, RecvError> {
        self.0.recv()
    }

    /// Takes a message if one is there. Never waits.
    ///
    /// # Errors
    ///
    /// `Empty` now, or `Disconnected` for ever.
    pub fn try_recv(&self) -> Result<Message, TryRecvError> {
        self.0.try_recv()
    }

    /// Waits for a message, at most this long.
    ///
    /// # Errors
    ///
    /// `Timeout`, or `Disconnected` for ever.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// Waits for one message after the other, until every client has ended.
    pub fn iter(&self) -> MessagesIter {
        MessagesIter(self.clone())
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl IntoIterator for Messages {
    type Item = Message;
    type IntoIter = MessagesIter;

    fn into_iter(self) -> MessagesIter {
        MessagesIter(self)
    }
}

impl IntoIterator for &Messages {
    type Item = Message;
    type IntoIter = MessagesIter;

    fn into_iter(self) -> MessagesIter {
        self.iter()
    }
}

/// What `for message in fleet.messages()?` runs over.
///
/// ```
/// fn drain(messages: mqtt_fleet::Messages) -> usize {
///     messages.into_iter().map(|message| message.payload().len()).sum()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct MessagesIter(Messages);

impl Iterator for MessagesIter {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.0.recv().ok()
    }
}
