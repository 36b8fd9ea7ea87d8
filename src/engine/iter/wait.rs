//! How the network thread waits inside rumqttc: until something happens, until a deadline, and while a
//! large packet goes out over a slow line.
//!
//! rumqttc flushes under a timeout that does not see whether bytes leave. So a flush that may take long
//! is cut by a timer (nothing is lost: what was not sent stays in the encoder) and goes on here, piece
//! by piece, beside reading. It ends the connection when the system takes no more bytes for the
//! connect timeout.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context as TaskContext, Poll, Waker},
    time::{Duration, Instant},
};

use rumqttc::{ConnectionError, Outgoing, Packet, PubComp, PubRel};

use crate::{
    engine::{
        Event, Wait,
        iter::{
            budget::ENCODER_LIMIT,
            convert::whole_seconds,
            state::{Behind, IterEngine, SocketRoom},
        },
    },
    observe::cause::Cause,
    outbox::CarriedSize,
};

/// What a line moves at least. Only where no progress can be seen.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

/// rumqttc's timeout of a flush that our own timer cuts: longer than anything.
const OURS: Duration = Duration::from_secs(u32::MAX as u64);

/// How long a piece waits for the socket. Short while it takes much, longer where the line is slow.
const SHORTEST_TURN: Duration = Duration::from_millis(1);
const LONGEST_TURN: Duration = Duration::from_millis(16);

/// What rumqttc may answer by itself behind what was sent, in bytes.
const MOST_ANSWERS: usize = 512;

/// What this many bytes take on a line that is as slow as can be.
pub(super) fn on_a_slow_line(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / SLOWEST_BYTES_PER_SECOND)
}

impl IterEngine {
    /// Blocks until something happens, or the wait is over: `None`. One call of
    /// `Connection::iter().next()`, or where there is a deadline of `Connection::recv_timeout`, which
    /// is the same with a timer. Nothing is lost when the timer fires: less than 8 KiB are in the
    /// encoder whenever rumqttc takes a packet from its channel.
    pub(super) fn wait(&mut self, wait: Wait) -> Result<Option<Event>, Cause> {
        let event = match self.behind.take() {
            Some(behind) => self.catch_up(behind),
            None => match self.longest(wait) {
                None => self.listen(),
                Some(longest) => self.listen_for(longest, wait.carries),
            },
        }?;
        match self.line.is_dead() {
            true => Err(Cause::KeepAlive),
            false => Ok(event),
        }
    }

    /// The timer that the wait needs, if it needs one.
    fn longest(&self, wait: Wait) -> Option<Duration> {
        let settings = &self.settings;
        let is_watched = match wait.carries {
            Some(CarriedSize::Small) => false,
            // Another thread may hand over a packet of any size meanwhile.
            Some(CarriedSize::Large) | None => true,
        };
        // A packet that stands still from the start is noticed after two of these. An idle client wakes for it
        // as often as that.
        let patience = settings.connect_timeout.max(Duration::from_secs(1));
        let watch = (settings.keep_alive + Duration::from_secs(1)).min(patience);
        let watch = is_watched.then_some(watch);
        // tokio's timers have milliseconds.
        let until = wait.until.map(|until| {
            until.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
        });
        [watch, until].into_iter().flatten().min()
    }

    /// How long rumqttc gives a connect or a flush.
    pub(super) fn time_rumqttc(&mut self, timeout: Duration) {
        let options = &mut self.connection.eventloop.network_options;
        options.set_connection_timeout(whole_seconds(timeout));
    }

    /// Blocks until something happens.
    #[inline(never)]
    fn listen(&mut self) -> Result<Option<Event>, Cause> {
        self.time_rumqttc(self.settings.connect_timeout);
        self.line.waits();
        let event = self.connection.iter().next();
        self.line.waited(false);
        match event {
            Some(Ok(event)) => Ok(self.translate(event).or_else(|| self.pop_event())),
            Some(Err(error)) => Err(self.failed(error)),
            // rumqttc's own end of its requests, which can't come while it holds a sender.
            None => Err(Cause::Closed),
        }
    }

    #[inline(never)]
    fn listen_for(
        &mut self,
        longest: Duration,
        carries: Option<CarriedSize>,
    ) -> Result<Option<Event>, Cause> {
        // A few kilobytes need no progress to be seen; for anything else our own timer is what cuts it.
        self.time_rumqttc(match carries {
            Some(CarriedSize::Small) => self.settings.connect_timeout,
            Some(CarriedSize::Large) | None => OURS,
        });
        if !self.listen_at_most(longest)? {
            self.begin_flush()?;
            if let Some(behind) = &mut self.behind {
                behind.is_large = wrote(&self.connection.eventloop.state.events);
            }
        }
        Ok(self.pop_event())
    }

