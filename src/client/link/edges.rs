//! How a connection begins and ends: what is sent first, DISCONNECT, and what is taken back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{Disconnect, PingReq, Publish, Request};

use crate::{
    client::{
        link::{
            Happened, Link,
            convert::{outgoing, publish, repeated, subscribe, unsubscribe},
        },
        subscriptions::Opening,
    },
    publish::{
        flight::Repeat,
        message::Outgoing,
        outbox::{BATCH_BYTES, network_side::Backlog},
    },
    supervise::cause::Cause,
};

/// How long a broker may take to close the connection after DISCONNECT.
const LINGER: Duration = Duration::from_millis(100);

/// After so many wake-ups a packet does not wait for rumqttc's backlog any longer.
const MOST_STALLED: u32 = 32;

impl Link {
    /// Prepares what a new connection begins with: UNSUBSCRIBE and SUBSCRIBE, the birth message,
    /// then what the last connection of the same session sent and the broker did not acknowledge.
    /// The last packet identifier that was used is `last_id`.
    pub(crate) fn begin(
        &mut self,
        subscriptions: Opening,
        repeats: Vec<Repeat>,
        birth_id: Option<u16>,
        last_id: u16,
    ) {
        self.stalled = 0;
        self.begin_behind(last_id);
        let born = birth_id.and_then(|birth_id| self.birth(birth_id));
        let unsubscribes = subscriptions.unsubscribe.into_iter().map(unsubscribe);
        let subscribes = subscriptions.subscribe.into_iter().map(subscribe);
        self.opening = unsubscribes
            .chain(subscribes)
            .chain(born)
            .chain(repeats.into_iter().map(repeated))
            .collect();
    }

    /// The birth message follows what the connection began with. To be called when all of that is
    /// sent, and to be followed by `open`.
    pub(crate) fn bear(&mut self, birth_id: u16) {
        let born = self.birth(birth_id);
        self.opening.extend(born);
    }

    fn birth(&self, birth_id: u16) -> Option<Request> {
        let birth = self.settings.birth.as_ref()?;
        let mut publish = publish(Outgoing {
            topic: birth.topic.clone(),
            qos: birth.qos,
            retain: birth.retain,
            payload: birth.payload.clone(),
        });
        publish.pkid = birth_id;
        Some(Request::Publish(publish))
    }

    /// Sends the next part of what the connection begins with; `next` has to be called between
    /// two parts. Says whether all of it is sent.
    pub(crate) fn open(&mut self, written: &mut impl FnMut(Happened)) -> Result<bool, Cause> {
        if let Some(request) = self.unstall() {
            let happened = self.feed_request(request).map_err(|unfed| unfed.cause)?;
            written(happened);
            // Nothing else may be due to go out for a keep alive. And the encoder takes no more than
            // 8 KiB: what follows waits until this has gone.
            self.flush(true)?;
        }
        if self.is_behind() || !self.connection.eventloop.pending.is_empty() {
            return Ok(false);
        }
        let mut bytes = 0;
        while let Some(request) = self.opening.pop_front() {
            bytes += size(&request);
            if bytes >= BATCH_BYTES || self.opening.is_empty() {
                // rumqttc's own backlog writes the last one, and flushes with it. It takes a
                // tick of its timer for each, so it is not the way for all of them.
                self.connection.eventloop.pending.push_back(request);
                return Ok(false);
            }
            let happened = self.feed_request(request).map_err(|unfed| unfed.cause)?;
            written(happened);
        }
        Ok(true)
    }

    /// Sends a ping now.
    pub(crate) fn ping(&mut self) -> Result<(), Cause> {
        // One may be under way that rumqttc waits for.
        self.connection.eventloop.state.await_pingresp = false;
        self.feed_request(Request::PingReq(PingReq))
            .map_err(|unfed| unfed.cause)?;
        self.flush(false)
    }

    /// Repeats now what an earlier connection of the same session sent.
    pub(crate) fn repeat(&mut self, repeat: Repeat) -> Result<Happened, Cause> {
        let written = self.feed_request(repeated(repeat));
        let written = written.map_err(|unfed| unfed.cause)?;
        self.flush(true)?;
        Ok(written)
    }

    /// The next thing on the wire is DISCONNECT, whatever else waits. To be called before each
    /// `next` until it is written. Says whether it was sent just now, or will be once the link is
    /// not behind any more.
    pub(crate) fn disconnect(&mut self) -> Result<bool, Cause> {
        let eventloop = &mut self.connection.eventloop;
        if !self.leaving {
            self.leaving = true;
            self.stalled = 0;
            // Nothing may follow DISCONNECT [MQTT-3.14.4-2].
            for request in eventloop.pending.drain(..).rev() {
                self.opening.push_front(request);
            }
            eventloop
                .pending
                .push_front(Request::Disconnect(Disconnect));
            return Ok(false);
        }
        match self.unstall() {
            Some(request) => {
                self.feed_request(request).map_err(|unfed| unfed.cause)?;
                self.flush(true)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// rumqttc writes its backlog when a timer of 1 ms fires before anything else happens, which
    /// may take seconds on a connection that always has something to read. Takes the packet out
    /// again when that has lasted for some wake-ups: the encoder is as good a way then, and the caller
    /// flushes it.
    fn unstall(&mut self) -> Option<Request> {
        if self.connection.eventloop.pending.is_empty() {
            self.stalled = 0;
            return None;
        }
        self.stalled += 1;
        if self.stalled < MOST_STALLED {
            return None;
        }
        self.stalled = 0;
        self.connection.eventloop.pending.pop_front()
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
                Some(Ok(event)) if !left.is_zero() => note(self.translate(event)),
                _ => break,
            }
        }
        self.connection.eventloop.state.collision = None;
    }

    /// Closes the socket and takes back what rumqttc has of ours. Acknowledgements are dropped:
    /// the connection that they belong to is over.
    pub(crate) fn close(&mut self) -> Backlog {
        self.context.connected = false;
        self.leaving = false;
        self.unflushed = false;
        self.behind = None;
        let eventloop = &mut self.connection.eventloop;
        eventloop.clean();
        // Two publishes under one identifier can't happen within our window; rumqttc would keep
        // the second one here and wait for ever.
        let collided = eventloop.state.collision.take().map(Request::Publish);
        let requests = eventloop.pending.drain(..).chain(collided);
        let mut backlog = Backlog::default();
        for request in requests.chain(self.opening.drain(..)) {
            match request {
                Request::Publish(publish) if publish.pkid == 0 => {
                    backlog.unwritten = Some(outgoing(publish));
                }
                Request::Publish(publish) => backlog
                    .unacknowledged
                    .push((publish.pkid, outgoing(publish))),
                _ => {}
            }
        }
        backlog
    }
}

/// How many bytes a request has on the wire.
fn size(request: &Request) -> usize {
    match request {
        Request::Publish(publish) => publish.size(),
        Request::Subscribe(subscribe) => subscribe.size(),
        Request::Unsubscribe(unsubscribe) => unsubscribe.size(),
        // Acknowledgements, PUBREL, DISCONNECT.
        _ => 4,
    }
}
