//! Who a client is: its data, and the functions that its user attaches to it.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    client::{clients::Clients, handle::Client},
    inbox::message::{HandlerResult, Message},
    spec::{
        broker::Broker,
        broker_error::BrokerError,
        credentials::{Credentials, PasswordPlace},
        outbox::{Offline, OnLowered, OutboxOverflow, RefusedSubscription, Replay},
        payload::Payload,
        qos::QoS,
        retry::Retry,
        settings::{Birth, Session, Settings},
        tls::Tls,
        will::Will,
    },
};

/// A handler as the user writes it.
pub(crate) type UserHandler = Arc<dyn Fn(&Message, &Clients) -> HandlerResult + Send + Sync>;

/// A pub function that can be cloned for each copy of a template.
pub(crate) trait PubFunction: FnMut(&Client) -> HandlerResult + Send {
    fn boxed_clone(&self) -> Box<dyn PubFunction>;
}

impl<F> PubFunction for F
where
    F: FnMut(&Client) -> HandlerResult + Clone + Send + 'static,
{
    fn boxed_clone(&self) -> Box<dyn PubFunction> {
        Box::new(self.clone())
    }
}

/// A pub function and how often it is called.
pub(crate) struct Periodic {
    pub(crate) interval: Duration,
    /// Behind a lock so that specs are `Sync` although the function need not be. It is only ever cloned
    /// there: what is called is a copy of its own.
    function: Mutex<Box<dyn PubFunction>>,
}

impl Periodic {
    pub(crate) fn into_function(self) -> Box<dyn PubFunction> {
        self.function.into_inner()
    }
}

impl Clone for Periodic {
    fn clone(&self) -> Self {
        Self {
            interval: self.interval,
            function: Mutex::new(self.function.lock().boxed_clone()),
        }
    }
}

/// Who a client is: plain data that can be cloned, printed and kept, and the functions attached
/// to it.
///
/// Nothing is checked and nothing runs before [`FleetBuilder::start`](crate::FleetBuilder::start),
/// which checks everything and names the client and the field of what is wrong.
///
/// `{name}` becomes the client's name in every text: client id, filters, user name and password, names of
/// files and of environment variables, the texts of [`Tls`], and the topics and payloads of will and birth (a
/// payload that is not UTF-8 stays as it is). [`ClientSpec::times`] fills `{i}` in the same places and in the
/// name. `{{i}}` and `{{name}}` stand for `{i}` and `{name}` themselves, such as in a password; all other braces
/// are what they are. URLs have no placeholders, and one with them is refused; what a password file or
/// [`ClientSpec::credentials_with`] gives is sent as it is. `Debug` shows no password and no payload.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, QoS, Retry, Will};
///
/// let plant = ClientSpec::new("plant", "mqtt://10.0.0.5")
///     .client_id("gw-7f3a-plant")
///     .subscribe("sensors/+/temp", QoS::AtLeastOnce)
///     .retry(Retry::attempts(3).pause(Duration::from_millis(200)..=Duration::from_secs(5)))
///     .will(Will::new("gw/7f3a/state", "offline").retain(true))
///     .birth("gw/7f3a/state", QoS::AtLeastOnce, true, "online")
///     .publish_every(Duration::from_secs(1), |client| {
///         client.try_publish("gw/7f3a/uptime", QoS::AtMostOnce, false, "1")?;
///         Ok(())
///     });
/// let devices = ClientSpec::new("dev-{i}", "mqtt://10.0.0.5")
///     .subscribe("cmd/{name}/#", QoS::AtLeastOnce)
///     .times(200);
/// assert_eq!(devices.len(), 200);
/// # let _ = plant;
/// ```
#[derive(Clone)]
pub struct ClientSpec {
    pub(crate) settings: Settings,
    pub(crate) handlers: Vec<(String, UserHandler)>,
    pub(crate) periodic: Vec<Periodic>,
    /// Which copy of a template it is, of how many.
    pub(crate) copy: (usize, usize),
    /// Which machine this is, of how many.
    pub(crate) shard: (usize, usize),
}