    /// Says whether something came: it is the first event in the queue. Kept small, because the frames of
    /// rumqttc's call are large, and each page of a stack that was touched stays with its client.
    #[inline(never)]
    fn listen_at_most(&mut self, longest: Duration) -> Result<bool, Cause> {
        self.line.waits();
        let event = self.connection.recv_timeout(longest);
        // The turns of a flush are too short for the wheel to turn.
        self.line.waited(event.is_err() && longest > LONGEST_TURN);
        match event {
            Ok(Ok(event)) => {
                self.connection.eventloop.state.events.push_front(event);
                Ok(true)
            }
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Ok(false),
        }
    }

    /// One turn of a flush that is not done: waits for a piece of it to go out, or for something to come.
    #[inline(never)]
    fn catch_up(&mut self, mut behind: Behind) -> Result<Option<Event>, Cause> {
        self.time_rumqttc(OURS);
        if self.listen_at_most(behind.turn)? {
            // rumqttc has flushed all of it before it told of the event.
            self.caught_up(behind)?;
            return Ok(self.pop_event());
        }
        let seen = behind.room.0.load(Ordering::Relaxed);
        if seen != behind.seen {
            behind.seen = seen;
            behind.moved_at = Instant::now();
            behind.turn = SHORTEST_TURN;
        } else if behind.moved_at.elapsed() >= self.settings.connect_timeout {
            return Err(Cause::WriteTimeout);
        } else {
            behind.turn = (behind.turn * 2).min(LONGEST_TURN);
        }
        self.go_on(behind)
    }

    /// The timer has fired: sends what the system takes.
    #[inline(never)]
    fn go_on(&mut self, mut behind: Behind) -> Result<Option<Event>, Cause> {
        let waker = Waker::from(Arc::clone(&behind.room));
        match self.try_flush(&waker)? {
            true => self.caught_up(behind)?,
            false => {
                let events = &self.connection.eventloop.state.events;
                // With less than 8 KiB in the encoder rumqttc does not wait to write an answer.
                behind
                    .owed
                    .extend(behind.is_large.then(|| unwritten(events)).flatten());
                behind.is_large |= wrote(events);
                self.behind = Some(behind);
            }
        }
        // What came meanwhile, cut off from its flush.
        Ok(self.pop_event())
    }

    fn caught_up(&mut self, behind: Behind) -> Result<(), Cause> {
        self.unflushed_bytes = 0;
        if behind.is_large {
            self.line.caught_up(behind.since);
        }
        for packet in behind.owed {
            self.encode(packet)?;
            self.has_answered = true;
        }
        self.flush_answers()
    }

    /// Sends what is in the encoder, which may be more than 8 KiB. What the system does not take now,
    /// `wait` goes on with.
    pub(super) fn begin_flush(&mut self) -> Result<(), Cause> {
        // Nearly always the system takes all of it, and nobody has to be woken.
        if self.try_flush(Waker::noop())? {
            self.unflushed_bytes = 0;
            return Ok(());
        }
        let room = Arc::<SocketRoom>::default();
        if self.try_flush(&Waker::from(Arc::clone(&room)))? {
            self.unflushed_bytes = 0;
        } else {
            let now = Instant::now();
            self.behind = Some(Behind {
                since: now,
                moved_at: now,
                room,
                seen: 0,
                turn: SHORTEST_TURN,
                is_large: self.unflushed_bytes + MOST_ANSWERS >= ENCODER_LIMIT,
                owed: Vec::new(),
            });
        }
        Ok(())
    }

    fn try_flush(&mut self, waker: &Waker) -> Result<bool, Cause> {
        let Some(network) = &mut self.connection.eventloop.network else {
            return Ok(true);
        };
        let flushed = pin!(network.flush()).poll(&mut TaskContext::from_waker(waker));
        match flushed {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => Err(self.failed(ConnectionError::MqttState(error))),
            Poll::Pending => Ok(false),
        }
    }
}

/// Whether rumqttc took something from its channel that may be large.
fn wrote(events: &VecDeque<rumqttc::Event>) -> bool {
    use rumqttc::Event::Outgoing as Sent;
    let may_be_large = |event: &rumqttc::Event| {
        matches!(
            event,
            Sent(Outgoing::Publish(_) | Outgoing::Subscribe(_) | Outgoing::Unsubscribe(_))
        )
    };
    events.iter().any(may_be_large)
}

/// The answer, PUBREL or PUBCOMP, that rumqttc waited to write when its wait was cut: the last one that
/// it made.
fn unwritten(events: &VecDeque<rumqttc::Event>) -> Option<Packet> {
    events.iter().rev().find_map(|event| match event {
        rumqttc::Event::Outgoing(Outgoing::PubRel(packet_id)) => {
            Some(Packet::PubRel(PubRel::new(*packet_id)))
        }
        rumqttc::Event::Outgoing(Outgoing::PubComp(packet_id)) => {
            Some(Packet::PubComp(PubComp::new(*packet_id)))
        }
        _ => None,
    })
}
