//! A thread that runs handlers, and the state callback where the fleet gave it to a worker.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, never, select};

use crate::{
    inbox::{handler::Handling, lane::LaneBatch, message::Message},
    observe::changes::{Announced, StateChange},
    spec::qos::QoS,
    supervise::{
        backoff::Backoff,
        panic::{caught, discard},
        thread::Thread,
    },
};

/// How long a worker looks out for the next batch before it sleeps: a few times as long as an
/// acknowledgement takes to a broker near by and the next message back.
const LOOK_OUT: Duration = Duration::from_micros(100);

/// No client: the worker is in no handler.
const IDLE: u64 = u64::MAX;

/// Calls the user's state callback.
pub(crate) type StateCallback = Arc<dyn Fn(&StateChange) + Send + Sync>;

/// Which client's message a worker is busy with, for the report of a worker that is stuck.
#[derive(Debug, Clone)]
pub(crate) struct Busy(Arc<AtomicU64>);

impl Busy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(IDLE)))
    }

    /// The number of that client.
    pub(crate) fn client(&self) -> Option<u64> {
        let number = self.0.load(Ordering::Relaxed);
        (number != IDLE).then_some(number)
    }
}

/// Everything a worker's thread has.
pub(crate) struct Worker {
    /// Its lane of the queue.
    pub(crate) lane: Receiver<LaneBatch>,
    /// State changes and what they are given to; only one worker has them, so that they are
    /// seen in order.
    pub(crate) states: Option<(Receiver<Announced>, StateCallback)>,
    pub(crate) handling: Arc<Handling>,
    /// Disconnected when an orderly stop has closed the intake: handle what is there, then say so.
    pub(crate) stopping: Receiver<()>,
    /// Disconnected when the fleet is ending: no message comes any more, finish what is there.
    pub(crate) closing: Receiver<()>,
    /// The time of the stop for handlers is over: leave the rest unhandled.
    pub(crate) expired: Arc<AtomicBool>,
    pub(crate) busy: Busy,
    /// Whether it has acknowledged a message since it last looked out for more.
    pub(crate) acknowledged: bool,
}

impl Worker {
    pub(crate) fn run(mut self, thread: &Thread) {
        self.work(thread);
        discard(self.states.take());
    }

    fn work(&mut self, thread: &Thread) {
        let mut looking_out = Backoff::default();
        let none = never();
        loop {
            // All that is there first: waiting in `select!` costs more than looking.
            if !self.drain() {
                self.leave_the_rest(thread);
            }
            if mem::take(&mut self.acknowledged) && looking_out.attempt(|| self.look_out()) {
                continue;
            }
            let states = self.states.as_ref().map_or(&none, |(states, _)| states);
            select! {
                recv(self.lane) -> batch => match batch {
                    Ok(batch) => if !self.handle(batch) {
                        self.leave_the_rest(thread);
                    },
                    // Every client has ended. The last state changes may still come.
                    Err(_) => self.lane = never(),
                },
                recv(states) -> change => match (change, &self.states) {
                    (Ok(change), Some((_, callback))) => callback(&change),
                    // Every client has ended. Its callback is the user's, and so is what that owns.
                    _ => discard(self.states.take()),
                },
                recv(self.stopping) -> _ => {
                    self.drain();
                    self.leave_the_rest(thread);
                }
                recv(self.closing) -> _ => {
                    self.drain();
                    self.tell_states();
                    return;
                }
            }
        }
    }

    /// Takes no message any more, and says so: no handler runs here from now on. State changes are
    /// told until the end.
    fn leave_the_rest(&mut self, thread: &Thread) {
        self.lane = never();
        self.stopping = never();
        thread.set_idle();
    }

    /// Handles all that waits. Says whether to go on.
    fn drain(&mut self) -> bool {
        loop {
            if self.expired.load(Ordering::Relaxed) {
                return false;
            }
            self.tell_states();
            match self.lane.try_recv() {
                Ok(batch) => {
                    if !self.handle(batch) {
                        return false;
                    }
                }
                Err(_) => return true,
            }
        }
    }

    fn tell_states(&self) {
        if let Some((states, callback)) = &self.states {
            // Looked at between any two messages: `is_empty` costs less than an attempt to receive.
            while !states.is_empty() {
                match states.try_recv() {
                    Ok(change) => callback(&change),
                    Err(_) => return,
                }
            }
        }
    }

    /// Looks out for the next batch for a moment, and gives way to other threads meanwhile. Says
    /// whether one is there. A broker sends more once it has the acknowledgements, and going to
    /// sleep and being woken takes longer than that. Messages that nobody acknowledges come anyway: a
    /// worker that sleeps meanwhile finds more of them at once.
    fn look_out(&self) -> bool {
        let begun = Instant::now();
        while self.lane.is_empty() {
            if begun.elapsed() >= LOOK_OUT {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    /// Handles a batch. Says whether to go on.
    fn handle(&mut self, batch: LaneBatch) -> bool {
        match batch {
            LaneBatch::One(message) => self.handle_one(message),
            LaneBatch::Many(packed) => {
                for message in packed.into_messages() {
                    // What is left is dropped, as if it were still in the queue.
                    if self.expired.load(Ordering::Relaxed) {
                        return false;
                    }
                    self.tell_states();
                    self.handle_one(message);
                }
            }
        }
        true
    }

    fn handle_one(&mut self, message: Message) {
        let Some(mut message) = message.take() else {
            return;
        };
        let number = message.source().number;
        self.acknowledged |= message.qos() != QoS::AtMostOnce;
        self.busy.0.store(number, Ordering::Relaxed);
        // Whatever unwinds beside the handlers costs this message and not the thread.
        if let Err(text) = caught(|| self.handling.handle(&mut message)) {
            self.handling.defect(&message, text);
        }
        discard(message);
        self.busy.0.store(IDLE, Ordering::Relaxed);
    }
}
