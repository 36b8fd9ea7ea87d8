//! The only door to rumqttc: its events, errors and requests made ours.
//!
//! A [`Link`] belongs to the network thread; its [`RumqttcBell`] goes into the outbox. What
//! rumqttc does wrong for us is put right here: see `docs/ARCHITECTURE.md`, "What rumqttc is
//! kept from".

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rumqttc::{
    ConnectReturnCode, ConnectionError, Disconnect, Event, LastWill, MqttOptions, NetworkOptions,
    Packet, Publish, Request, StateError, Subscribe, SubscribeFilter, SubscribeReasonCode,
    Unsubscribe, mqttbytes,
};

use crate::{
    client::subscriptions::Opening,
    publish::{
        outbox::{Bell, Control, Item, Outgoing},
        window::Window,
    },
    receive::message::Received,
    spec::{
        qos::QoS,
        settings::{Birth, Session, Settings},
    },
    supervise::{
        cause::{Cause, Refusal},
        panic::caught,
    },
};

/// How long a broker may take to close the connection after DISCONNECT.
const LINGER: Duration = Duration::from_millis(100);

/// At most one bell is in rumqttc's channel; one more is room for nothing that should happen.
const CHANNEL_CAPACITY: usize = 2;

/// What happened on the connection.
#[derive(Debug)]
pub(crate) enum Happened {
    Connected {
        session_present: bool,
    },
    Received(Received),
    /// PUBACK or PUBCOMP: the publish is complete.
    Acknowledged {
        packet_id: u16,
    },
    Subscribed {
        packet_id: u16,
        granted: Vec<bool>,
    },
    Unsubscribed {
        packet_id: u16,
    },
    /// A PUBLISH was given to the encoder; 0 is the identifier of QoS 0.
    PublishWritten {
        packet_id: u16,
    },
    SubscribeWritten {
        packet_id: u16,
    },
    UnsubscribeWritten {
        packet_id: u16,
    },
    AcknowledgementWritten,
    DisconnectWritten,
    /// Nothing that anybody needs to know.
    Other,
}

/// One client's rumqttc.
pub(crate) struct Link {
    connection: rumqttc::Connection,
    settings: Settings,
    /// The address of the current attempt, for causes.
    address: Option<SocketAddr>,
    connected: bool,
    /// What was sent and not acknowledged on the last connection.
    unacknowledged: Vec<Request>,
}

impl Link {
    /// Builds rumqttc's client: three descriptors and no connection yet.
    pub(crate) fn new(settings: Settings) -> Result<(Self, RumqttcBell), String> {
        let nowhere = options(&settings, "", 0, None);
        // rumqttc unwraps the making of its runtime: at the descriptor limit it panics.
        let (client, mut connection) = caught(|| rumqttc::Client::new(nowhere, CHANNEL_CAPACITY))?;
        connection
            .eventloop
            .set_network_options(network_options(settings.connect_timeout));
        let link = Self {
            connection,
            settings,
            address: None,
            connected: false,
            unacknowledged: Vec::new(),
        };
        Ok((link, RumqttcBell(client)))
    }