impl ClientSpec {
    /// A client with a name of its own in the fleet, and its broker: a URL such as
    /// `mqtt://host:1883`, `(host, port)`, a socket address, or a [`Broker`]. What is none of these is
    /// reported by the start.
    pub fn new(
        name: impl Into<String>,
        broker: impl TryInto<Broker, Error: Into<BrokerError>>,
    ) -> Self {
        let mut settings = Settings::new(name.into());
        settings.add_broker("broker", broker.try_into());
        Self::of(settings)
    }

    pub(crate) fn of(settings: Settings) -> Self {
        Self {
            settings,
            handlers: Vec::new(),
            periodic: Vec::new(),
            copy: (0, 1),
            shard: (0, 1),
        }
    }

    /// One more broker, for when the ones before can't be reached. They are tried in turn, one for
    /// each attempt, with the credentials of its own URL unless the spec names others;
    /// [`Retry`] counts over all of them. After the loss of a stable connection the first one is
    /// tried first again: put the one that you prefer in front. One that refuses for good is left
    /// out until then; when all of them have, the client ends. [`Client::broker`] says which it
    /// is.
    ///
    /// What the last connection left unacknowledged is sent to another broker as new, also under
    /// [`Session::Kept`]: nothing tells whether the two know each other, and what may be there
    /// twice is not lost. Defaults to none.
    ///
    /// ```
    /// use mqtt_fleet::ClientSpec;
    ///
    /// let plant = ClientSpec::new("plant", "mqtt://10.0.0.5").or_broker("mqtt://10.0.0.6");
    /// ```
    #[must_use]
    pub fn or_broker(mut self, broker: impl TryInto<Broker, Error: Into<BrokerError>>) -> Self {
        self.settings.add_broker("or_broker", broker.try_into());
        self
    }

