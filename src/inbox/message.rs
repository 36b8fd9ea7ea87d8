//! A received message, its acknowledgement when the last of it is dropped, and the client that it comes from.

use std::{error::Error, fmt, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    inbox::{acks::AckQueue, share::Waiting},
    observe::{
        counters::Counters,
        failure::FailureSink,
        log_lines::{ClientLog, what},
        thinning::About,
    },
    session::{ack_order::Ticket, packet::Publication},
    spec::qos::QoS,
    supervise::{panic::discard, stop::Intake},
};

/// A message that a client received.
///
/// A QoS 1 or 2 message is acknowledged when it is dropped: in a handler after the last handler
/// returned, in pull mode when the application lets go of it. Until then the broker counts it as
/// in flight, and sends it again after a reconnect if the session was kept. Keep the payload
/// (cloning [`Message::payload`] copies nothing) and drop the message to take it over.
///
/// ```
/// use mqtt_fleet::Message;
///
/// fn line(message: &Message) -> String {
///     format!("{} {} {} bytes", message.client(), message.topic(), message.payload().len())
/// }
/// ```
pub struct Message {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    source: Arc<Source>,
    received_at: Instant,
    /// `None` for QoS 0, which is not acknowledged.
    ticket: Option<Ticket>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) duplicate: bool,
    /// It left the queue. What is dropped inside the queue was handled by nobody: it is neither
    /// acknowledged nor counted as handled.
    pub(crate) taken: bool,
    disposition: MessageDisposition,
}

/// What becomes of a message that left the queue.
#[derive(Debug, Clone, Copy)]
enum MessageDisposition {
    Handled,
    /// No handler's filter matched.
    Unmatched,
    /// It comes again on the current connection: nobody needs this copy.
    Superseded,
    /// What it was for could not be done before the end: it is not acknowledged.
    Left,
}

impl Message {
    pub(crate) fn new(
        content: Publication,
        source: Arc<Source>,
        ticket: Option<Ticket>,
        received_at: Instant,
    ) -> Self {
        Self {
            topic: content.topic.into_boxed_str(),
            payload: content.payload,
            source,
            received_at,
            ticket,
            qos: content.qos,
            retain: content.retain,
            duplicate: content.duplicate,
            taken: false,
            disposition: MessageDisposition::Handled,
        }
    }

    /// The name of the client that received it.
    pub fn client(&self) -> &str {
        &self.source.name
    }

    /// The topic name it was published to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The payload: any bytes, also none. A clone shares its memory. One of up to 512 bytes, with the
    /// topic, keeps nothing else; a larger one keeps the buffer that it was read into.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload as text, with replacement characters where it is not UTF-8.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.payload)
    }

    /// The quality of service that it was delivered with: the lower one of the publisher's and
    /// the subscription's (section 4.3).
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it is a retained message that was waiting for the subscription [MQTT-3.3.1-8].
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Whether the broker may have delivered it before [MQTT-3.3.1-1]. Never set at QoS 0.
    pub fn duplicate(&self) -> bool {
        self.duplicate
    }

    /// When its client's thread read it, together with others that came in the same piece.
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// It leaves the queue: from now on dropping it means that it was handled. `None` if the
    /// broker repeats it on the current connection, so that this copy need not be handled.
    pub(crate) fn take(mut self) -> Option<Self> {
        self.source
            .waiting
            .taken(self.qos, self.topic.len() + self.payload.len());
        self.taken = true;
        let acks = &self.source.acks;
        if self.ticket.is_some_and(|ticket| acks.is_superseded(ticket)) {
            self.disposition = MessageDisposition::Superseded;
            return None;
        }
        Some(self)
    }

    /// Its handler could not do its work because of a stop, or the policy is to stop for its
    /// failure: the message stays unacknowledged, and counts as one that nobody has handled.
    pub(crate) fn leave(&mut self) {
        self.disposition = MessageDisposition::Left;
    }

    /// No handler's filter matched.
    pub(crate) fn unmatched(&mut self) {
        self.disposition = MessageDisposition::Unmatched;
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if !self.taken || matches!(self.disposition, MessageDisposition::Left) {
            return;
        }
        // Before it is counted: a drain that finds it handled finds its acknowledgement too.
        if let Some(ticket) = self.ticket.filter(|_| self.source.intake.acknowledges()) {
            self.source.acks.handled(ticket);
        }
        let counters = &self.source.counters;
        match self.disposition {
            MessageDisposition::Handled => counters.handled.increment(),
            MessageDisposition::Unmatched => counters.unmatched.increment(),
            MessageDisposition::Superseded => counters.repeated.increment(),
            MessageDisposition::Left => {}
        }
    }
}

impl fmt::Debug for Message {
    /// Without the payload, which may be large or secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("client", &self.client())
            .field("topic", &self.topic)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("duplicate", &self.duplicate)
            .finish()
    }
}

/// What handlers, pub functions and the dead-letter function return. Any error converts with `?`.
///
/// ```
/// use mqtt_fleet::{HandlerResult, Message};
///
/// fn parse(message: &Message) -> HandlerResult {
///     let _degrees: f64 = message.text().parse()?;
///     Ok(())
/// }
/// ```
pub type HandlerResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A handler, with everything it needs already inside.
pub(crate) type Handler = Arc<dyn Fn(&Message) -> HandlerResult + Send + Sync>;

/// A handler and the messages that it is for.
pub(crate) struct Route {
    pub(crate) filter: String,
    pub(crate) handler: Handler,
}

/// The handlers of the fleet or of one client. What the user's closures own is dropped with them.
#[derive(Default)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        Self(routes.into_iter().collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.0.drain(..).for_each(discard);
    }
}

/// A client as the receiving side knows it: the part of its record that each of its messages holds.
pub(crate) struct Source {
    /// Which client of its fleet it is.
    pub(crate) number: u64,
    pub(crate) name: Arc<str>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<ClientLog>,
    pub(crate) intake: Intake,
    pub(crate) acks: AckQueue,
    pub(crate) waiting: Waiting,
    /// Its own handlers.
    pub(crate) routes: Arc<Routes>,
    /// Where failures of handlers with its messages go.
    pub(crate) failed: FailureSink,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Source {
    #[cfg(test)]
    pub(crate) fn of_test(name: &str, release: crate::inbox::acks::Release) -> Self {
        Self {
            number: 7,
            name: name.into(),
            counters: Arc::default(),
            log: Arc::default(),
            intake: Intake::default(),
            acks: AckQueue::new(release),
            waiting: Waiting::new(crate::inbox::share::Share::new(1, 1, 1)),
            routes: Arc::default(),
            failed: Arc::new(|_| {}),
        }
    }

    /// A QoS 0 message came that finds no place.
    pub(crate) fn dropped(&self) {
        self.counters.received.increment();
        self.counters.dropped.increment();
    }

    /// A wake-up has brought messages that found no place.
    pub(crate) fn tell_dropped(&self) {
        let about = About {
            what: what::QUEUE_FULL,
            place: "",
            text: "",
        };
        self.log.warn(
            &about,
            format_args!(
                "client {}: its share of the queue is full, {} QoS 0 messages dropped",
                self.name,
                self.counters.dropped.get(),
            ),
        );
    }
}