    /// Where the next attempt goes, and as whom.
    pub(crate) fn aim(&mut self, address: SocketAddr, login: Option<(String, String)>) {
        let host = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            // rumqttc joins host and port with a colon. The scope of a link-local address is
            // part of the address, so it is written as the whole socket address would be.
            SocketAddr::V6(_) => {
                let text = address.to_string();
                text.rsplit_once(':')
                    .map_or(text.clone(), |(host, _)| host.to_owned())
            }
        };
        self.connection.eventloop.mqtt_options =
            options(&self.settings, &host, address.port(), login);
        self.address = Some(address);
    }

    /// Blocks until something happens: one call of `Connection::iter().next()`. Without a
    /// connection this is one attempt to connect, bounded by the connect timeout.
    pub(crate) fn next(&mut self) -> Result<Happened, Cause> {
        match self.connection.iter().next() {
            Some(Ok(event)) => Ok(self.translate(event)),
            Some(Err(error)) => Err(self.cause(error)),
            // rumqttc's own end of its requests, which can't come while it holds a sender.
            None => Err(Cause::Closed),
        }
    }

    /// What else happened in the same wake-up. Taking it from rumqttc's public queue spares one
    /// run of its runtime per event.
    pub(crate) fn buffered(&mut self) -> Option<Happened> {
        let event = self.connection.eventloop.state.events.pop_front()?;
        Some(self.translate(event))
    }

    /// Whether control packets of ours still wait in rumqttc's backlog.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.connection.eventloop.pending.is_empty()
    }

    /// Puts the packets that a new connection begins with into rumqttc's backlog: UNSUBSCRIBE and
    /// SUBSCRIBE, the birth message, then what was not acknowledged.
    pub(crate) fn begin(&mut self, session_present: bool, opening: Opening) {
        let birth = self.settings.birth.as_ref();
        let unsubscribe = opening.unsubscribe.into_iter().map(unsubscribe);
        let subscribe = opening.subscribe.into_iter().map(subscribe);
        let born = birth.map(|birth| {
            let mut publish =
                Publish::from_bytes(&birth.topic, qos_out(birth.qos), birth.payload.clone());
            publish.retain = birth.retain;
            Request::Publish(publish)
        });
        let repeated = std::mem::take(&mut self.unacknowledged)
            .into_iter()
            .filter_map(|request| repeat(request, session_present, birth));
        // Nothing reads the backlog before the next call of `next`.
        self.connection
            .eventloop
            .pending
            .extend(unsubscribe.chain(subscribe).chain(born).chain(repeated));
    }

    /// The next thing on the wire is DISCONNECT, whatever else waits.
    pub(crate) fn disconnect(&mut self) {
        self.connection
            .eventloop
            .pending
            .push_front(Request::Disconnect(Disconnect));
    }

    /// DISCONNECT is written: reads on until the broker closes, as it must [MQTT-3.14.4-3], and at
    /// most for a moment. A socket that is closed with something unread in it is reset, and a
    /// broker that notices the reset first takes the client for lost and publishes its will.
    pub(crate) fn linger(&mut self, mut note: impl FnMut(Happened)) {
        let deadline = Instant::now() + LINGER;
        // Nothing may follow DISCONNECT [MQTT-3.14.4-2]: a collision keeps rumqttc from taking
        // what is in its channel. No acknowledgement has the identifier 0 and would release it.
        let hold = Publish::from_bytes("", rumqttc::QoS::AtLeastOnce, Bytes::new());
        self.connection.eventloop.state.collision = Some(hold);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // An error is the end of the connection: a further call would connect again.
            match self.connection.recv_timeout(left) {
                Ok(Ok(event)) if !left.is_zero() => note(self.translate(event)),
                _ => break,
            }
        }
        self.connection.eventloop.state.collision = None;
    }

    /// Closes the socket, and takes what rumqttc had not sent, oldest first: it goes back to the
    /// front of the outbox. What was sent and not acknowledged is kept for the next connection.
    /// Acknowledgements are dropped: the connection that they belong to is over. The window knows
    /// the order of sending.
    pub(crate) fn close(&mut self, window: &Window) -> Vec<Outgoing> {
        let eventloop = &mut self.connection.eventloop;
        eventloop.clean();
        // Two publishes under one identifier can't happen within our window; rumqttc would keep
        // the second one here and wait for ever.
        let collided = eventloop.state.collision.take();
        let mut unsent = Vec::new();
        for request in eventloop
            .pending
            .drain(..)
            .chain(collided.map(Request::Publish))
        {
            match request {
                Request::Publish(publish) if publish.pkid != 0 => {
                    self.unacknowledged.push(Request::Publish(publish));
                }
                // Each connection has its own birth message.
                Request::Publish(publish) if is_birth(&publish, self.settings.birth.as_ref()) => {}
                Request::Publish(publish) => unsent.push(outgoing(publish)),
                Request::PubRel(_) => self.unacknowledged.push(request),
                _ => {}
            }
        }
        // rumqttc's order is that of its slots, from the last PUBACK on: it is not that of sending
        // when identifiers begin again at QoS 2, or when what was repeated already comes after
        // what was yet to be repeated.
        self.unacknowledged
            .sort_by_cached_key(|request| match request {
                Request::Publish(publish) => (false, window.place(publish.pkid)),
                Request::PubRel(release) => (true, window.place(release.pkid)),
                _ => (true, usize::MAX),
            });
        self.connected = false;
        unsent
    }

    fn translate(&mut self, event: Event) -> Happened {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.connected = true;
                Happened::Connected {
                    session_present: connack.session_present,
                }
            }
            Event::Incoming(Packet::Publish(publish)) => Happened::Received(Received {
                topic: publish.topic,
                payload: publish.payload,
                qos: qos_in(publish.qos),
                retain: publish.retain,
                duplicate: publish.dup,
                packet_id: publish.pkid,
            }),
            Event::Incoming(Packet::PubAck(ack)) => Happened::Acknowledged {
                packet_id: ack.pkid,
            },
            Event::Incoming(Packet::PubComp(ack)) => Happened::Acknowledged {
                packet_id: ack.pkid,
            },
            Event::Incoming(Packet::SubAck(ack)) => Happened::Subscribed {
                packet_id: ack.pkid,
                granted: ack
                    .return_codes
                    .iter()
                    .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                    .collect(),
            },
            Event::Incoming(Packet::UnsubAck(ack)) => Happened::Unsubscribed {
                packet_id: ack.pkid,
            },
            Event::Outgoing(rumqttc::Outgoing::Publish(packet_id)) => {
                Happened::PublishWritten { packet_id }
            }
            Event::Outgoing(rumqttc::Outgoing::Subscribe(packet_id)) => {
                Happened::SubscribeWritten { packet_id }
            }
            Event::Outgoing(rumqttc::Outgoing::Unsubscribe(packet_id)) => {
                Happened::UnsubscribeWritten { packet_id }
            }
            Event::Outgoing(rumqttc::Outgoing::PubAck(_) | rumqttc::Outgoing::PubRec(_)) => {
                Happened::AcknowledgementWritten
            }
            Event::Outgoing(rumqttc::Outgoing::Disconnect) => Happened::DisconnectWritten,
            _ => Happened::Other,
        }
    }

    fn cause(&self, error: ConnectionError) -> Cause {
        let timeout = self.settings.connect_timeout;
        match (error, self.address) {
            (ConnectionError::NetworkTimeout, Some(address)) => {
                Cause::ConnectTimeout { address, timeout }
            }
            (ConnectionError::Io(error), Some(address)) => Cause::Connect {
                address,
                kind: error.kind(),
                message: error.to_string(),
            },
            (ConnectionError::ConnectionRefused(code), _) => match refusal(code) {
                Some(code) => Cause::Refused(code),
                None => protocol("a CONNACK that refuses with code 0"),
            },
            (ConnectionError::NotConnAck(_), Some(address)) => Cause::NotMqtt {
                address,
                message: "its first packet is no CONNACK".to_owned(),
            },
            (ConnectionError::FlushTimeout, _) => Cause::WriteTimeout,
            (ConnectionError::MqttState(error), _) => self.state_cause(error),
            (other, _) => protocol(&other.to_string()),
        }
    }

    fn state_cause(&self, error: StateError) -> Cause {
        let error = match error {
            StateError::ConnectionAborted => return Cause::Closed,
            StateError::AwaitPingResp => return Cause::KeepAlive,
            StateError::Deserialization(error) => error,
            StateError::Io(error) => return broken(&error),
            other => return protocol(&other.to_string()),
        };
        match (error, self.address) {
            (mqttbytes::Error::Io(error), _) => broken(&error),
            (mqttbytes::Error::OutgoingPacketTooLarge { pkt_size, max }, _) => Cause::TooLarge {
                size: pkt_size,
                limit: max,
            },
            // Before CONNACK, bytes that make no sense mean that this is no broker at all.
            (error, Some(address)) if !self.connected => Cause::NotMqtt {
                address,
                message: error.to_string(),
            },
            (mqttbytes::Error::PayloadSizeLimitExceeded(size), _) => Cause::TooLarge {
                size,
                limit: self.settings.max_packet_size,
            },
            (error, _) => protocol(&error.to_string()),
        }
    }
}

