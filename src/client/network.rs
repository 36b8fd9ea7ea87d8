//! The network thread of one client: connect, iterate, count, pause, and end with an outcome.
//!
//! It blocks on nothing but rumqttc's `Connection::iter().next()`, a name look-up, the user's
//! credentials function, and a pause that the stop signal ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{
        handle::Core,
        link::{Happened, Link},
        resolve::Resolver,
    },
    publish::window::Window,
    receive::{dispatch::Dispatch, source::Source},
    spec::{
        credentials::Credentials,
        retry::{Attempts, Next},
    },
    supervise::{cause::Cause, outcome::Outcome, pace::Pacer, panic::caught, state::ClientState},
};

/// The standard does not have SUBSCRIBE repeated, so that an unanswered one stays unanswered.
const SUBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything a network thread has.
pub(crate) struct Network {
    pub(crate) core: Arc<Core>,
    pub(crate) link: Link,
    pub(crate) source: Arc<Source>,
    pub(crate) dispatch: Dispatch,
    pub(crate) pacer: Option<Arc<Pacer>>,
    pub(crate) resolver: Resolver,
    pub(crate) credentials: Credentials,
    pub(crate) attempts: Attempts,
    pub(crate) window: Window,
    /// Told once, at the first CONNACK: where the schedules of pub functions begin.
    pub(crate) on_first_connect: Option<Box<dyn FnOnce() + Send>>,
    /// Whether there ever was a CONNACK: who never spoke MQTT is not tried again.
    pub(crate) was_connected: bool,
}

/// What follows an attempt or a connection.
enum After {
    /// A pause of a random length up to this, then the next attempt.
    Pause(Duration),
    End(Outcome),
}

impl Network {
    /// Runs until the client has ended.
    pub(crate) fn run(mut self) -> Outcome {
        while !self.core.stop.is_raised() {
            let after = match self.attempt() {
                Ok(session_present) => self.session(session_present),
                // Not an attempt of its own accord any more: the loop ends.
                Err(_) if self.core.stop.is_raised() => continue,
                Err(cause) => self.attempt_failed(cause),
            };
            match after {
                After::Pause(at_most) => {
                    self.core.stop.pause(at_most.mul_f64(fastrand::f64()));
                }
                After::End(outcome) => return outcome,
            }
        }
        match self.core.status.fatal() {
            Some(failure) => Outcome::Failed { failure },
            None => Outcome::Stopped,
        }
    }

    /// One attempt to connect. Says whether the broker had the session.
    fn attempt(&mut self) -> Result<bool, Cause> {
        // Whatever this returns after a stop, the caller looks at the signal and not at it.
        let stopped = Cause::Closed;
        if let Some(pacer) = &self.pacer {
            if !pacer.wait(&self.core.stop) {
                return Err(stopped);
            }
        }
        self.core.status.set(ClientState::Connecting {
            attempt: self.attempts.current(),
            of: self.attempts.limit(),
        });
        let addresses = self.resolver.resolve()?;
        let login = self.login()?;
        let mut last = stopped;
        for address in addresses {
            // Looked at last of all: after a stop no connect is made.
            if self.core.stop.is_raised() {
                break;
            }
            self.link.aim(address, login.clone());
            last = match self.link.next() {
                Ok(Happened::Connected { session_present }) => return Ok(session_present),
                // rumqttc's first event is CONNACK: older ones were taken at the loss.
                Ok(other) => Cause::Protocol {
                    message: format!("{other:?} before CONNACK"),
                },
                Err(cause) => cause,
            };
            // An address that refuses at once leaves the attempt to the next one of the name.
            if !matches!(last, Cause::Connect { .. }) {
                break;
            }
        }
        self.link.close(&self.window);
        Err(last)
    }

    fn login(&self) -> Result<Option<(String, String)>, Cause> {
        let no_credentials = |message| Cause::Credentials { message };
        match &self.credentials {
            Credentials::Anonymous => Ok(None),
            Credentials::Fixed { username, password } => {
                Ok(Some((username.clone(), password.clone())))
            }
            Credentials::Asked(ask) => match caught(|| ask()) {
                Ok(Ok(login)) => Ok(Some(login)),
                Ok(Err(error)) => Err(no_credentials(error.to_string())),
                Err(panic) => Err(no_credentials(panic)),
            },
        }
    }

    /// One connection, from CONNACK to its end.
    fn session(&mut self, session_present: bool) -> After {
        let since = Instant::now();
        self.was_connected = true;
        self.begin(session_present);
        let ended = self.iterate();
        let said_goodbye = ended.is_ok();
        let lost = match ended {
            Err(cause) if !self.core.stop.is_raised() => Some(cause),
            _ => None,
        };
        if let Some(cause) = &lost {
            // Before anything else: nobody may believe in this connection any longer.
            self.core.status.set(ClientState::Lost {
                cause: cause.clone(),
            });
            self.core.counters.losses.increment();
            log::warn!(
                "client {}: disconnected from {}: {cause}",
                self.core.name,
                self.core.broker
            );
        }
        let answered = self.core.subscriptions.lock().all_answered();
        self.hang_up(said_goodbye);
        match lost {
            None => After::Pause(Duration::ZERO),
            Some(_) if answered && since.elapsed() >= self.attempts.stable_after() => {
                After::Pause(self.attempts.lost_stable())
            }
            Some(cause) => self.attempt_failed(cause),
        }
    }

