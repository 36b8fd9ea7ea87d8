//! How a connection ends: after DISCONNECT, and what comes back of the wake-up.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{Publish, Request};

use crate::engine::{Event, iter::state::IterEngine};

/// How long a broker may take to close the connection after DISCONNECT.
const MOST_LINGERING: Duration = Duration::from_millis(100);

impl IterEngine {
    /// Reads on until the broker closes. A socket that is closed with something unread in it is reset, and a
    /// broker that notices the reset first takes the client for lost and publishes its will.
    pub(super) fn read_until_closed(&mut self, on_event: &mut dyn FnMut(Event)) {
        let deadline = Instant::now() + MOST_LINGERING;
        self.hold_channel();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // An error is the end of the connection: a further call would connect again.
            match self.connection.recv_timeout(left) {
                Ok(Ok(event)) if !left.is_zero() => {
                    if let Some(event) = self.translate(event) {
                        on_event(event);
                    }
                }
                _ => break,
            }
        }
    }

    /// Nothing may follow DISCONNECT [MQTT-3.14.4-2]: a collision keeps rumqttc from taking what is in its
    /// channel. No acknowledgement has the identifier 0 and would release it.
    pub(super) fn hold_channel(&mut self) {
        let hold = Publish::from_bytes("", rumqttc::QoS::AtLeastOnce, Bytes::new());
        self.connection.eventloop.state.collision = Some(hold);
    }

    /// Closes the socket. Says whether a publish was still in rumqttc's channel. Whatever else it gives back is
    /// in the outbox as well.
    pub(super) fn close_socket(&mut self) -> bool {
        self.context.connected = false;
        self.has_answered = false;
        self.unflushed_bytes = 0;
        self.behind = None;
        let eventloop = &mut self.connection.eventloop;
        eventloop.clean();
        eventloop.state.collision = None;
        // Those that it had sent have their identifiers.
        let is_unsent = |request: Request| match request {
            Request::Publish(publish) => publish.pkid == 0,
            Request::PubRel(_) => false,
            _ => true,
        };
        eventloop.pending.drain(..).any(is_unsent)
    }
}
