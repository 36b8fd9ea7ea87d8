//! One connection, from CONNACK to its end: the loop over `Connection::iter()`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{
        link::{Flush, Happened, Unfed, Wait},
        network::{After, Network},
    },
    publish::{
        message::Progress,
        outbox::{
            network_side::{Beginning, Settled},
            suspicion::{Ended, Verdict},
        },
    },
    supervise::{cause::Cause, state::ClientState},
};

/// The standard does not have SUBSCRIBE repeated, so that an unanswered one stays unanswered.
const SUBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a socket may not take at once: it is watched on its way out.
pub(super) const LARGE: usize = 64 * 1024;

/// On a connection that always has something to read, rumqttc may take a few wake-ups until it looks
/// into its channel.
const MOST_WAKE_UPS_FOR_A_BELL: u32 = 32;

impl Network {
    /// One connection, from CONNACK to its end.
    pub(super) fn session(&mut self, session_present: bool) -> After {
        let since = Instant::now();
        self.begin(session_present);
        let ended = self.iterate(since);
        let said_goodbye = ended.is_ok();
        let lost = match ended {
            Err(cause) if !self.core.stop.is_raised() => Some(cause),
            _ => None,
        };
        let is_stable = self.is_stable(since);
        if let Some(cause) = &lost {
            // Before anything else: nobody may believe in this connection any longer.
            self.core.outbox.lost();
            self.core.status.set(ClientState::Lost {
                cause: cause.clone(),
            });
            self.core.counters.losses.increment();
        }
        let verdict = self.hang_up(said_goodbye, lost.as_ref());
        let Some(cause) = lost else {
            return After::Pause(Duration::ZERO..=Duration::ZERO);
        };
        // One that ends as the one before did is not stable, however long that took.
        let is_again = verdict.is_again | self.is_packet_again(&cause);
        let is_stable = is_stable && !is_again || verdict.is_given_up;
        let cause = self.tell_closed_on(&verdict).unwrap_or(cause);
        self.log_loss(&cause, is_stable);
        if verdict.is_given_up {
            self.tell_given_up(&verdict, &cause);
        }
        if self.core.outbox.is_finishing() {
            // It was stopped on its own, and had this connection to send what was left.
            self.core.stop();
            return After::Pause(Duration::ZERO..=Duration::ZERO);
        }
        if is_stable {
            self.brokers.lost_stable();
            return After::Pause(self.attempts.lost_stable());
        }
        self.attempt_failed(cause)
    }

    fn is_stable(&self, since: Instant) -> bool {
        self.answered && since.elapsed() >= self.attempts.stable_after()
    }

