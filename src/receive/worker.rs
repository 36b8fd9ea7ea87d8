//! A thread that runs handlers, and the state callback where the fleet gave it to a worker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, never, select};

use crate::{
    receive::{handler::Handling, message::Message},
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
    pub(crate) lane: Receiver<Message>,
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
        let none = never();
        loop {
            // All that is there first: waiting in `select!` costs more than looking.
            if !self.drain() {
                return;
            }
            let states = self.states.as_ref().map_or(&none, |(states, _)| states);
            select! {
                recv(self.lane) -> message => match message {
                    Ok(message) => self.handle(message),
                    // Every client has ended. The last state changes may still come.
                    Err(_) => self.lane = never(),
                },
                recv(states) -> change => match (change, &self.states) {
                    (Ok(change), Some((_, callback))) => callback(&change),
                    _ => self.states = None,
                },
                recv(self.closing) -> _ => {
                    self.drain();
                    return;
                }
            }
        }
    }

    /// Handles all that waits. Says whether to go on.
    fn drain(&self) -> bool {
        loop {
            if self.expired.load(Ordering::Relaxed) {
                return false;
            }
            if let Some((states, callback)) = &self.states {
                while let Ok(change) = states.try_recv() {
                    callback(&change);
                }
            }
            match self.lane.try_recv() {
                Ok(message) => self.handle(message),
                Err(_) => return true,
            }
        }
    }

    fn handle(&self, message: Message) {
        let Some(message) = message.take() else {
            return;
        };
        let index = message.source().index;
        self.busy.0.store(index, Ordering::Relaxed);
        self.handling.handle(message);
        self.busy.0.store(IDLE, Ordering::Relaxed);
    }
}
