//! One connection, from CONNACK to its end: the loop that sends what the outbox has, and handles what the
//! engine reports.

use std::time::{Duration, Instant};

use crate::{
    client::{
        client_loop::{After, ClientLoop},
        events::Flow,
    },
    engine::{Event, Wait},
    observe::{cause::Cause, state::ClientState},
    outbox::{
        entry::Progress,
        network_side::Taken,
        send_batch::Outbound,
        suspicion::{ConnectionEnd, Verdict},
    },
    session::packet::{Outgoing, Packet},
};

/// On a connection that always has something to read, an engine may take a few wake-ups until it sends
/// what it carries.
const MOST_WAITS_FOR_CARRIED: u32 = 32;

/// A thread that always has something to send looks at its connection this often, at least.
const LONGEST_SENDING: Duration = Duration::from_millis(50);

impl ClientLoop {
    /// One connection, from CONNACK to its end. In two parts, so that the frame of the second is not on the
    /// stack of each client for as long as its connection lasts.
    #[inline(never)]
    pub(super) fn session(&mut self, session_present: bool) -> After {
        let since = Instant::now();
        self.begin(session_present);
        let ended = self.iterate(since).map_err(Box::new);
        self.after(ended, since)
    }

    /// The connection has ended: what follows.
    #[inline(never)]
    fn after(&mut self, ended: Result<(), Box<Cause>>, since: Instant) -> After {
        let is_disconnected = ended.is_ok();
        let lost = match ended {
            Err(cause) if !self.member.stop.is_raised() => Some(*cause),
            _ => None,
        };
        let is_stable = self.is_stable(since);
        if let Some(cause) = &lost {
            // Before anything else: nobody may believe in this connection any longer.
            self.member.outbox.lost();
            self.member.status.set(ClientState::Lost {
                cause: cause.clone(),
            });
            self.member.counters.losses.increment();
        }
        let verdict = self.teardown(is_disconnected, lost.as_ref());
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
        if self.member.outbox.is_finishing() {
            // It was stopped on its own, and had this connection to send what was left.
            self.member.stop();
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
    #[inline(never)]
    fn begin(&mut self, session_present: bool) {
        self.member.counters.connects.increment();
        self.log_connect();
        // What was under way belongs to the session of the broker that it was sent to.
        let is_ours = self.brokers.connected() && session_present;
        match is_ours {
            true => self.dispatch.source().acks.session_kept(),
            false => self.dispatch.source().acks.forget_session(),
        }
        let mut subscriptions = self.member.subscriptions.lock();
        let requests =
            subscriptions.connected(is_ours, self.member.max_packet_size, Instant::now());
        // Under the same lock: from here on `subscribe` sends its packets itself.
        self.member
            .outbox
            .connected(is_ours, requests, self.birth.clone());
        self.member
            .status
            .set(ClientState::Connected { session_present });
        self.answered = subscriptions.all_answered();
        self.member.status.set_subscribed(self.answered);
        drop(subscriptions);
        if let Some(on_first_connect) = self.on_first_connect.take() {
            on_first_connect();
        }
    }

    /// The loop: take and send, or park; handle what happened; hand it over. `Ok` once DISCONNECT is
    /// written.
    #[inline(never)]
    fn iterate(&mut self, since: Instant) -> Result<(), Cause> {
        let mut patience = MOST_WAITS_FOR_CARRIED;
        let mut waited_at = since;
        loop {
            if self.engine.is_behind() {
                self.catch_up()?;
            }
            let mut wait = Wait {
                until: self.answers_by()?,
                carries: None,
            };
            let mut has_sent = false;
            if self.member.stop.is_raised() {
                self.member.outbox.apply(&mut self.progress);
                if patience == 0 || !self.member.outbox.is_carrying() {
                    return self.disconnect();
                }
                // It is older than all that waits, and it may be the DISCONNECT.
                patience -= 1;
            } else {
                match self.take_or_park() {
                    Taken::Batch => {
                        self.send_batch()?;
                        has_sent = true;
                    }
                    Taken::Parked { expires_at } => {
                        wait.until = [wait.until, expires_at].into_iter().flatten().min();
                    }
                    Taken::Carried(size) => wait.carries = Some(size),
                    Taken::NextId(id) => {
                        self.engine.set_next_id(id);
                        continue;
                    }
                    // Closed between the two looks: the signal is raised now.
                    Taken::Closed => continue,
                    Taken::Finished => {
                        self.member.stop();
                        continue;
                    }
                }
            }
            if has_sent && waited_at.elapsed() >= LONGEST_SENDING {
                // Nothing that arrives is seen before the thread waits.
                wait.until = Some(Instant::now());
            }
            if !has_sent || wait.until.is_some_and(|until| until <= Instant::now()) {
                if let Some(first) = self.engine.next(wait)? {
                    if self.handle_all(first)? == Flow::Disconnected {
                        return self.catch_up();
                    }
                }
                waited_at = Instant::now();
            }
            if self.engine.is_behind() {
                self.catch_up()?;
            }
            if !self.member.stop.is_raised() {
                self.drain_socket()?;
            }
            let (outbox, progress) = (&self.member.outbox, &mut self.progress);
            match self.dispatch.flush() {
                0 => self.brief_waits.for_publishes(outbox, progress),
                acknowledged => {
                    self.brief_waits
                        .for_acknowledgements(outbox, progress, acknowledged);
                }
            }
            self.member.log.write_counts();
            if self.outage.is_some() && self.is_stable(since) {
                self.log_stable();
            }
        }
    }

    fn take_or_park(&mut self) -> Taken {
        let (room, next_id) = (self.engine.room(), self.engine.next_id());
        self.member
            .outbox
            .take_or_park(&mut self.progress, &mut self.batch, room, next_id)
    }

    /// A large packet is on its way out: sends it piece by piece, beside what comes.
    #[inline(never)]
    fn catch_up(&mut self) -> Result<(), Cause> {
        let mut stopped_at = None;
        while self.engine.is_behind() {
            if self.member.stop.is_raised() {
                let since = *stopped_at.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.engine.patience() {
                    return Err(Cause::WriteTimeout);
                }
            }
            if let Some(event) = self.engine.next(Wait::default())? {
                self.handle_all(event)?;
            }
            self.member.outbox.apply(&mut self.progress);
            self.dispatch.flush();
            // What the broker has not got yet it can't have answered.
            self.member.subscriptions.lock().wait_anew(Instant::now());
        }
        Ok(())
    }

    /// When the oldest SUBSCRIBE that is not answered is late, if there is one.
    #[inline(never)]
    fn answers_by(&mut self) -> Result<Option<Instant>, Cause> {
        let mut subscriptions = self.member.subscriptions.lock();
        let due = subscriptions.answer_due();
        let now = Instant::now();
        if due.is_none_or(|due| now < due) {
            return Ok(due);
        }
        // It may come behind a large packet.
        if !self.engine.moves() {
            return Err(Cause::SubackTimeout);
        }
        subscriptions.wait_anew(now);
        Ok(subscriptions.answer_due())
    }

    /// Sends the acknowledgements and changes of subscriptions that wait, then DISCONNECT.
    #[inline(never)]
    fn disconnect(&mut self) -> Result<(), Cause> {
        let room = self.engine.room();
        self.member.outbox.take_controls(&mut self.batch, room);
        self.batch.push_packet(Packet::Disconnect);
        self.send_batch()?;
        self.member.outbox.apply(&mut self.progress);
        self.catch_up()
    }

    /// Sends what was taken from the outbox.
    #[inline(never)]
    fn send_batch(&mut self) -> Result<(), Cause> {
        while let Some(outbound) = self.batch.pop() {
            match outbound {
                Outbound::Packet(packet) => self.send_packet(packet)?,
                Outbound::Publish { packet_id, message } => self.publish(packet_id, message)?,
            }
        }
        self.engine.flush()
    }

    fn send_packet(&mut self, packet: Packet) -> Result<(), Cause> {
        let subscriptions = || self.member.subscriptions.lock();
        match packet {
            Packet::Subscribe { packet_id, .. } => subscriptions().written(packet_id),
            Packet::Unsubscribe { packet_id, .. } => {
                subscriptions().unsubscribe_written(packet_id);
            }
            _ => {}
        }
        self.engine.send(packet)
    }

    /// Sends a message for the first time under this identifier.
    fn publish(&mut self, packet_id: u16, message: Outgoing) -> Result<(), Cause> {
        let kept = (packet_id != 0).then(|| Box::new(message.clone()));
        let sent = self.engine.send(Packet::Publish {
            packet_id,
            duplicate: false,
            message,
        });
        // Noted in any case: it may be on the wire when sending fails.
        if let Some(pending) = self.batch.sent() {
            self.progress.push(match kept {
                None => Progress::SentOnce(pending),
                Some(message) => Progress::Sent {
                    packet_id,
                    message,
                    pending,
                },
            });
        }
        sent
    }

    /// The connection is over: what came on it is delivered, what belonged to it is void, and
    /// what was still to be sent waits for the next one.
    #[inline(never)]
    fn teardown(&mut self, is_disconnected: bool, lost: Option<&Cause>) -> Verdict {
        let ended = ConnectionEnd {
            by_broker: matches!(lost, Some(Cause::Closed | Cause::Broken { .. })),
            is_asked: self.member.subscriptions.lock().is_asked(),
        };
        while let Some(event) = self.engine.buffered() {
            self.handle_late(event);
        }
        if is_disconnected {
            let mut late = Vec::new();
            self.engine.await_close(&mut |event| late.push(event));
            late.into_iter().for_each(|event| self.handle_late(event));
            self.member.subscriptions.lock().disconnect_written();
        }
        self.dispatch.flush();
        self.dispatch.source().acks.forget();
        let engine = &mut self.engine;
        self.member
            .outbox
            .disconnected(&mut self.progress, &mut self.batch, ended, || {
                engine.close()
            })
    }

    /// An event that is found when the connection is over.
    fn handle_late(&mut self, event: Event) {
        match event {
            Event::Received(received) => {
                // A violation ends a connection, and this one has ended.
                let _ = self.dispatch.deliver(received);
            }
            Event::Unsubscribed { packet_id } => {
                self.member.subscriptions.lock().unsubscribed(packet_id);
            }
            event => _ = self.apply(&event),
        }
    }
}
