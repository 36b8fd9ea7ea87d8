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
        link::{Happened, Link, Unfed},
        resolve::Resolver,
    },
    publish::{
        message::{Control, Item, Parcel, Progress},
        outbox::{Backlog, Beginning},
    },
    receive::{dispatch::Dispatch, source::Source},
    spec::{
        credentials::Credentials,
        outbox::RefusedSubscription,
        qos::QoS,
        retry::{Attempts, Next},
    },
    supervise::{cause::Cause, outcome::Outcome, pace::Pacer, panic::caught, state::ClientState},
};

/// The standard does not have SUBSCRIBE repeated, so that an unanswered one stays unanswered.
const SUBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// On a connection that always has something to read, rumqttc may take a few wake-ups until it looks
/// into its channel.
const MOST_WAKE_UPS_FOR_A_BELL: u32 = 32;

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
    /// What was seen and the outbox does not know yet: told in one go for each wake-up.
    pub(crate) progress: Vec<Progress>,
    /// What the outbox handed over to be fed to the encoder.
    pub(crate) parcels: Vec<Parcel>,
    /// The quality of service of the birth message, if there is one.
    pub(crate) birth: Option<QoS>,
    pub(crate) on_refused_subscription: RefusedSubscription,
    /// How the client ends, once it has been decided on a live connection.
    pub(crate) ending: Option<Outcome>,
    /// Told once, at the first CONNACK: where the schedules of pub functions begin.
    pub(crate) on_first_connect: Option<Box<dyn FnOnce() + Send>>,
    /// Whether the subscriptions that this connection began with have all been answered. Later
    /// ones don't matter: they can't make a stable connection unstable.
    pub(crate) answered: bool,
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
    pub(crate) fn run(&mut self) -> Outcome {
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
        match (self.ending.take(), self.core.status.fatal()) {
            (Some(outcome), _) => outcome,
            (None, Some(failure)) => Outcome::Failed { failure },
            (None, None) => Outcome::Stopped,
        }
    }

    /// The thread panicked: what it had in its hands goes back to where it can be accounted for.
    pub(crate) fn abandon(&mut self) {
        let (progress, parcels) = (&mut self.progress, &mut self.parcels);
        self.core
            .outbox
            .disconnected(progress, parcels, Backlog::default);
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
        self.core.outbox.expire();
        let addresses = self.resolver.resolve()?;
        let login = self.login()?;
        let mut last = stopped;
        for address in addresses {
            // Looked at last of all: after a stop no connect is made.
            if self.core.stop.is_raised() {
                break;
            }
            self.link.aim(address, login.clone());
            let happened = self.link.next();
            if login.is_some() {
                self.link.forget_login();
            }
            last = match happened {
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
        self.link.close();
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
            self.core.outbox.lost();
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
        self.hang_up(said_goodbye);
        match lost {
            None => After::Pause(Duration::ZERO),
            Some(_) if self.answered && since.elapsed() >= self.attempts.stable_after() => {
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
        match session_present {
            true => self.source.acks.session_kept(),
            false => self.source.acks.forget_session(),
        }
        let mut subscriptions = self.core.subscriptions.lock();
        let mut opening = subscriptions.connected(session_present, self.core.max_packet_size);
        // Under the same lock: from here on `subscribe` sends its packets itself.
        let Beginning {
            repeats,
            birth_id,
            identifiers,
        } = self.core.outbox.connected(session_present, self.birth);
        // What finds no free identifier goes through the outbox, which asks the window.
        let rest = opening.split_off(identifiers.into());
        let receives_qos2 = subscriptions.any_exactly_once();
        self.link
            .begin(session_present, opening, repeats, birth_id, receives_qos2);
        for packet in rest {
            self.core.outbox.control(packet);
        }
        self.core
            .status
            .set(ClientState::Connected { session_present });
        self.answered = subscriptions.all_answered();
        self.core.status.set_subscribed(self.answered);
        drop(subscriptions);
        if let Some(on_first_connect) = self.on_first_connect.take() {
            on_first_connect();
        }
    }

    /// The loop over `Connection::iter()`. `Ok` once DISCONNECT is written.
    fn iterate(&mut self) -> Result<(), Cause> {
        let mut leaving = false;
        let mut patience = MOST_WAKE_UPS_FOR_A_BELL;
        loop {
            if self.core.stop.is_raised() {
                self.core.outbox.note(&mut self.progress);
                if leaving || patience == 0 || !self.core.outbox.is_bell_out() {
                    if self.leave(&mut leaving)? {
                        return Ok(());
                    }
                } else {
                    // It is older than all that waits, and it may be the DISCONNECT.
                    patience -= 1;
                }
            } else if !self.open()? {
                self.core.outbox.note(&mut self.progress);
            } else if !self
                .core
                .outbox
                .settle(&mut self.progress, &mut self.parcels)
            {
                // Closed between the two looks: the signal is raised now.
                continue;
            }
            self.feed()?;
            let mut next = Some(self.link.next()?);
            while let Some(happened) = next {
                if self.note(happened)? {
                    // Flushed with the DISCONNECT: what was fed before it has gone out.
                    self.core.outbox.note(&mut self.progress);
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

    /// Sends what is left to be acknowledged, then DISCONNECT. Says whether that is written; if
    /// not, the next wake-up goes on.
    fn leave(&mut self, leaving: &mut bool) -> Result<bool, Cause> {
        if !*leaving {
            *leaving = true;
            for control in self.core.outbox.take_acknowledgements() {
                self.link
                    .feed(Item::Control(control))
                    .map_err(|unfed| unfed.cause)?;
            }
        }
        if !self.link.disconnect()? {
            return Ok(false);
        }
        // In the encoder: whatever wakes the thread next has flushed it.
        let happened = self.link.next()?;
        self.note(happened)?;
        self.core.outbox.note(&mut self.progress);
        Ok(true)
    }

    /// Sends what the connection begins with. Says whether all of it is sent.
    fn open(&mut self) -> Result<bool, Cause> {
        let mut written = Vec::new();
        let opened = self.link.open(&mut |happened| written.push(happened));
        for happened in written {
            self.note(happened)?;
        }
        opened
    }

    /// Gives what the outbox handed over to the encoder: the bell behind it flushes it.
    fn feed(&mut self) -> Result<(), Cause> {
        // From the back of the reversed list: what is not fed when an error comes stays there.
        self.parcels.reverse();
        let mut fed = Ok(());
        while let Some(parcel) = self.parcels.last_mut() {
            // The stub stays where it can be found should rumqttc panic.
            let item = std::mem::replace(&mut parcel.item, Item::Control(Control::Disconnect));
            let written = self.link.feed(item);
            let stub = self.parcels.pop().and_then(|parcel| parcel.stub);
            match (written, stub) {
                (Ok(Happened::PublishWritten { packet_id }), Some(stub)) => {
                    self.progress.push(Progress::Fed { packet_id, stub });
                }
                (Ok(Happened::SubscribeWritten { packet_id }), _) => {
                    self.progress.push(Progress::Used { packet_id });
                    self.core.subscriptions.lock().written(packet_id);
                }
                (Ok(Happened::UnsubscribeWritten { packet_id }), _) => {
                    self.progress.push(Progress::Used { packet_id });
                    self.core
                        .subscriptions
                        .lock()
                        .unsubscribe_written(packet_id);
                }
                (Ok(_), _) => {}
                (Err(Unfed { packet_id, cause }), stub) => {
                    self.progress
                        .extend(stub.map(|stub| Progress::Fed { packet_id, stub }));
                    fed = Err(cause);
                    break;
                }
            }
        }
        self.parcels.reverse();
        fed
    }

    /// Takes note of one event. Says whether it was our DISCONNECT.
    fn note(&mut self, happened: Happened) -> Result<bool, Cause> {
        match happened {
            Happened::Received(received) => {
                self.dispatch
                    .deliver(received, &self.source)
                    .map_err(|offense| Cause::Protocol {
                        message: offense.to_string(),
                    })?
            }
            Happened::Acknowledged { packet_id } => {
                self.progress.push(Progress::Acknowledged { packet_id });
            }
            Happened::Released { packet_id } => {
                self.progress.push(Progress::Released { packet_id });
            }
            Happened::Completed { packet_id } => self.source.acks.completed(packet_id),
            Happened::PublishWritten { packet_id } => {
                self.progress.push(Progress::Written { packet_id });
            }
            Happened::SubscribeWritten { packet_id } => {
                self.progress.push(Progress::Used { packet_id });
                self.progress.push(Progress::Heard);
                self.core.subscriptions.lock().written(packet_id);
            }
            Happened::UnsubscribeWritten { packet_id } => {
                self.progress.push(Progress::Used { packet_id });
                self.progress.push(Progress::Heard);
                self.core
                    .subscriptions
                    .lock()
                    .unsubscribe_written(packet_id);
            }
            Happened::Unsubscribed { packet_id } => {
                self.core.subscriptions.lock().unsubscribed(packet_id);
            }
            Happened::AcknowledgementWritten => self.progress.push(Progress::Heard),
            Happened::Subscribed { packet_id, granted } => self.subscribed(packet_id, &granted)?,
            Happened::DisconnectWritten => return Ok(true),
            Happened::Connected { .. } | Happened::Other => {}
        }
        Ok(false)
    }

    fn subscribed(&mut self, packet_id: u16, granted: &[bool]) -> Result<(), Cause> {
        let answered = self.core.subscriptions.lock().answered(packet_id, granted);
        let refused = answered.ok_or_else(|| Cause::Protocol {
            message: "a SUBACK without a code for each filter".to_owned(),
        })?;
        // Told without the lock: a logger is foreign code.
        for filter in refused {
            log::warn!("client {}: the broker refused {filter:?}", self.core.name);
            self.core.counters.refused_subscriptions.increment();
            self.core.status.refused_subscription(filter.clone());
            if self.on_refused_subscription == RefusedSubscription::EndClient {
                self.ending = Some(Outcome::SubscriptionRefused { filter });
            }
        }
        {
            // Last: whoever waits for the answers finds the refusals told.
            let subscriptions = self.core.subscriptions.lock();
            let all_answered = subscriptions.all_answered();
            self.answered |= all_answered;
            self.core.status.set_subscribed(all_answered);
        }
        if self.ending.is_some() {
            self.core.stop();
        }
        Ok(())
    }

    /// The connection is over: what came on it is delivered, what belonged to it is void, and
    /// what was still to be sent waits for the next one.
    fn hang_up(&mut self, said_goodbye: bool) {
        let (link, source, progress) = (&mut self.link, &self.source, &mut self.progress);
        let dispatch = &self.dispatch;
        let mut note = |happened| match happened {
            Happened::Received(received) => {
                // An offense ends a connection, and this one has ended.
                let _ = dispatch.deliver(received, source);
            }
            // What the broker said counts, and so does what rumqttc took from its channel: the
            // outbox has to know that it is not there any more.
            Happened::Acknowledged { packet_id } => {
                progress.push(Progress::Acknowledged { packet_id });
            }
            Happened::Released { packet_id } => progress.push(Progress::Released { packet_id }),
            Happened::Completed { packet_id } => source.acks.completed(packet_id),
            Happened::PublishWritten { packet_id } => {
                progress.push(Progress::Written { packet_id });
            }
            // rumqttc's count has moved on.
            Happened::SubscribeWritten { packet_id }
            | Happened::UnsubscribeWritten { packet_id } => {
                progress.push(Progress::Used { packet_id });
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
        let link = &mut self.link;
        self.core
            .outbox
            .disconnected(&mut self.progress, &mut self.parcels, || link.close());
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
            Cause::NotMqtt { .. } if !self.was_connected && !self.attempts.retries_refusals() => {
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