    /// How brokers with `mqtts` and `wss` are spoken to. Defaults to [`Tls::system`].
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// The client id (section 3.1.3.1), 1 to 65,535 bytes. Defaults to one of at most 23 bytes: up to 13
    /// letters and digits of the name, a hyphen, and nine that are others in each run.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.settings.client_id = Some(id.into());
        self
    }

    /// How often a ping is sent (section 3.1.2.10), 1 s to 65,535 s, whole seconds only. A silent
    /// broker is noticed after one to two keep alives. Defaults to 30 s.
    #[must_use]
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.settings.keep_alive = keep_alive;
        self
    }

    /// Whether the broker keeps the session while the client is away. Defaults to
    /// [`Session::Clean`].
    #[must_use]
    pub fn session(mut self, session: Session) -> Self {
        self.settings.session = session;
        self
    }

    /// User name and password. Defaults to those of the broker's URL, else to none.
    ///
    /// Each has at most 65,535 bytes, and the user name no null character (section 3.1.3.4); a password needs a
    /// user name that is not empty. The start refuses others. Both are filled in where they hold `{i}` or
    /// `{name}`: write `{{i}}` for a password that has these characters.
    #[must_use]
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.credentials = Credentials::Fixed {
            username: username.into(),
            password: password.into(),
        };
        self
    }

    /// User name, and a password that is in an environment variable: read at the start, which
    /// refuses one that is not set or empty, and again before each attempt. Bounds as for
    /// [`ClientSpec::credentials`]. Defaults to none.
    #[must_use]
    pub fn password_env(
        mut self,
        username: impl Into<String>,
        variable: impl Into<String>,
    ) -> Self {
        self.settings.credentials = Credentials::Stored {
            username: username.into(),
            place: PasswordPlace::Env(variable.into()),
        };
        self
    }

    /// User name, and a password that is all that a file holds, but for the end of its last line and a byte
    /// order mark in front: read at the start, which refuses a file that can't be read, is empty or is not
    /// UTF-8, and again before each attempt. Bounds as for [`ClientSpec::credentials`]. Defaults to none.
    #[must_use]
    pub fn password_file(mut self, username: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.settings.credentials = Credentials::Stored {
            username: username.into(),
            place: PasswordPlace::File(path.into()),
        };
        self
    }

    /// A function that is asked for user name and password before each attempt, for tokens that
    /// expire. It runs on the client's thread and may block; an error or a panic is a failed
    /// attempt, and so is an answer beyond the bounds of [`ClientSpec::credentials`]. Defaults to none.
    #[must_use]
    pub fn credentials_with(
        mut self,
        ask: impl Fn() -> Result<(String, String), Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.settings.credentials = Credentials::Asked(Arc::new(ask));
        self
    }

    /// What the broker publishes when the client is lost. Defaults to nothing.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.settings.will = Some(will);
        self
    }

    /// A message that is published after every CONNACK, before any other message and after
    /// SUBSCRIBE: who reads "online" can send commands. Defaults to nothing.
    ///
    /// At QoS 2, in a kept session, at most four birth messages are under way at a time: if the
    /// connections were too short for the broker to complete them (PUBCOMP), the next birth message
    /// waits until it has completed one, and all other messages wait behind it.
    #[must_use]
    pub fn birth<'a>(
        mut self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Payload<'a>>,
    ) -> Self {
        self.settings.birth = Some(Birth {
            topic: topic.into(),
            qos,
            retain,
            payload: payload.into().into_bytes(),
        });
        self
    }

    /// A topic filter to subscribe to, after each CONNACK without a session. May be called again;
    /// of the same filter the last quality of service counts. Defaults to none.
    #[must_use]
    pub fn subscribe(mut self, filter: impl Into<String>, qos: QoS) -> Self {
        self.settings.subscriptions.push((filter.into(), qos));
        self
    }

    /// How the client retries. Defaults to [`Retry::attempts`]`(3)`.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// How long one attempt may take, from TCP to CONNACK, and how long the broker may read nothing of
    /// what is sent: a line that moves has as long as it takes. Whole seconds, rounded up, 1 s to a year. Defaults to 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// The largest packet, in bytes, both ways: a larger one is refused by `publish`, and a larger
    /// one from the broker ends the connection. 128 to 268,435,455. Defaults to 256 KiB.
    #[must_use]
    pub fn max_packet_size(mut self, bytes: usize) -> Self {
        self.settings.max_packet_size = bytes;
        self
    }

    /// How many filters the client puts into one SUBSCRIBE or UNSUBSCRIBE packet, 1 to 65,535. Some
    /// brokers take 8 and close the connection on more. Defaults to as many as fit into
    /// [`ClientSpec::max_packet_size`].
    ///
    /// Without it, too, a client gets by with such a broker: a connection that ended while a packet
    /// with several filters was not answered makes it send one filter in each from then on. This
    /// costs one attempt. Filters of a packet that was refused as a whole are asked for once more on
    /// that connection, one each; if the broker then grants one, it is asked one by one from then on.
    #[must_use]
    pub fn filters_per_subscribe(mut self, filters: u16) -> Self {
        self.settings.filters_per_subscribe = filters;
        self
    }

    /// How many messages the outbox holds, at least 1. Defaults to 1,000.
    #[must_use]
    pub fn outbox_capacity(mut self, messages: usize) -> Self {
        self.settings.outbox.capacity = messages;
        self
    }

    /// How many published messages of QoS 1 and 2 may be unacknowledged at once, 1 to 10,000; of
    /// QoS 2 at most 10, whatever is set here, because mosquitto 2.0 as it comes loses what exceeds
    /// 20, or closes on a client that has more. Defaults to 100.
    #[must_use]
    pub fn window(mut self, messages: u16) -> Self {
        self.settings.outbox.window = messages;
        self
    }

    /// What happens to a message that is published while the client is not connected. Defaults
    /// to [`Offline::Queue`].
    #[must_use]
    pub fn offline(mut self, offline: Offline) -> Self {
        self.settings.outbox.offline = offline;
        self
    }

    /// What happens to a message that is published while the outbox is full. Defaults to
    /// [`OutboxOverflow::Refuse`].
    #[must_use]
    pub fn outbox_overflow(mut self, overflow: OutboxOverflow) -> Self {
        self.settings.outbox.overflow = overflow;
        self
    }

    /// How old a message may get before it is sent: an older one ends as expired. It is noticed
    /// on time, also while the client is not connected. A message that
    /// was sent is repeated however old. Defaults to no limit.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.outbox.max_age = Some(age);
        self
    }

    /// How many connections in a row the broker may close on the same message of QoS 1 or 2 before it is
    /// given up: it ends as failed with
    /// [`FailedCause::BrokerCloses`](crate::FailedCause::BrokerCloses), and what is behind it goes on.
    /// Defaults to 3; 0 is never. [`Retry`] counts as well: where it allows fewer attempts, the client
    /// ends first.
    ///
    /// MQTT 3.1.1 gives a broker that does not want a message, because it is too large or not
    /// allowed, no other way to say so, and the message would be repeated for ever. It has to be the
    /// message: before the last close, what is unacknowledged is repeated one by one, each after a
    /// ping that was answered, and a broker that could not be reached in between counts as restarted. A
    /// broker that closes because another client has this client id can look the same: 0 is for that, too.
    #[must_use]
    pub fn max_closes(mut self, closes: u32) -> Self {
        self.settings.outbox.max_closes = (closes > 0).then_some(closes);
        self
    }

    /// Whether unacknowledged messages are sent again to a broker that has lost the session.
    /// Defaults to [`Replay::Always`].
    #[must_use]
    pub fn replay(mut self, replay: Replay) -> Self {
        self.settings.outbox.replay = replay;
        self
    }

    /// What the client does when the broker refuses a subscription. Defaults to
    /// [`RefusedSubscription::Continue`].
    #[must_use]
    pub fn refused_subscription(mut self, refused: RefusedSubscription) -> Self {
        self.settings.refused_subscription = refused;
        self
    }

    /// What the client does when the broker grants a subscription with a lower quality of service
    /// than asked for. Defaults to [`OnLowered::Continue`].
    #[must_use]
    pub fn lowered_subscription(mut self, lowered: OnLowered) -> Self {
        self.settings.lowered_subscription = lowered;
        self
    }

    /// A pub function: called every interval while the client is connected, on the publisher
    /// thread.
    ///
    /// The moments are absolute: a late call does not shift the next one, and calls that are
    /// missed (not connected, or too late) are counted and never made up for in a burst. The
    /// copies of a template are spread over the interval. The function may keep state of its own;
    /// each copy has its own clone of it. All pub functions share a thread: one that blocks delays
    /// the others (never a connection), so use `try_publish` in it. An error or a panic is handled
    /// by the fleet's [`OnFailure`](crate::OnFailure). May be called again for a further function.
    #[must_use]
    pub fn publish_every<F>(mut self, interval: Duration, function: F) -> Self
    where
        F: FnMut(&Client) -> HandlerResult + Clone + Send + 'static,
    {
        self.periodic.push(Periodic {
            interval,
            function: Mutex::new(Box::new(function)),
        });
        self
    }

    /// A handler for this client's messages whose topic matches the filter. It runs on a worker,
    /// after the fleet's own handlers. May be called again; all that match are called.
    #[must_use]
    pub fn on_message(
        mut self,
        filter: impl Into<String>,
        handler: impl Fn(&Message, &Clients) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.handlers.push((filter.into(), Arc::new(handler)));
        self
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }
}

impl fmt::Debug for ClientSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSpec")
            .field("settings", &self.settings)
            .field("handlers", &self.handlers.len())
            .field("pub_functions", &self.periodic.len())
            .finish()
    }
}
