//! A thread that runs handlers, and the state callback where the fleet gave it to a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crossbeam_channel::{Receiver, never, select};

use crate::{
    receive::{
        calm::{Calm, LOOK_EVERY, LookOut, MOST_HELD, MOST_SETTLED},
        handler::Handling,
        held,
        lane::Batch,
        message::Message,
    },
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
        let mut look_out = LookOut::default();
        let none = never();
        loop {
            // All that is there first: waiting in `select!` costs more than looking.
            if !self.drain(&mut calm) {
                return;
            }
            if calm.is_calm() && look_out.until(|| !self.lane.is_empty()) {
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
            // Acknowledgements that are held make it worth to look at the clock each time.
            let look = holds > 0 || n % LOOK_EVERY == LOOK_EVERY - 1;
            if look && begun.elapsed() >= MOST_HELD {
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
