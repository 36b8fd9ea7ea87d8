//! How the network thread waits inside rumqttc: until something happens, until a deadline, and while a
//! large packet goes out over a slow line.
//!
//! rumqttc flushes under a timeout that does not see whether bytes leave. So a flush that may take long
//! is cut by a timer (nothing is lost: what was not sent stays in the encoder) and goes on here, piece
//! by piece, beside reading. It ends the connection when the system takes no more bytes for the
//! connect timeout.

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use rumqttc::{ConnectionError, Event, Outgoing, Packet, PubComp, PubRel};

use crate::{
    client::link::{Happened, Link, convert::whole_seconds},
    supervise::cause::Cause,
};

/// What a line moves at least. Only where no progress can be seen.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

/// A flush is left to rumqttc for this long, at most: it sleeps until the socket is ready.
const FIRST_FLUSH: Duration = Duration::from_millis(500);

/// rumqttc's timeout of a flush that our own timer cuts: longer than anything.
const OURS: Duration = Duration::from_secs(u32::MAX as u64);

/// How long a piece waits for the socket. Short while it takes much, longer where the line is slow.
const SHORTEST_TURN: Duration = Duration::from_millis(1);
const LONGEST_TURN: Duration = Duration::from_millis(16);

/// What the thread may have to do while it waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wait {
    /// It has to wake then.
    pub(crate) until: Option<Instant>,
    /// What is about to go out.
    pub(crate) flush: Flush,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Flush {
    /// A few kilobytes at most.
    #[default]
    Small,
    /// More than the socket takes at once.
    Large,
    /// Nothing yet. Another thread may hand over a packet of any size.
    Unknown,
}

/// A flush that is not done.
#[derive(Debug)]
pub(super) struct Behind {
    since: Instant,
    /// When the socket last took bytes.
    moved_at: Instant,
    room: Arc<Room>,
    /// How often the socket had room until then.
    seen: u64,
    turn: Duration,
    /// More than 8 KiB may be in the encoder.
    is_large: bool,
    /// rumqttc's own answers that found the encoder full.
    owed: Vec<Packet>,
}

/// Woken each time the socket has room again.
#[derive(Debug, Default)]
struct Room(AtomicU64);

impl Wake for Room {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What so many bytes take on a line that is as slow as can be.
pub(super) fn on_a_slow_line(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / SLOWEST_BYTES_PER_SECOND)
}

impl Link {
    /// Blocks until something happens, or the wait is over: `None`. One run of rumqttc's event loop,
    /// where there is a deadline with a timer. Nothing is lost when the timer fires: less than 8 KiB are in the
    /// encoder whenever rumqttc takes a packet from its channel.
    pub(crate) fn next(&mut self, wait: Wait) -> Result<Option<Happened>, Cause> {
        let happened = match wait {
            _ if self.behind.is_some() => self.catch_up(),
            Wait {
                until: None,
                flush: Flush::Small,
            } => {
                self.time_rumqttc(self.settings.connect_timeout);
                self.listen().map(Some)
            }
            wait => self.listen_for(self.longest(wait), self.flush_timeout(wait.flush)),
        }?;
        match self.line.is_dead() {
            true => Err(Cause::KeepAlive),
            false => Ok(happened),
        }
    }

    /// Whether a flush is not done. Nothing may be given to the encoder until it is: `next` goes on
    /// with it.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Whether pieces of a packet have come since this was asked last, or since a packet came.
    pub(crate) fn moves(&mut self) -> bool {
        self.line.moves()
    }

    /// For how long a line may not move.
    pub(crate) fn patience(&self) -> Duration {
        self.settings.connect_timeout
    }

    fn longest(&self, wait: Wait) -> Duration {
        let settings = &self.settings;
        let patience = settings.connect_timeout.max(Duration::from_secs(1));
        let longest = match wait.flush {
            Flush::Small => Duration::MAX,
            Flush::Large => FIRST_FLUSH.min(patience / 4),
            // A packet that stands still from the start is noticed after two of these. An idle client
            // wakes for it as often as that.
            Flush::Unknown => (settings.keep_alive + Duration::from_secs(1)).min(patience),
        };
        match wait.until {
            // tokio's timers have milliseconds.
            Some(until) => longest
                .min(until.saturating_duration_since(Instant::now()) + Duration::from_millis(1)),
            None => longest,
        }
    }