    /// What a new connection begins with.
    fn begin(&mut self, session_present: bool) {
        self.core.counters.connects.increment();
        log::debug!(
            "client {}: connected to {}",
            self.core.name,
            self.core.broker
        );
        if !session_present {
            self.window.forget();
        }
        let mut subscriptions = self.core.subscriptions.lock();
        let opening = subscriptions.connected(session_present, self.core.max_packet_size);
        self.link.begin(session_present, opening);
        // Under the same lock: from here on `subscribe` sends its packets itself.
        self.core.outbox.connected();
        self.core
            .status
            .set(ClientState::Connected { session_present });
        self.core
            .status
            .set_subscribed(subscriptions.all_answered());
        drop(subscriptions);
        if let Some(on_first_connect) = self.on_first_connect.take() {
            on_first_connect();
        }
    }

    /// The loop over `Connection::iter()`. `Ok` once DISCONNECT is written.
    fn iterate(&mut self) -> Result<(), Cause> {
        let mut leaving = false;
        loop {
            if self.core.stop.is_raised() && !leaving {
                self.link.disconnect();
                leaving = true;
            }
            // What the connection began with goes first; then the outbox.
            let settled =
                leaving || self.link.has_backlog() || self.core.outbox.settle(&self.window);
            if !settled {
                // Closed between the two looks: the signal is raised now.
                continue;
            }
            let mut next = Some(self.link.next()?);
            while let Some(happened) = next {
                if self.note(happened)? {
                    return Ok(());
                }
                next = self.link.buffered();
            }
            let waiting_since = self.core.subscriptions.lock().waiting_since();
            if waiting_since.is_some_and(|since| since.elapsed() > SUBACK_TIMEOUT) {
                return Err(Cause::SubackTimeout);
            }
        }
    }

    /// Takes note of one event. Says whether it was our DISCONNECT.
    fn note(&mut self, happened: Happened) -> Result<bool, Cause> {
        match happened {
            Happened::Received(received) => {
                self.dispatch
                    .deliver(received, &self.source)
                    .map_err(|_| Cause::Protocol {
                        message: "more unacknowledged messages than packet identifiers".to_owned(),
                    })?
            }
            Happened::Acknowledged { packet_id } => {
                self.core.counters.acknowledged.increment();
                self.window.acknowledged(packet_id);
            }
            Happened::PublishWritten { packet_id } => {
                self.core.counters.sent.increment();
                if packet_id != 0 {
                    self.window.published(packet_id);
                }
                self.core.outbox.bell_heard();
            }
            Happened::SubscribeWritten { packet_id } => {
                self.window.used(packet_id);
                self.core.subscriptions.lock().written(packet_id);
                self.core.outbox.bell_heard();
            }
            Happened::UnsubscribeWritten { packet_id } => {
                self.window.used(packet_id);
                self.core
                    .subscriptions
                    .lock()
                    .unsubscribe_written(packet_id);
                self.core.outbox.bell_heard();
            }
            Happened::AcknowledgementWritten => self.core.outbox.bell_heard(),
            Happened::Subscribed { packet_id, granted } => self.subscribed(packet_id, &granted),
            Happened::Unsubscribed { packet_id } => {
                self.core.subscriptions.lock().unsubscribed(packet_id);
            }
            Happened::DisconnectWritten => return Ok(true),
            Happened::Connected { .. } | Happened::Other => {}
        }
        Ok(false)
    }

    fn subscribed(&self, packet_id: u16, granted: &[bool]) {
        let mut subscriptions = self.core.subscriptions.lock();
        let refused = subscriptions.answered(packet_id, granted);
        for filter in refused {
            log::warn!("client {}: the broker refused {filter:?}", self.core.name);
            self.core.counters.refused_subscriptions.increment();
            self.core.status.refused_subscription(filter);
        }
        self.core
            .status
            .set_subscribed(subscriptions.all_answered());
    }

    /// The connection is over: what came on it is delivered, what belonged to it is void, and
    /// what was still to be sent waits for the next one.
    fn hang_up(&mut self, said_goodbye: bool) {
        let (link, source, core) = (&mut self.link, &self.source, &self.core);
        let (dispatch, window) = (&self.dispatch, &mut self.window);
        let mut note = |happened| match happened {
            Happened::Received(received) => {
                // Out of identifiers ends a connection, and this one has ended.
                let _ = dispatch.deliver(received, source);
            }
            Happened::Acknowledged { packet_id } => {
                core.counters.acknowledged.increment();
                window.acknowledged(packet_id);
            }
            // Packets "written" after the loss never left, but rumqttc gave them their place.
            Happened::PublishWritten { packet_id } if packet_id != 0 => {
                window.published(packet_id);
            }
            _ => {}
        };
        while let Some(happened) = link.buffered() {
            note(happened);
        }
        if said_goodbye {
            link.linger(note);
        }
        self.source.acks.forget();
        // Before rumqttc's channel is emptied: no bell rings into it afterwards.
        self.core.outbox.disconnected();
        let unsent = self.link.close(&self.window);
        self.core.outbox.put_back(unsent);
    }

    /// An attempt failed, or a connection ended before it was stable.
    fn attempt_failed(&mut self, cause: Cause) -> After {
        let attempt = self.attempts.current();
        let of = self.attempts.limit();
        self.core.counters.failed_attempts.increment();
        let state = ClientState::AttemptFailed {
            attempt,
            of,
            cause: cause.clone(),
        };
        log::warn!("client {} at {}: {state}", self.core.name, self.core.broker);
        self.core.status.set(state);
        match &cause {
            Cause::Refused(code) if code.is_permanent() && !self.attempts.retries_refusals() => {
                return After::End(Outcome::Refused { code: *code });
            }
            Cause::NotMqtt { .. } if !self.was_connected => {
                return After::End(Outcome::NotMqtt { last_error: cause });
            }
            _ => {}
        }
        match self.attempts.failed() {
            Next::PauseUpTo(ceiling) => After::Pause(ceiling),
            Next::GiveUp => After::End(Outcome::RetriesExhausted {
                attempts: attempt,
                last_error: cause,
            }),
        }
    }
}