/// Wakes the network thread by handing one item to rumqttc's channel.
pub(crate) struct RumqttcBell(rumqttc::Client);

impl Bell for RumqttcBell {
    fn ring(&self, item: Item) -> Result<(), Item> {
        let rung = match item {
            Item::Publish(message) => self.0.try_publish(
                message.topic,
                qos_out(message.qos),
                message.retain,
                message.payload,
            ),
            Item::Control(Control::Acknowledge { packet_id, qos }) => {
                let mut publish = Publish::from_bytes("", qos_out(qos), Bytes::new());
                publish.pkid = packet_id;
                self.0.try_ack(&publish)
            }
            Item::Control(Control::Subscribe(filters)) => {
                self.0.try_subscribe_many(filters.into_iter().map(filter))
            }
            Item::Control(Control::Unsubscribe(filter)) => self.0.try_unsubscribe(filter),
            Item::Control(Control::Disconnect) => self.0.try_disconnect(),
        };
        rung.map_err(|error| match error {
            rumqttc::ClientError::Request(request) | rumqttc::ClientError::TryRequest(request) => {
                item_of(request)
            }
        })
    }
}

/// The item that a refused request was made from.
fn item_of(request: Request) -> Item {
    match request {
        Request::Publish(publish) => Item::Publish(outgoing(publish)),
        Request::PubAck(ack) => Item::Control(Control::Acknowledge {
            packet_id: ack.pkid,
            qos: QoS::AtLeastOnce,
        }),
        Request::PubRec(ack) => Item::Control(Control::Acknowledge {
            packet_id: ack.pkid,
            qos: QoS::ExactlyOnce,
        }),
        Request::Subscribe(subscribe) => Item::Control(Control::Subscribe(
            subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, qos_in(filter.qos)))
                .collect(),
        )),
        Request::Unsubscribe(unsubscribe) => Item::Control(Control::Unsubscribe(
            unsubscribe.topics.into_iter().next().unwrap_or_default(),
        )),
        // The bell sends nothing else.
        _ => Item::Control(Control::Disconnect),
    }
}

