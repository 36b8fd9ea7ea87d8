//! The only door to rumqttc: its events, errors and requests made ours.
//!
//! A [`Link`] belongs to the network thread; its [`RumqttcBell`] goes into the outbox. What
//! rumqttc does wrong for us is put right here: see `docs/ARCHITECTURE.md`, "What rumqttc is
//! kept from".

mod bell;
mod cause;
mod convert;

use std::net::SocketAddr;

use rumqttc::{Disconnect, Event, Packet, Publish, Request, SubscribeReasonCode};

use crate::{
    client::link::{
        bell::RumqttcBell,
        cause::Context,
        convert::{network_options, options, outgoing, qos_in, qos_out, subscribe},
    },
    publish::outbox::Outgoing,
    receive::message::Received,
    spec::{
        qos::QoS,
        settings::{Birth, Settings},
    },
    supervise::{cause::Cause, panic::caught},
};

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
    /// What errors are read with.
    context: Context,
    /// What was sent and not acknowledged on the last connection.
    unacknowledged: Vec<Request>,
    /// The identifiers of what this connection repeats, in the order of the first sending.
    repeating: Vec<u16>,
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
            context: Context {
                connect_timeout: settings.connect_timeout,
                max_packet_size: settings.max_packet_size,
                address: None,
                connected: false,
            },
            settings,
            unacknowledged: Vec::new(),
            repeating: Vec::new(),
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
        self.context.address = Some(address);
    }

    /// Blocks until something happens: one call of `Connection::iter().next()`. Without a
    /// connection this is one attempt to connect, bounded by the connect timeout.
    pub(crate) fn next(&mut self) -> Result<Happened, Cause> {
        match self.connection.iter().next() {
            Some(Ok(event)) => Ok(self.translate(event)),
            Some(Err(error)) => Err(self.context.cause(error)),
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

    /// Puts the packets that a new connection begins with into rumqttc's backlog: SUBSCRIBE, the
    /// birth message, then what was not acknowledged.
    pub(crate) fn begin(&mut self, session_present: bool, subscriptions: Vec<Vec<(String, QoS)>>) {
        let birth = self.settings.birth.as_ref();
        let subscribe = subscriptions.into_iter().map(subscribe);
        let born = birth.map(|birth| {
            let mut publish =
                Publish::from_bytes(&birth.topic, qos_out(birth.qos), birth.payload.clone());
            publish.retain = birth.retain;
            Request::Publish(publish)
        });
        let repeated: Vec<_> = std::mem::take(&mut self.unacknowledged)
            .into_iter()
            .filter_map(|request| repeat(request, session_present, birth))
            .collect();
        self.repeating = repeated
            .iter()
            .filter_map(|request| match request {
                Request::Publish(publish) if publish.pkid != 0 => Some(publish.pkid),
                _ => None,
            })
            .collect();
        // Nothing reads the backlog before the next call of `next`.
        self.connection
            .eventloop
            .pending
            .extend(subscribe.chain(born).chain(repeated));
    }

    /// The next thing on the wire is DISCONNECT, whatever else waits.
    pub(crate) fn disconnect(&mut self) {
        self.connection
            .eventloop
            .pending
            .push_front(Request::Disconnect(Disconnect));
    }

    /// Closes the socket, and takes what rumqttc had not sent, oldest first: it goes back to the
    /// front of the outbox. What was sent and not acknowledged is kept for the next connection.
    /// Acknowledgements are dropped: the connection that they belong to is over.
    pub(crate) fn close(&mut self) -> Vec<Outgoing> {
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
        // rumqttc appends what was repeated already to what was yet to be repeated.
        let repeating = &self.repeating;
        self.unacknowledged.sort_by_key(|request| match request {
            Request::Publish(publish) => repeating
                .iter()
                .position(|packet_id| *packet_id == publish.pkid)
                .unwrap_or(usize::MAX - 1),
            _ => usize::MAX,
        });
        self.context.connected = false;
        unsent
    }

    fn translate(&mut self, event: Event) -> Happened {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.context.connected = true;
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
