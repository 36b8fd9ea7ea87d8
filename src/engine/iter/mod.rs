//! Engine `iter`: rumqttc's `Connection::iter()`, for MQTT 3.1.1 on a thread for each client. The only door to
//! rumqttc.
//!
//! An [`IterEngine`] belongs to the network thread; its [`RequestWaker`] goes into the outbox. What
//! rumqttc does wrong for us is put right here: see `docs/ARCHITECTURE.md`, "What rumqttc is
//! kept from".

mod budget;
mod cause;
mod closing;
mod convert;
mod events;
mod line;
mod packet_ids;
mod read;
mod releases;
mod send;
pub(crate) mod state;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod wait;
mod waker;
mod wakes;
#[cfg(feature = "websocket")]
mod websocket;

use std::{collections::VecDeque, time::Duration};

use rumqttc::Packet;

use crate::{
    engine::{
        Engine, Event, Wait,
        iter::{
            budget::{Budget, ROOM},
            cause::Context,
            convert::{network_options, options},
            line::Line,
            packet_ids::FIRST_IDS,
            state::IterEngine,
            waker::RequestWaker,
        },
    },
    observe::cause::Cause,
    session::packet,
    spec::{
        address::Address,
        credentials::Credentials,
        settings::{Session, Settings},
    },
    supervise::panic::caught,
    transport::{resolve::Target, tls::TlsConfig},
};

/// At most one packet is in rumqttc's channel; one more is room for nothing that should happen.
const CHANNEL_CAPACITY: usize = 2;

/// With a higher limit on packets a client always waits with a timer. Without one, a packet that finds it
/// parked is timed by what a slow line needs for the limit.
const MOST_WITHOUT_TIMER: usize = 512 * 1024;

impl IterEngine {
    /// Builds rumqttc's client: three descriptors and no connection yet.
    pub(crate) fn new(
        mut settings: Settings,
        tls: Option<TlsConfig>,
    ) -> Result<(Box<Self>, RequestWaker), String> {
        // Each attempt is told where it goes and what to log in with, and what is subscribed to is kept
        // elsewhere: a large fleet need not have it twice.
        settings.credentials = Credentials::Anonymous;
        settings.brokers = Vec::new();
        settings.subscriptions = Vec::new();
        settings.tls = None;
        settings.name = String::new();
        settings.birth = None;
        let mut nowhere = options(&settings, "", 0, None);
        nowhere.set_inflight(FIRST_IDS);
        // rumqttc unwraps the making of its runtime: at the descriptor limit it panics.
        let (client, mut connection) = caught(|| rumqttc::Client::new(nowhere, CHANNEL_CAPACITY))?;
        connection.eventloop.set_network_options(network_options());
        // rumqttc makes room for 100 events, 14 KiB a client. They are taken out after each wake-up, and
        // a quiet client never has more than a few.
        connection.eventloop.state.events = VecDeque::new();
        let expects_large = settings.max_packet_size > MOST_WITHOUT_TIMER;
        let engine = Box::new(Self {
            connection,
            context: Context {
                connect_timeout: settings.connect_timeout,
                max_packet_size: settings.max_packet_size,
                address: None,
                connected: false,
            },
            settings,
            tls,
            target: None,
            ids: FIRST_IDS,
            next_id: 1,
            unflushed_bytes: 0,
            has_answered: false,
            budget: Budget::default(),
            line: Line::default(),
            expects_large,
            behind: None,
        });
        Ok((engine, RequestWaker(client)))
    }

    fn set_options(&mut self, login: Option<(String, String)>) {
        if let Some((address, target)) = &self.target {
            let mut options =
                transport::options(&self.settings, address, target, self.tls.as_ref(), login);
            options.set_inflight(self.ids);
            self.connection.eventloop.mqtt_options = options;
        }
    }

    /// One attempt to connect.
    fn attempt(&mut self) -> Result<bool, Cause> {
        self.line.connecting();
        // The CONNECT packet may hold a large will: a slow line needs its time for that, too.
        let will = self.settings.will.as_ref();
        let bytes = will.map_or(0, |will| will.payload.len());
        self.time_rumqttc(self.settings.connect_timeout + wait::on_a_slow_line(bytes));
        let session_present = match self.connection.iter().next() {
            Some(Ok(rumqttc::Event::Incoming(Packet::ConnAck(connack)))) => connack.session_present,
            // Older events were taken at the loss.
            Some(Ok(_)) => {
                return Err(Cause::Protocol {
                    message: "something else before CONNACK".to_owned(),
                });
            }
            Some(Err(error)) => return Err(self.failed(error)),
            None => return Err(Cause::Closed),
        };
        self.context.connected = true;
        // Believed, it would leave the client without its subscriptions.
        if session_present && self.settings.session == Session::Clean {
            return Err(Cause::Protocol {
                message: "CONNACK says that there is a session, but a clean one was asked for \
                          [MQTT-3.2.2-1]"
                    .to_owned(),
            });
        }
        self.expect_releases();
        Ok(session_present)
    }
}

impl Engine for IterEngine {
    fn set_target(&mut self, address: &Address, target: Target, login: Option<(String, String)>) {
        self.context.address = Some(transport::place(address, &target).into());
        self.target = Some((address.clone(), target));
        self.set_options(login);
    }

    fn forget_login(&mut self) {
        self.set_options(None);
    }

    fn connect(&mut self) -> Result<bool, Cause> {
        self.attempt()
    }

    fn room(&self) -> usize {
        ROOM
    }

    fn send(&mut self, packet: packet::Packet) -> Result<(), Cause> {
        self.send_packet(packet)
    }

    fn flush(&mut self) -> Result<(), Cause> {
        self.begin_flush()
    }

    fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    fn next(&mut self, wait: Wait) -> Result<Option<Event>, Cause> {
        self.wait(wait)
    }

    fn buffered(&mut self) -> Option<Event> {
        self.pop_event()
    }

    fn try_read(&mut self) -> Result<Option<Event>, Cause> {
        self.read_next()
    }

    fn end_read(&mut self) -> Result<(), Cause> {
        self.flush_answers()
    }

    fn moves(&mut self) -> bool {
        self.line.moves()
    }

    fn patience(&self) -> Duration {
        self.settings.connect_timeout
    }

    fn next_id(&self) -> Option<u16> {
        Some(self.next_id)
    }

    fn set_next_id(&mut self, id: u16) {
        self.move_count_to(id);
    }

    fn await_close(&mut self, on_event: &mut dyn FnMut(Event)) {
        self.read_until_closed(on_event);
    }

    fn close(&mut self) -> bool {
        self.close_socket()
    }
}

#[cfg(test)]
mod tests;
