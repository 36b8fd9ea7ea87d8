//! A thread that runs handlers, and the state callback where the fleet gave it to a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, never, select};

use crate::{
    receive::{handler::Handling, held, lane::Batch, message::Message},
    supervise::state::{Announced, StateChange},
};

/// No client: the worker is in no handler.
const IDLE: usize = usize::MAX;

/// Calls the user's state callback.
pub(crate) type StateCallback = Arc<dyn Fn(&StateChange) + Send + Sync>;

/// Which client's message a worker is busy with, for the report of a worker that is stuck.
#[derive(Debug, Clone)]
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Busy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(IDLE)))
    }

    pub(crate) fn client(&self) -> Option<usize> {
        let index = self.0.load(Ordering::Relaxed);
        (index != IDLE).then_some(index)
    }
}

/// Everything a worker's thread has.
pub(crate) struct Worker {
    /// Its lane of the queue.
    pub(crate) lane: Receiver<Batch>,
    /// State changes and what they are given to; only one worker has them, so that they are
    /// seen in order.
    pub(crate) states: Option<(Receiver<Announced>, StateCallback)>,
    pub(crate) handling: Arc<Handling>,
    /// Disconnected when the fleet is ending: no message comes any more, finish what is there.
    pub(crate) closing: Receiver<()>,
    /// The deadline of the stop has passed: leave the rest unhandled.
    pub(crate) expired: Arc<AtomicBool>,
    pub(crate) busy: Busy,
}

impl Worker {
    pub(crate) fn run(mut self) {
        let mut calm = Calm::default();
        let none = never();
        loop {
            // All that is there first: waiting in `select!` costs more than looking.
            if !self.drain(&mut calm) {
                return;
            }
            if calm.is_calm() && self.await_batch() {
                continue;
            }
            let states = self.states.as_ref().map_or(&none, |(states, _)| states);
            select! {
                recv(self.lane) -> batch => match batch {
                    Ok(batch) => if !self.handle(batch, &mut calm) {
                        return;
                    },
                    // Every client has ended. The last state changes may still come.
                    Err(_) => self.lane = never(),
                },
                recv(states) -> change => match (change, &self.states) {
                    (Ok(change), Some((_, callback))) => callback(&change),
                    _ => self.states = None,
                },
                recv(self.closing) -> _ => {
                    self.drain(&mut calm);
                    return;
                }
            }
        }
    }

    /// Handles all that waits. Says whether to go on.
    fn drain(&self, calm: &mut Calm) -> bool {
        loop {
            if self.expired.load(Ordering::Relaxed) {
                return false;
            }
            self.tell_states();
            match self.lane.try_recv() {
                Ok(batch) => {
                    if !self.handle(batch, calm) {
                        return false;
                    }
                }
                Err(_) => return true,
            }
        }
    }

    /// Looks out for the next batch for a moment, and gives way to other threads meanwhile. Says
    /// whether one is there. Where messages come as fast as they are handled, going to sleep and
    /// being woken takes longer than handling them.
    fn await_batch(&self) -> bool {
        let begun = Instant::now();
        while self.lane.is_empty() {
            if begun.elapsed() >= LOOK_OUT {
                return false;
            }
            thread::yield_now();
        }
        true
    }

    fn tell_states(&self) {
        if let Some((states, callback)) = &self.states {
            while let Ok(change) = states.try_recv() {
                callback(&change);
            }
        }
    }

    /// Handles a batch. Says whether to go on.
    fn handle(&self, batch: Batch, calm: &mut Calm) -> bool {
        let messages = match batch {
            Batch::One(message) => {
                if let Some(mut message) = self.take(message) {
                    self.call(&mut message);
                }
                return true;
            }
            Batch::Many(messages) => messages,
        };
        let begun = Instant::now();
        let all = messages.len();
        let mut go_on = true;
        for (n, message) in messages.into_iter().enumerate() {
            // What is left is dropped, as if it were still in the queue.
            if self.expired.load(Ordering::Relaxed) {
                go_on = false;
                break;
            }
            if self
                .states
                .as_ref()
                .is_some_and(|(states, _)| !states.is_empty())
            {
                self.tell_states();
            }
            let Some(mut message) = self.take(message) else {
                continue;
            };
            self.call(&mut message);
            if !calm.is_calm() {
                continue;
            }
            let holds = held::hold(message);
            if n % LOOK_EVERY == LOOK_EVERY - 1 && begun.elapsed() >= MOST_HELD {
                calm.disturbed();
            }
            if !calm.is_calm() || holds >= MOST_SETTLED {
                held::settle();
            }
        }
        held::settle();
        calm.note(all, begun.elapsed());
        go_on
    }

    fn take(&self, message: Message) -> Option<Message> {
        let message = message.take()?;
        self.busy.0.store(message.source().index, Ordering::Relaxed);
        Some(message)
    }

    fn call(&self, message: &mut Message) {
        self.handling.handle(message);
        self.busy.0.store(IDLE, Ordering::Relaxed);
    }
}

/// Messages are acknowledged one by one as they are handled. Where many were handled and each took
/// next to no time, those of a batch are acknowledged together: otherwise each acknowledgement
/// wakes the network thread, which costs more than the handler. Should a handler be slow all of a
/// sudden, the acknowledgements before it wait for it, once: after that it is one by one again.
#[derive(Debug, Default)]
struct Calm {
    /// Messages handled quickly, one after the other.
    quick: usize,
}

/// So many have to be handled quickly first.
const CALM_AFTER: usize = 256;

/// Quick is at most this for each message, on average over a batch.
const QUICK: Duration = Duration::from_micros(10);

/// A batch whose handlers have taken this long is acknowledged so far.
const MOST_HELD: Duration = Duration::from_micros(500);

/// How long a worker looks out for the next batch before it sleeps.
const LOOK_OUT: Duration = Duration::from_micros(50);

/// How many messages are handled between two looks at the clock.
const LOOK_EVERY: usize = 8;

/// At most so many are acknowledged together.
const MOST_SETTLED: usize = 64;

impl Calm {
    fn is_calm(&self) -> bool {
        self.quick >= CALM_AFTER
    }

    fn disturbed(&mut self) {
        self.quick = 0;
    }

    fn note(&mut self, messages: usize, took: Duration) {
        let each = took / u32::try_from(messages.max(1)).unwrap_or(u32::MAX);
        match each <= QUICK {
            true => self.quick = self.quick.saturating_add(messages),
            false => self.disturbed(),
        }
    }
}
