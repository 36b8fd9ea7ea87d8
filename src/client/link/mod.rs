//! The only door to rumqttc: its events, errors and requests made ours.
//!
//! A [`Link`] belongs to the network thread; its [`RumqttcBell`] goes into the outbox. What
//! rumqttc does wrong for us is put right here: see `docs/ARCHITECTURE.md`, "What rumqttc is
//! kept from".

mod bell;
mod cause;
mod convert;
mod edges;
mod feeding;
mod growth;
mod line;
mod reading;
mod releases;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod waiting;
#[cfg(feature = "websocket")]
mod websocket;

use std::collections::VecDeque;

pub(crate) use waiting::{Flush, Wait};

use rumqttc::{ConnectionError, Event, Packet, Request, StateError, SubscribeReasonCode};

use crate::{
    client::{
        link::{
            bell::RumqttcBell,
            cause::Context,
            convert::{network_options, options, qos_in, received},
            line::Line,
            waiting::{Behind, on_a_slow_line},
        },
        resolve::Hop,
        tls::TlsConfig,
    },
    publish::window::Window,
    receive::message::Received,
    spec::{
        address::Address,
        credentials::Credentials,
        qos::QoS,
        settings::{Session, Settings},
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
    /// PUBREC: the broker has our QoS 2 message.
    Released {
        packet_id: u16,
    },
    /// PUBREL: the broker knows that we have its QoS 2 message.
    Completed {
        packet_id: u16,
    },
    Subscribed {
        packet_id: u16,
        /// Of each filter the quality of service that it is granted, or `None` if it is refused.
        granted: Vec<Option<QoS>>,
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
    /// PINGRESP: the broker has read all that was sent before the ping.
    PingAnswered,
    /// Nothing that anybody needs to know.
    Other,
}

/// The encoder did not take an item. The connection is lost with it.
#[derive(Debug)]
pub(crate) struct Unfed {
    /// The identifier under which rumqttc keeps it and will give it back, or 0.
    pub(crate) packet_id: u16,
    pub(crate) cause: Cause,
}

/// One client's rumqttc.
pub(crate) struct Link {
    connection: rumqttc::Connection,
    settings: Settings,
    /// For the brokers that are spoken to over TLS.
    tls: Option<TlsConfig>,
    /// Where the current attempt or connection goes.
    aim: Option<(Address, Hop)>,
    /// What errors are read with.
    context: Context,
    /// What the current connection begins with and has not sent yet.
    opening: VecDeque<Request>,
    /// How many packet identifiers rumqttc has.
    ids: u16,
    /// DISCONNECT is under way.
    leaving: bool,
    /// Wake-ups since a packet waits in rumqttc's backlog.
    stalled: u32,
    /// rumqttc has answered a packet, and the answer is not flushed.
    unflushed: bool,
    /// Whether bytes come, and whether the broker answers pings.
    line: Line,
    /// A flush is not done: the system takes no more bytes for now.
    behind: Option<Behind>,
}

impl Link {
    /// Builds rumqttc's client: three descriptors and no connection yet.
    pub(crate) fn new(
        mut settings: Settings,
        tls: Option<TlsConfig>,
    ) -> Result<(Box<Self>, RumqttcBell), String> {
        // Each attempt is told where it goes and what to log in with, and what is subscribed to is kept
        // elsewhere: a large fleet need not have it twice.
        settings.credentials = Credentials::Anonymous;
        settings.more_brokers = Vec::new();
        settings.subscriptions = Vec::new();
        settings.tls = None;
        settings.name = String::new();
        let ids = Window::first_ids(settings.outbox.window);
        let mut nowhere = options(&settings, "", 0, None);
        nowhere.set_inflight(ids);
        // rumqttc unwraps the making of its runtime: at the descriptor limit it panics.
        let (client, mut connection) = caught(|| rumqttc::Client::new(nowhere, CHANNEL_CAPACITY))?;
        connection.eventloop.set_network_options(network_options());
        // rumqttc makes room for 100 events, 14 KiB a client. They are taken out after each wake-up, and
        // a quiet client never has more than a few.
        connection.eventloop.state.events = VecDeque::new();
        let link = Box::new(Self {
            connection,
            context: Context {
                connect_timeout: settings.connect_timeout,
                max_packet_size: settings.max_packet_size,
                address: None,
                connected: false,
            },
            settings,
            tls,
            aim: None,
            opening: VecDeque::new(),
            ids,
            leaving: false,
            stalled: 0,
            unflushed: false,
            line: Line::default(),
            behind: None,
        });
        Ok((link, RumqttcBell(client)))
    }

    /// Where the next attempt goes, and as whom.
    pub(crate) fn aim(&mut self, address: &Address, hop: Hop, login: Option<(String, String)>) {
        self.context.address = Some(transport::place(address, &hop).into());
        self.aim = Some((address.clone(), hop));
        self.set_options(login);
    }

    /// The attempt is over: rumqttc needs its user name and password no longer.
    pub(crate) fn forget_login(&mut self) {
        self.set_options(None);
    }

    fn set_options(&mut self, login: Option<(String, String)>) {
        if let Some((address, hop)) = &self.aim {
            let mut options =
                transport::options(&self.settings, address, hop, self.tls.as_ref(), login);
            options.set_inflight(self.ids);
            self.connection.eventloop.mqtt_options = options;
        }
    }

    /// One attempt to connect, bounded by the connect timeout.
    pub(crate) fn connect(&mut self) -> Result<Happened, Cause> {
        self.line.connecting();
        // The CONNECT packet may hold a large will: a slow line needs its time for that, too.
        let will = self.settings.will.as_ref();
        let bytes = will.map_or(0, |will| will.payload.len());
        self.time_rumqttc(self.settings.connect_timeout + on_a_slow_line(bytes));
        match self.listen()? {
            // Believed, it would leave the client without its subscriptions.
            Some(Happened::Connected {
                session_present: true,
            }) if self.settings.session == Session::Clean => Err(Cause::Protocol {
                message: "CONNACK says that there is a session, but a clean one was asked for \
                          [MQTT-3.2.2-1]"
                    .to_owned(),
            }),
            Some(happened) => Ok(happened),
            None => Err(Cause::Closed),
        }
    }

    fn failed(&mut self, error: ConnectionError) -> Cause {
        self.forget_refused(&error);
        self.context.cause(error)
    }

    /// rumqttc queues the event of a packet before it looks at the packet: one that it then refuses
    /// has no effect. A PUBCOMP for a message of QoS 1 does not acknowledge it.
    fn forget_refused(&mut self, error: &ConnectionError) {
        let events = &mut self.connection.eventloop.state.events;
        let is_refused = match (error, events.back()) {
            (ConnectionError::MqttState(StateError::WrongPacket), Some(Event::Incoming(_))) => true,
            (
                ConnectionError::MqttState(StateError::Unsolicited(refused)),
                Some(Event::Incoming(packet)),
            ) => acknowledges(packet) == Some(*refused),
            _ => false,
        };
        if is_refused {
            events.pop_back();
        }
    }

    /// What else happened in the same wake-up. Taking it from rumqttc's public queue spares one
    /// run of its runtime per event.
    pub(crate) fn buffered(&mut self) -> Option<Happened> {
        let event = self.connection.eventloop.state.events.pop_front()?;
        Some(self.translate(event))
    }

    fn translate(&mut self, event: Event) -> Happened {
        match &event {
            Event::Incoming(_) => self.line.heard(),
            Event::Outgoing(rumqttc::Outgoing::PingReq) => {
                // Whether the answer is late is decided here: rumqttc does not see that bytes come.
                self.connection.eventloop.state.await_pingresp = false;
                self.line.pinged();
            }
            Event::Outgoing(_) => {}
        }
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.context.connected = true;
                Happened::Connected {
                    session_present: connack.session_present,
                }
            }
            Event::Incoming(Packet::Publish(publish)) => Happened::Received(received(publish)),
            Event::Incoming(Packet::PubAck(ack)) => Happened::Acknowledged {
                packet_id: ack.pkid,
            },
            Event::Incoming(Packet::PubComp(ack)) => Happened::Acknowledged {
                packet_id: ack.pkid,
            },
            Event::Incoming(Packet::PubRec(ack)) => Happened::Released {
                packet_id: ack.pkid,
            },
            Event::Incoming(Packet::PubRel(release)) => {
                self.expect_release(release.pkid);
                Happened::Completed {
                    packet_id: release.pkid,
                }
            }
            Event::Incoming(Packet::SubAck(ack)) => Happened::Subscribed {
                packet_id: ack.pkid,
                granted: ack
                    .return_codes
                    .iter()
                    .map(|code| match code {
                        SubscribeReasonCode::Success(qos) => Some(qos_in(*qos)),
                        SubscribeReasonCode::Failure => None,
                    })
                    .collect(),
            },
            Event::Incoming(Packet::PingResp) => Happened::PingAnswered,
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
}

/// The identifier of what a packet acknowledges or completes.
fn acknowledges(packet: &Packet) -> Option<u16> {
    match packet {
        Packet::PubAck(ack) => Some(ack.pkid),
        Packet::PubRec(ack) => Some(ack.pkid),
        Packet::PubRel(release) => Some(release.pkid),
        Packet::PubComp(ack) => Some(ack.pkid),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
