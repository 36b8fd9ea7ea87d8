//! The handle of one client: what its user can do with it, from any thread.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{
        error::{SubscribeError, SubscribeErrorKind},
        member::Member,
        next::NextConnection,
    },
    observe::{
        cause::Cause,
        counters::Stats,
        failure::Failure,
        ledger::Ledger,
        state::{ClientState, Outcome},
        stop_refusals,
        wait::WaitError,
    },
    outbox::{
        NotTaken, Patience,
        error::{PublishError, PublishErrorKind},
        receipt::Receipt,
    },
    session::{packet::Control, publish::Publish},
    spec::{
        payload::Payload,
        qos::QoS,
        topic::{check_filter, check_topic},
    },
    supervise::stop::deadline_after,
};

/// One client of a fleet.
///
/// A cheap clone of a shared handle: it can be kept, sent to any thread, and used in handlers
/// and pub functions, its own included. Holding one does not keep the client running.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Fleet, QoS};
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// let fleet = Fleet::builder().client(ClientSpec::new("plant", broker.url())).start()?;
/// let plant = fleet.client("plant")?;
/// plant.wait_connected(Duration::from_secs(5))?;
/// plant.publish("plant/boot", QoS::AtLeastOnce, true, "1")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Member>);

impl Client {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        Self(member)
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.0
    }

    /// The client's name in its fleet.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its broker: `host:port` for MQTT over TCP, else a URL without user, password and query. Of
    /// several ([`ClientSpec::or_broker`](crate::ClientSpec::or_broker)) the one that it is
    /// connected to, or tries, or was with last.
    pub fn broker(&self) -> &str {
        self.0.status.broker()
    }

    /// The client id that it connects with.
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Publishes a message: waits for room in the outbox, for as long as it takes.
    ///
    /// `Ok` means that the message is in the client's outbox, in order behind the earlier ones of
    /// the same thread, and that it will end in exactly one bucket of the [`Ledger`]; the
    /// [`Receipt`] says in which. It is sent when the client is connected, and at QoS 1 and 2 again
    /// on the next connection if it was not acknowledged (see [`Replay`](crate::Replay)). A
    /// [stop](crate::Fleet::stop) sends what the outbox of a connected client holds. While the client
    /// is not connected the outbox fills and then this waits; stopping the client releases it.
    ///
    /// The topic is a `&str`, a `String` or a reference to one; [`Payload`] says what a payload may be.
    /// A message with more than this is a [`Publish`], for [`Client::send`].
    ///
    /// # Errors
    ///
    /// [`PublishError`] holds the message: the client has ended, or is not connected and its spec
    /// does not let messages wait for that, the topic is not valid ([MQTT-3.3.2-2]), or the packet
    /// exceeds the packet size limit.
    pub fn publish<'a>(
        &self,
        topic: impl Into<Cow<'a, str>>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Receipt, PublishError> {
        self.send(Publish::new(topic, payload).qos(qos).retain(retain))
    }

    /// Like [`Client::publish`], but never waits.
    ///
    /// # Errors
    ///
    /// [`PublishErrorKind::Full`] where `publish` would wait; else like `publish`.
    pub fn try_publish<'a>(
        &self,
        topic: impl Into<Cow<'a, str>>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Receipt, PublishError> {
        self.try_send(Publish::new(topic, payload).qos(qos).retain(retain))
    }

    /// Like [`Client::publish`], but waits at most this long.
    ///
    /// # Errors
    ///
    /// [`PublishErrorKind::Timeout`] if there was no room in time; else like `publish`.
    pub fn publish_timeout<'a>(
        &self,
        topic: impl Into<Cow<'a, str>>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Payload<'a>>,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        let publish = Publish::new(topic, payload).qos(qos).retain(retain);
        self.send_timeout(publish, timeout)
    }

    /// [`Client::publish`], with the message as one value.
    ///
    /// ```
    /// use mqtt_fleet::{Client, PublishError, Publish, QoS};
    ///
    /// fn boot(client: &Client) -> Result<(), PublishError> {
    ///     let booted = Publish::new("plant/boot", "1").qos(QoS::AtLeastOnce).retain(true);
    ///     client.send(booted)?;
    ///     Ok(())
    /// }
    /// # let _ = boot;
    /// ```
    ///
    /// # Errors
    ///
    /// Like [`Client::publish`]; [`PublishError::into_publish`] gives the message back.
    pub fn send(&self, publish: Publish<'_>) -> Result<Receipt, PublishError> {
        self.offer(publish, Patience::Until(None))
    }

    /// Like [`Client::send`], but never waits.
    ///
    /// # Errors
    ///
    /// [`PublishErrorKind::Full`] where `send` would wait; else like `send`.
    pub fn try_send(&self, publish: Publish<'_>) -> Result<Receipt, PublishError> {
        self.offer(publish, Patience::None)
    }

    /// Like [`Client::send`], but waits at most this long.
    ///
    /// # Errors
    ///
    /// [`PublishErrorKind::Timeout`] if there was no room in time; else like `send`.
    pub fn send_timeout(
        &self,
        publish: Publish<'_>,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        self.offer(publish, Patience::Until(deadline_after(timeout)))
    }

    fn offer(&self, publish: Publish<'_>, patience: Patience) -> Result<Receipt, PublishError> {
        if let Err(error) = check_topic(publish.topic()) {
            let kind = PublishErrorKind::Topic(error);
            return Err(PublishError::new(self.name(), kind, publish));
        }
        let (size, limit) = (publish.size(), self.0.max_packet_size);
        if size > limit {
            let kind = PublishErrorKind::TooLarge { size, limit };
            return Err(PublishError::new(self.name(), kind, publish));
        }
        let (publish, refusal) = match self.0.outbox.offer(publish, patience) {
            Ok(receipt) => return Ok(receipt),
            Err(refused) => refused,
        };
        if refusal == NotTaken::Closed && self.0.intake.is_closed() {
            stop_refusals::record();
            self.0.intake.note_refusal();
        }
        let kind = match (refusal, patience) {
            (NotTaken::Closed, _) => PublishErrorKind::Ended,
            (NotTaken::Offline, _) => PublishErrorKind::Offline,
            (NotTaken::Full, Patience::None) => PublishErrorKind::Full,
            (NotTaken::Full, Patience::Until(_)) => PublishErrorKind::Timeout,
        };
        Err(PublishError::new(self.name(), kind, publish))
    }

    /// What became of every message that this client accepted, at this moment.
    pub fn ledger(&self) -> Ledger {
        self.0.outbox.ledger()
    }

    /// How many messages wait in the outbox.
    pub fn queued(&self) -> usize {
        self.0.outbox.len()
    }

    /// Subscribes to a filter, from now on and after each reconnect. Never waits.
    ///
    /// If the client is connected, SUBSCRIBE is on its way when this returns, else it follows the
    /// next CONNACK. A refusal by the broker is logged, counted, announced as a state change with
    /// [`crate::Cause::SubscriptionRefused`], and in the report; so is a lower quality of service
    /// than asked for, with [`crate::Cause::SubscriptionLowered`]. A filter that is there already
    /// gets the new quality of service [MQTT-3.8.4-3].
    ///
    /// # Errors
    ///
    /// The filter is not valid, or the client has ended.
    pub fn subscribe(&self, filter: impl Into<String>, qos: QoS) -> Result<(), SubscribeError> {
        let filter = filter.into();
        self.check(&filter)?;
        let mut subscriptions = self.0.subscriptions.lock();
        subscriptions.want(filter, qos);
        // Asked under the lock: the network thread decides under the same one whether SUBSCRIBE
        // packets of a new connection are still to be made, so that none is missed or sent twice.
        if self.0.outbox.is_connected() {
            self.0.status.set_subscribed(false);
            for packet in subscriptions.ask(self.0.max_packet_size, Instant::now()) {
                self.0.outbox.control(Control::Subscribe(packet));
            }
        }
        Ok(())
    }

    /// Ends a subscription of the spec or of [`Client::subscribe`]. Never waits. If the client is
    /// not connected, UNSUBSCRIBE follows the next CONNACK, where the broker has kept the session. A
    /// client that ends before is in the report: [`crate::ClientReport::unfinished_unsubscribes`].
    /// Messages that the broker had sent before still come.
    ///
    /// # Errors
    ///
    /// The filter is not valid or not subscribed to, or the client has ended.
    pub fn unsubscribe(&self, filter: impl Into<String>) -> Result<(), SubscribeError> {
        let filter = filter.into();
        self.check(&filter)?;
        let mut subscriptions = self.0.subscriptions.lock();
        let is_connected = self.0.outbox.is_connected();
        if !subscriptions.drop_filter(&filter, is_connected) {
            return Err(self.subscribe_error(filter, SubscribeErrorKind::Unknown));
        }
        self.0.outbox.control(Control::Unsubscribe(vec![filter]));
        Ok(())
    }

    fn check(&self, filter: &str) -> Result<(), SubscribeError> {
        check_filter(filter).map_err(|error| {
            self.subscribe_error(filter.to_owned(), SubscribeErrorKind::Filter(error))
        })?;
        // Fixed header, identifier, length and quality of service around the filter.
        if filter.len() + 10 > self.0.max_packet_size {
            let kind = SubscribeErrorKind::TooLarge;
            return Err(self.subscribe_error(filter.to_owned(), kind));
        }
        if self.0.intake.is_closed() || self.0.status.outcome().is_some() {
            return Err(self.subscribe_error(filter.to_owned(), SubscribeErrorKind::Ended));
        }
        Ok(())
    }

    fn subscribe_error(&self, filter: String, kind: SubscribeErrorKind) -> SubscribeError {
        SubscribeError {
            client: self.name().to_owned(),
            filter,
            kind,
        }
    }

    /// Whether the client has a connection with CONNACK. False as soon as a loss is known: at
    /// once when the broker closes, within two keep alives when it falls silent.
    pub fn is_connected(&self) -> bool {
        self.0.status.is_connected()
    }

    /// What the client is doing.
    pub fn state(&self) -> ClientState {
        self.0.status.state()
    }

    /// How the client ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.status.outcome()
    }

    /// The counts of this client. The [`Ledger`] among them is taken under one lock.
    pub fn stats(&self) -> Stats {
        self.0.counters.stats(self.0.outbox.ledger())
    }

    /// Why its last connection was lost or its last attempt failed, whichever was later. `None` as
    /// long as neither has happened.
    pub fn last_cause(&self) -> Option<Cause> {
        let (cause, _) = self.0.status.troubles().last_cause?;
        Some(cause)
    }

    /// When that was.
    pub fn last_cause_at(&self) -> Option<Instant> {
        let (_, at) = self.0.status.troubles().last_cause?;
        Some(at)
    }

    /// The first failure of a handler or pub function for this client.
    pub fn first_failure(&self) -> Option<Failure> {
        self.0.status.first_failure()
    }

    /// Waits until the client is connected, as far as it knows: a loss shows at once when the broker
    /// closes the connection, and within two keep alives when it falls silent. For a connection that
    /// is newer than the current one see [`Client::next_connection`].
    ///
    /// # Errors
    ///
    /// The time was over, or the client has ended and never will be.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.0.status.wait_connected(timeout)
    }

    /// Waits until the client is connected, as far as it knows, and the broker has answered every
    /// subscription on this connection. A refused one is answered. Behind a restart of the broker
    /// see [`Client::next_connection`].
    ///
    /// # Errors
    ///
    /// The time was over, or the client has ended and never will be.
    pub fn wait_subscribed(&self, timeout: Duration) -> Result<(), WaitError> {
        self.0.status.wait_subscribed(timeout)
    }

    /// Marks the connection that there is, or the lack of one, so that
    /// [`NextConnection::wait_connected`] and [`NextConnection::wait_subscribed`] can wait for a
    /// newer one. To be called before whatever ends the current one.
    pub fn next_connection(&self) -> NextConnection {
        NextConnection::new(Arc::clone(self.member()))
    }

    /// Waits until the client is not connected. One that never was or has ended is not.
    ///
    /// # Errors
    ///
    /// The time was over.
    pub fn wait_disconnected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.0.status.wait_disconnected(timeout)
    }

    /// Waits until the client has ended, and says how.
    ///
    /// # Errors
    ///
    /// The time was over.
    pub fn wait_ended(&self, timeout: Duration) -> Result<Outcome, WaitError> {
        self.0.status.wait_ended(timeout)
    }

    /// Stops this client; the others run on. Never waits: [`Client::wait_ended`] waits for it.
    ///
    /// From here on it takes no message, neither to publish nor from the broker. If it is connected,
    /// it sends what its outbox holds and waits for the acknowledgements, as long as the connection
    /// lasts and for [`FleetBuilder::stop_deadline`](crate::FleetBuilder::stop_deadline) at most, then
    /// sends DISCONNECT. Its handlers are not waited for: a message that one of them still has then
    /// stays unacknowledged. If it is not connected it makes no further attempt, and what its outbox
    /// holds is [`unsent`](Ledger::unsent).
    pub fn stop(&self) {
        self.0.finish();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.0.name)
            .field("broker", &self.broker())
            .field("client_id", &self.0.client_id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