    /// What a new connection begins with.
    fn begin(&mut self, session_present: bool) {
        self.core.counters.connects.increment();
        self.log_connect();
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
            last_id,
        } = self
            .core
            .outbox
            .connected(is_ours, self.birth.as_ref().map(|(_, qos)| *qos));
        // What finds no free identifier goes through the outbox, which asks the window.
        let rest = opening.split_off(identifiers.into());
        self.link.begin(opening, repeats, birth_id, last_id);
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
    fn iterate(&mut self, since: Instant) -> Result<(), Cause> {
        let mut leaving = false;
        let mut patience = MOST_WAKE_UPS_FOR_A_BELL;
        let mut answers_by = self.answers_by()?;
        loop {
            if self.link.is_behind() {
                self.catch_up()?;
            }
            let mut wait = Wait {
                until: answers_by,
                flush: Flush::Large,
            };
            if self.core.stop.is_raised() {
                self.core.outbox.note(&mut self.progress);
                if leaving || patience == 0 || !self.core.outbox.is_bell_out() {
                    if self.leave(&mut leaving)? {
                        return self.catch_up();
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
                    Settled::Ready { bell, expires_at } => {
                        wait.flush = match bell {
                            None => Flush::Unknown,
                            Some(bytes) if bytes > LARGE => Flush::Large,
                            Some(_) => Flush::Small,
                        };
                        wait.until = [answers_by, expires_at].into_iter().flatten().min();
                    }
                    Settled::Ping => {
                        self.link.ping()?;
                        continue;
                    }
                    Settled::Repeat(repeat) => {
                        let happened = self.link.repeat(repeat)?;
                        self.note(happened)?;
                        continue;
                    }
                    // Closed between the two looks: the signal is raised now.
                    Settled::Closed => continue,
                    Settled::Finished => {
                        self.core.stop();
                        continue;
                    }
                    Settled::Outgrown(growth) => {
                        self.link.grow(growth);
                        continue;
                    }
                    Settled::Born { packet_id } => {
                        self.link.bear(packet_id);
                        continue;
                    }
                }
            }
            self.feed()?;
            if let Some(first) = self.link.next(wait)? {
                if self.note_all(first)? {
                    return self.catch_up();
                }
            }
            if self.link.is_behind() {
                self.catch_up()?;
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
            self.core.log.write_counts();
            if self.outage.is_some() && self.is_stable(since) {
                self.log_stable();
            }
            answers_by = self.answers_by()?;
        }
    }

    /// A large packet is on its way out: sends it piece by piece, beside what comes.
    fn catch_up(&mut self) -> Result<(), Cause> {
        let mut stopped_at = None;
        while self.link.is_behind() {
            if self.core.stop.is_raised() {
                let since = *stopped_at.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.link.patience() {
                    return Err(Cause::WriteTimeout);
                }
            }
            if let Some(happened) = self.link.next(Wait::default())? {
                self.note_all(happened)?;
            }
            self.core.outbox.note(&mut self.progress);
            self.dispatch.hand_over();
            // What the broker has not got yet it can't have answered.
            self.core.subscriptions.lock().wait_anew();
        }
        Ok(())
    }

    /// When the oldest SUBSCRIBE that is not answered is late, if there is one.
    fn answers_by(&mut self) -> Result<Option<Instant>, Cause> {
        let mut subscriptions = self.core.subscriptions.lock();
        let Some(since) = subscriptions.waiting_since() else {
            return Ok(None);
        };
        if since.elapsed() < SUBACK_TIMEOUT {
            return Ok(Some(since + SUBACK_TIMEOUT));
        }
        // It may come behind a large packet.
        if !self.link.moves() {
            return Err(Cause::SubackTimeout);
        }
        subscriptions.wait_anew();
        Ok(Some(Instant::now() + SUBACK_TIMEOUT))
    }

    /// Sends the acknowledgements and changes of subscriptions that wait, then DISCONNECT. Says whether that is written; if
    /// not, the next wake-up goes on.
    fn leave(&mut self, leaving: &mut bool) -> Result<bool, Cause> {
        if !*leaving {
            *leaving = true;
            self.core.outbox.take_controls(&mut self.batch);
            self.feed()?;
        }
        let is_sent = self.link.disconnect()?;
        self.core.outbox.note(&mut self.progress);
        Ok(is_sent)
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

    /// The connection is over: what came on it is delivered, what belonged to it is void, and
    /// what was still to be sent waits for the next one.
    fn hang_up(&mut self, said_goodbye: bool, lost: Option<&Cause>) -> Verdict {
        let ended = Ended {
            by_broker: matches!(lost, Some(Cause::Closed | Cause::Broken { .. })),
            is_asked: self.core.subscriptions.lock().is_asked(),
        };
        let (core, link, progress) = (&self.core, &mut self.link, &mut self.progress);
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
            Happened::PingAnswered => progress.push(Progress::PingAnswered),
            Happened::Completed { packet_id } => source.acks.completed(packet_id),
            Happened::Unsubscribed { packet_id } => {
                core.subscriptions.lock().unsubscribed(packet_id);
            }
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
            core.subscriptions.lock().said_goodbye();
        }
        dispatch.hand_over();
        source.acks.forget();
        let link = &mut self.link;
        self.core
            .outbox
            .disconnected(&mut self.progress, &mut self.batch, ended, || link.close())
    }
}