/// What is sent again of the last connection's unacknowledged packets.
fn repeat(request: Request, session_present: bool, birth: Option<&Birth>) -> Option<Request> {
    match request {
        Request::Publish(mut publish) if session_present => {
            // rumqttc never sets it, and the standard wants it [MQTT-3.3.1-1].
            publish.dup = true;
            Some(Request::Publish(publish))
        }
        // This connection has its own.
        Request::Publish(publish) if is_birth(&publish, birth) => None,
        Request::Publish(mut publish) => {
            // The broker knows nothing of it any more: it is sent as a new one.
            publish.pkid = 0;
            Some(Request::Publish(publish))
        }
        Request::PubRel(release) if session_present => Some(Request::PubRel(release)),
        _ => None,
    }
}

fn is_birth(publish: &Publish, birth: Option<&Birth>) -> bool {
    birth.is_some_and(|birth| birth.topic == publish.topic && birth.payload == publish.payload)
}

fn outgoing(publish: Publish) -> Outgoing {
    Outgoing {
        topic: publish.topic,
        qos: qos_in(publish.qos),
        retain: publish.retain,
        payload: publish.payload,
    }
}

fn options(
    settings: &Settings,
    host: &str,
    port: u16,
    login: Option<(String, String)>,
) -> MqttOptions {
    let id = settings.client_id.clone().unwrap_or_default();
    let mut options = MqttOptions::new(id, host, port);
    // Every value was checked at start: rumqttc's setters panic on what they do not like.
    options
        .set_keep_alive(settings.keep_alive)
        .set_clean_session(settings.session == Session::Clean)
        .set_max_packet_size(settings.max_packet_size, settings.max_packet_size)
        .set_inflight(Window::ids_for(settings.window))
        .set_manual_acks(true);
    if let Some(will) = &settings.will {
        options.set_last_will(LastWill {
            topic: will.topic.clone(),
            message: will.payload.clone(),
            qos: qos_out(will.qos),
            retain: will.retain,
        });
    }
    if let Some((username, password)) = login {
        options.set_credentials(username, password);
    }
    options
}

fn network_options(connect_timeout: Duration) -> NetworkOptions {
    let mut options = NetworkOptions::new();
    // Nagle's algorithm and delayed acknowledgements together make steps of 40 ms.
    options.set_tcp_nodelay(true);
    // rumqttc counts whole seconds, and zero would fail at once.
    let seconds = connect_timeout.as_millis().div_ceil(1_000).max(1);
    options.set_connection_timeout(u64::try_from(seconds).unwrap_or(u64::MAX));
    options
}

fn subscribe(filters: Vec<(String, QoS)>) -> Request {
    Request::Subscribe(Subscribe::new_many(filters.into_iter().map(filter)))
}

fn unsubscribe(filters: Vec<String>) -> Request {
    Request::Unsubscribe(Unsubscribe {
        pkid: 0,
        topics: filters,
    })
}

fn filter((path, qos): (String, QoS)) -> SubscribeFilter {
    SubscribeFilter::new(path, qos_out(qos))
}

fn refusal(code: ConnectReturnCode) -> Option<Refusal> {
    match code {
        ConnectReturnCode::Success => None,
        ConnectReturnCode::RefusedProtocolVersion => Some(Refusal::ProtocolVersion),
        ConnectReturnCode::BadClientId => Some(Refusal::ClientId),
        ConnectReturnCode::ServiceUnavailable => Some(Refusal::ServerUnavailable),
        ConnectReturnCode::BadUserNamePassword => Some(Refusal::BadUserNameOrPassword),
        ConnectReturnCode::NotAuthorized => Some(Refusal::NotAuthorized),
    }
}

fn broken(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::Closed,
        kind => Cause::Broken {
            kind,
            message: error.to_string(),
        },
    }
}

fn protocol(message: &str) -> Cause {
    Cause::Protocol {
        message: message.to_owned(),
    }
}

fn qos_in(qos: rumqttc::QoS) -> QoS {
    match qos {
        rumqttc::QoS::AtMostOnce => QoS::AtMostOnce,
        rumqttc::QoS::AtLeastOnce => QoS::AtLeastOnce,
        rumqttc::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn qos_out(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}
