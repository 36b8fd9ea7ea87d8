//! One connection, from CONNACK to its end: the loop over `Connection::iter()`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{
        link::{Happened, Unfed},
        network::{After, Network},
    },
    publish::{
        message::{Item, Progress},
        outbox::{
            BATCH_BYTES,
            network_side::{Beginning, Settled},
        },
    },
    spec::outbox::RefusedSubscription,
    supervise::{cause::Cause, outcome::Outcome, state::ClientState},
};

/// The standard does not have SUBSCRIBE repeated, so that an unanswered one stays unanswered.
const SUBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// On a connection that always has something to read, rumqttc may take a few wake-ups until it looks
/// into its channel.
const MOST_WAKE_UPS_FOR_A_BELL: u32 = 32;

/// rumqttc reads 9 packets for each run of its runtime. With so many events more, a flood costs little
/// for each message, and nobody waits long for what the outbox has meanwhile.
const MOST_READ_ON: usize = 144;

/// Where all of them are messages of QoS 0, nobody waits for an answer: it may be more, so that waking a
/// worker is worth it.
const MOST_READ_ON_AT_QOS_0: usize = 512;

/// Nor may they be more bytes: what a wake-up brings is handed over at its end.
const MOST_BYTES_READ_ON: usize = 64 * 1024;

// What rumqttc answers by itself meanwhile, 4 bytes for two events, may have to stay in the encoder, and a
// batch of the outbox has to fit behind it.
const _: () = assert!(MOST_READ_ON / 2 * 4 + BATCH_BYTES < 8 * 1024);

impl Network {
    /// One connection, from CONNACK to its end.
    pub(super) fn session(&mut self, session_present: bool) -> After {
        let since = Instant::now();
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
                self.core.status.broker()
            );
        }
        self.hang_up(said_goodbye);
        match lost {
            None => After::Pause(Duration::ZERO),
            Some(_) if self.answered && since.elapsed() >= self.attempts.stable_after() => {
                self.brokers.lost_stable();
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
            self.core.status.broker()
        );
        // What was under way belongs to the session of the broker that it was sent to.
        let is_ours = self.brokers.connected() && session_present;
        match is_ours {
            true => self.dispatch.source().acks.session_kept(),
            false => self.dispatch.source().acks.forget_session(),
        }
        let mut subscriptions = self.core.subscriptions.lock();
        let mut opening = subscriptions.connected(is_ours, self.core.max_packet_size);
        // Under the same lock: from here on `subscribe` sends its packets itself.
        let Beginning {
            repeats,
            birth_id,
            identifiers,
        } = self.core.outbox.connected(is_ours, self.birth);
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
            } else {
                let outbox = &self.core.outbox;
                match outbox.settle(&mut self.progress, &mut self.batch) {
                    Settled::Ready => {}
                    // Closed between the two looks: the signal is raised now.
                    Settled::Closed => continue,
                    Settled::Outgrown(growth) => {
                        // Also what an earlier subscription of the session brought.
                        let receives_qos2 = self.core.subscriptions.lock().any_exactly_once()
                            || self.dispatch.source().acks.any_exactly_once();
                        self.link.grow(growth, receives_qos2);
                        continue;
                    }
                }
            }
            self.feed()?;
            let first = self.link.next()?;
            if self.note_all(first)? {
                return Ok(());
            }
            if !self.core.stop.is_raised() {
                self.read_on()?;
            }
            let (outbox, progress) = (&self.core.outbox, &mut self.progress);
            match self.dispatch.hand_over() {
                0 => self.moments.for_publishes(outbox, progress),
                acknowledged => {
                    self.moments
                        .for_acknowledgements(outbox, progress, acknowledged);
                }
            }
            let waiting_since = self.core.subscriptions.lock().waiting_since();
            if waiting_since.is_some_and(|since| since.elapsed() > SUBACK_TIMEOUT) {
                return Err(Cause::SubackTimeout);
            }
        }
    }

    /// Takes note of an event, and of what rumqttc has buffered behind it. Says whether our
    /// DISCONNECT was among them.
    fn note_all(&mut self, first: Happened) -> Result<bool, Cause> {
        let mut next = Some(first);
        while let Some(happened) = next {
            if self.note(happened)? {
                // Flushed with the DISCONNECT: what was fed before it has gone out.
                self.core.outbox.note(&mut self.progress);
                return Ok(true);
            }
            next = self.link.buffered();
        }
        Ok(false)
    }

    /// Takes note of what has arrived meanwhile: with a flood, more packets than rumqttc reads for
    /// each run of its runtime. Our DISCONNECT can't be among them.
    fn read_on(&mut self) -> Result<(), Cause> {
        let read = self.note_arrived();
        // Also behind an error: what was answered counts as answered.
        let answered = self.link.answer();
        read.and(answered)
    }

    fn note_arrived(&mut self) -> Result<(), Cause> {
        let (mut events, mut bytes, mut most) = (0, 0, MOST_READ_ON_AT_QOS_0);
        while events < most && bytes < MOST_BYTES_READ_ON {
            let Some(happened) = self.link.arrived()? else {
                return Ok(());
            };
            match &happened {
                Happened::Received(received) if received.packet_id == 0 => {
                    bytes += received.content.len();
                }
                Happened::Received(received) => {
                    bytes += received.content.len();
                    most = MOST_READ_ON;
                }
                _ => most = MOST_READ_ON,
            }
            events += 1;
            self.note(happened)?;
        }
        // rumqttc's answer to the last one: left there, it would be all that the next call returns.
        while let Some(happened) = self.link.buffered() {
            self.note(happened)?;
        }
        Ok(())
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
        while let Some(item) = self.batch.feed() {
            let written = self.link.feed(item);
            let stub = self.batch.fed();
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
                    return Err(cause);
                }
            }
        }
        Ok(())
    }

    /// Takes note of one event. Says whether it was our DISCONNECT.
    fn note(&mut self, happened: Happened) -> Result<bool, Cause> {
        match happened {
            Happened::Received(received) => {
                self.dispatch
                    .deliver(received)
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
            Happened::Completed { packet_id } => self.dispatch.source().acks.completed(packet_id),
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
        let (link, progress) = (&mut self.link, &mut self.progress);
        let source = Arc::clone(self.dispatch.source());
        let dispatch = &mut self.dispatch;
        let mut note = |happened| match happened {
            Happened::Received(received) => {
                // An offense ends a connection, and this one has ended.
                let _ = dispatch.deliver(received);
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
        dispatch.hand_over();
        source.acks.forget();
        let link = &mut self.link;
        self.core
            .outbox
            .disconnected(&mut self.progress, &mut self.batch, || link.close());
    }
}