    /// How long rumqttc may take for a flush. A few kilobytes need no progress to be seen; for anything
    /// else our own timer is what cuts it.
    fn flush_timeout(&self, flush: Flush) -> Duration {
        match flush {
            Flush::Small => self.settings.connect_timeout,
            Flush::Large | Flush::Unknown => OURS,
        }
    }

    /// How long rumqttc gives a connect or a flush.
    pub(super) fn time_rumqttc(&mut self, timeout: Duration) {
        let options = &mut self.connection.eventloop.network_options;
        options.set_connection_timeout(whole_seconds(timeout));
    }

    /// Blocks until something happens.
    pub(super) fn listen(&mut self) -> Result<Happened, Cause> {
        self.line.waits();
        let event = self.connection.recv();
        self.line.waited(false);
        match event {
            Ok(event) => Ok(self.translate(event)),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn listen_for(
        &mut self,
        longest: Duration,
        flush_timeout: Duration,
    ) -> Result<Option<Happened>, Cause> {
        self.time_rumqttc(flush_timeout);
        match self.listen_at_most(longest)? {
            Some(happened) => Ok(Some(happened)),
            None => self.flush_on(),
        }
    }

    /// The wait was over, perhaps in the middle of a flush.
    #[inline(never)]
    fn flush_on(&mut self) -> Result<Option<Happened>, Cause> {
        self.flush(false)?;
        if let Some(behind) = &mut self.behind {
            behind.is_large = wrote(&self.connection.eventloop.state.events);
        }
        Ok(self.buffered())
    }

    fn listen_at_most(&mut self, longest: Duration) -> Result<Option<Happened>, Cause> {
        self.line.waits();
        let event = self.connection.recv_timeout(longest);
        // The turns of a flush are too short for the wheel to turn.
        self.line.waited(event.is_none() && longest > LONGEST_TURN);
        match event {
            Some(Ok(event)) => Ok(Some(self.translate(event))),
            Some(Err(error)) => Err(self.failed(error)),
            None => Ok(None),
        }
    }

    /// One turn of a flush that is not done: waits for a piece of it to go out, or for something to come.
    #[inline(never)]
    fn catch_up(&mut self) -> Result<Option<Happened>, Cause> {
        let Some(mut behind) = self.behind.take() else {
            return Ok(None);
        };
        self.time_rumqttc(OURS);
        let heard = self.listen_at_most(behind.turn)?;
        if heard.is_some() {
            // rumqttc has flushed all of it before it told of the event.
            self.caught_up(behind)?;
            return Ok(heard);
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
    fn go_on(&mut self, mut behind: Behind) -> Result<Option<Happened>, Cause> {
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
        Ok(self.buffered())
    }

    fn caught_up(&mut self, behind: Behind) -> Result<(), Cause> {
        self.line.caught_up(behind.since);
        for packet in behind.owed {
            self.encode(packet, 0).map_err(|unfed| unfed.cause)?;
            self.unflushed = true;
        }
        self.answer()
    }

    /// Sends what is in the encoder, which may be more than 8 KiB. What the system does not take now,
    /// `next` goes on with.
    pub(super) fn flush(&mut self, is_large: bool) -> Result<(), Cause> {
        let room = Arc::<Room>::default();
        if !self.try_flush(&Waker::from(Arc::clone(&room)))? {
            let now = Instant::now();
            self.behind = Some(Behind {
                since: now,
                moved_at: now,
                room,
                seen: 0,
                turn: SHORTEST_TURN,
                is_large,
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

/// Whether rumqttc took a PUBLISH from its channel: it may be large.
fn wrote(events: &VecDeque<Event>) -> bool {
    let is_publish = |event: &Event| matches!(event, Event::Outgoing(Outgoing::Publish(_)));
    events.iter().any(is_publish)
}

/// The answer, PUBREL or PUBCOMP, that rumqttc waited to write when its wait was cut: the last one that
/// it made.
fn unwritten(events: &VecDeque<Event>) -> Option<Packet> {
    events.iter().rev().find_map(|event| match event {
        Event::Outgoing(Outgoing::PubRel(packet_id)) => {
            Some(Packet::PubRel(PubRel::new(*packet_id)))
        }
        Event::Outgoing(Outgoing::PubComp(packet_id)) => {
            Some(Packet::PubComp(PubComp::new(*packet_id)))
        }
        _ => None,
    })
}
