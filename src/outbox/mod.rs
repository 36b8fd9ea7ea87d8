//! All that a client is to send, under one lock, and what wakes its network thread.
//!
//! Only the network thread writes to a connection. Whoever has something to send appends it here and, if
//! the network thread is parked inside its engine, wakes it. The network thread takes what may leave as
//! one batch, encodes it, and flushes it with one system call; when nothing may leave, it parks. Taking
//! and parking are one step under the lock ([`Outbox::take_or_park`]), so that an item is never left
//! behind while the thread is parked and no wake-up is under way.
//!
//! An engine that can't be woken without a packet to send carries the first one with the wake-up
//! ([`Waker`]). Until that is sent nothing else is taken, so that order is kept.
//!
//! The outbox also keeps the ledger: a message is in the queue, carried, in the network thread's hands, in
//! flight, or in one of the ledger's buckets, and changes place under the lock.

mod apply;
pub(crate) mod brief_wait;
pub(crate) mod completion;
mod end;
pub(crate) mod entry;
pub(crate) mod error;
mod garbage;
mod guard;
mod lose;
pub(crate) mod network_side;
pub(crate) mod packing;
mod queue;
pub(crate) mod receipt;
pub(crate) mod send_batch;
mod state;
pub(crate) mod suspicion;
mod sync;
mod take;
mod waker;

use std::{collections::VecDeque, mem, time::Instant};

pub(crate) use waker::{CarriedSize, Waker};

use crate::{
    observe::ledger::{Ledger, Unpromised},
    outbox::{
        completion::Completions,
        entry::Pending,
        garbage::Garbage,
        guard::Guard,
        packing::EntryContent,
        queue::PublishQueue,
        receipt::Receipt,
        state::{Admission, NetworkThread, State},
        suspicion::Suspicion,
        sync::{Condvar, Mutex},
        waker::CarriedItem,
    },
    session::{inflight::Inflight, packet::Control, packet_ids::PacketIds, publish::Publish},
    spec::outbox::{Offline, OutboxOverflow, OutboxSettings},
    supervise::panic::discard,
};

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Offline,
    Closed,
}

/// How long to wait for room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    /// `None` inside is for ever.
    Until(Option<Instant>),
}

pub(crate) struct Outbox {
    settings: OutboxSettings,
    state: Mutex<State>,
    /// Room for a publish, or no use waiting for it.
    room: Condvar,
    /// Nothing is in progress any more, or no use waiting for it.
    drained: Condvar,
    /// What the network thread waits for outside of rumqttc is there, or something else to do.
    brought: Condvar,
}

impl Outbox {
    pub(crate) fn new(settings: OutboxSettings) -> Self {
        let ids = PacketIds::new(settings.window);
        Self {
            settings,
            state: Mutex::new(State {
                network: NetworkThread::Offline,
                admission: Admission::All,
                finish_by: None,
                unsettled: false,
                waker: None,
                carried: None,
                awaited: 0,
                preamble: VecDeque::new(),
                controls: VecDeque::new(),
                queue: PublishQueue::default(),
                in_hand: 0,
                is_sending: false,
                inflight: Inflight::default(),
                ids,
                birth_due: None,
                completions: Completions::default(),
                ledger: Ledger::default(),
                suspicion: Suspicion::default(),
                unpromised: Unpromised::default(),
                garbage: Garbage::default(),
            }),
            room: Condvar::new(),
            drained: Condvar::new(),
            brought: Condvar::new(),
        }
    }

    /// Takes a message, or gives it back. Any thread.
    pub(crate) fn offer<'a>(
        &self,
        message: Publish<'a>,
        patience: Patience,
    ) -> Result<Receipt, (Publish<'a>, NotTaken)> {
        let message = EntryContent::prepare(message);
        let mut state = self.lock();
        loop {
            let is_closed = match state.admission {
                Admission::All => state.network == NetworkThread::Closed,
                Admission::WhileConnected => {
                    matches!(
                        state.network,
                        NetworkThread::Offline | NetworkThread::Closed
                    )
                }
                Admission::Nothing => true,
            };
            if is_closed {
                return Err((message, NotTaken::Closed));
            }
            if state.network == NetworkThread::Offline && self.settings.offline == Offline::Reject {
                return Err((message, NotTaken::Offline));
            }
            if state.queue.len() < self.settings.capacity {
                break;
            }
            state.expire(self.settings.max_age);
            if state.queue.len() < self.settings.capacity {
                break;
            }
            if self.settings.overflow == OutboxOverflow::DropOldest {
                state.drop_oldest(self.settings.capacity);
                break;
            }
            let Patience::Until(deadline) = patience else {
                return Err((message, NotTaken::Full));
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err((message, NotTaken::Full));
            }
            // Nobody else may come by when the oldest message grows too old and makes room.
            let expiry = self.settings.max_age.and_then(|it| state.queue.expiry(it));
            // The lock is given back, for how long nobody knows.
            state.garbage.woken.wake();
            match deadline.into_iter().chain(expiry).min() {
                None => self.room.wait(&mut state.state),
                Some(first) => _ = self.room.wait_until(&mut state.state, first),
            }
        }
        let completion = state.completions.open();
        let receipt = Receipt::new(completion.clone());
        state.ledger.accepted += 1;
        let pending = Pending {
            completion,
            accepted_at: self.settings.max_age.map(|_| Instant::now()),
            was_sent: false,
        };
        let copied = state.queue.push(message, pending);
        if state.awaited > 0 && state.admits_next() {
            self.end_brief_wait(&mut state);
        }
        self.wake_if_parked(&mut state);
        if self.settings.max_age.is_some() {
            // Several may have expired and made room at once.
            self.room.notify_all();
        }
        drop(state);
        // Its payload may be of the user's own type, whose `Drop` may panic.
        discard(copied);
        Ok(receipt)
    }

    /// Takes a control item. Says whether there is a connection that it can go to.
    pub(crate) fn control(&self, control: Control) -> bool {
        self.controls([control].into_iter())
    }

    /// Takes control items. Says whether there is a connection that they can go to.
    pub(crate) fn controls(&self, controls: impl Iterator<Item = Control>) -> bool {
        let mut state = self.lock();
        if matches!(
            state.network,
            NetworkThread::Offline | NetworkThread::Closed
        ) {
            return false;
        }
        let before = state.controls.len();
        state.controls.extend(controls);
        if state.awaited > 0 {
            let mut new = state.controls.range(before..);
            let is_urgent = new.any(|control| !matches!(control, Control::Acknowledge { .. }));
            if is_urgent || state.controls.len() >= state.awaited {
                self.end_brief_wait(&mut state);
            }
        }
        self.wake_if_parked(&mut state);
        true
    }

    /// Whether there is a connection that control items can go to.
    pub(crate) fn is_connected(&self) -> bool {
        let state = self.lock();
        !matches!(
            state.network,
            NetworkThread::Offline | NetworkThread::Closed
        )
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// What became of every message, at this moment.
    pub(crate) fn ledger(&self) -> Ledger {
        let state = self.lock();
        Ledger {
            // Counted where the messages are, not derived from the other figures: one that got
            // lost on the way would show.
            in_progress: state.in_progress() as u64,
            ..state.ledger
        }
    }

    /// Which of the failed messages no promise was broken for.
    pub(crate) fn unpromised(&self) -> Unpromised {
        self.lock().unpromised
    }

    /// The fleet stops: messages are only taken while there is a connection. One that were taken
    /// without would not be sent any more, and nobody would make room for those that wait.
    pub(crate) fn take_while_connected(&self) {
        let mut state = self.lock();
        if state.admission == Admission::All {
            state.admission = Admission::WhileConnected;
        }
        self.room.notify_all();
    }

    /// No message is taken any more; what is here still goes out.
    pub(crate) fn drain(&self) {
        self.lock().admission = Admission::Nothing;
        self.room.notify_all();
    }

    /// The client is stopped on its own: no message is taken any more, and the network thread sends
    /// what is here until then. Says whether there is nothing to send, or no connection.
    pub(crate) fn finish(&self, by: Option<Instant>) -> bool {
        let mut state = self.lock();
        state.admission = Admission::Nothing;
        self.room.notify_all();
        let is_offline = matches!(
            state.network,
            NetworkThread::Offline | NetworkThread::Closed
        );
        if is_offline || state.is_drained() || by.is_none() {
            return true;
        }
        if state.finish_by.is_none() {
            state.finish_by = by;
        }
        false
    }

    /// Waits until everything has gone out and ended, the client ends, or the deadline. Without a
    /// connection it waits only if that is asked for.
    pub(crate) fn wait_drained(&self, deadline: Option<Instant>, also_offline: bool) {
        let mut state = self.lock();
        let is_over = |state: &State| match state.network {
            NetworkThread::Closed => true,
            NetworkThread::Offline => state.is_drained() || !also_offline,
            NetworkThread::Running | NetworkThread::Parked => state.is_drained(),
        };
        while !is_over(&state) {
            match deadline {
                None => self.drained.wait(&mut state.state),
                Some(deadline) => {
                    if self
                        .drained
                        .wait_until(&mut state.state, deadline)
                        .timed_out()
                    {
                        return;
                    }
                }
            }
        }
    }

    /// No message is taken any more; callers that wait for room are released, and the network thread is
    /// woken so that it can disconnect. The caller has raised the client's stop signal before.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.network == NetworkThread::Parked {
            state.controls.push_front(Control::Disconnect);
            self.wake_if_parked(&mut state);
        }
        if state.network == NetworkThread::Offline && !state.unsettled {
            // Nothing will be sent any more, and the network thread may be a long time coming: it
            // may hang in a name look-up. Nobody has to wait for a receipt until then.
            state.end_all();
        }
        state.network = NetworkThread::Closed;
        self.end_brief_wait(&mut state);
        self.room.notify_all();
        self.drained.notify_all();
    }

    fn lock(&self) -> Guard<'_> {
        Guard::new(self.state.lock())
    }

    /// The network thread has something to do: it need not look out for more.
    fn end_brief_wait(&self, state: &mut State) {
        if mem::take(&mut state.awaited) > 0 {
            self.brought.notify_one();
        }
    }

    fn wake_if_parked(&self, state: &mut State) {
        if state.network != NetworkThread::Parked || !state.has_next() {
            return;
        }
        let Some(waker) = state.waker.take() else {
            return;
        };
        if waker.wake() {
            state.network = NetworkThread::Running;
        } else if let Some((packet, carried)) = state.take_one(self.settings.max_age) {
            let is_publish = matches!(carried, CarriedItem::Publish { .. });
            state.carried = Some(carried);
            match waker.wake_with(packet) {
                Ok(()) => state.network = NetworkThread::Running,
                // The engine has room for what it carries. If it refuses all the same, the item is put back,
                // and the next packet or ping wakes the thread.
                Err(packet) => state.refused(packet),
            }
            if is_publish {
                self.room.notify_one();
            }
        }
        state.waker = Some(waker);
    }

    /// Tells those that wait for the end of everything.
    fn notify_drained(&self, state: &State) {
        if state.admission == Admission::Nothing && state.is_drained() {
            self.drained.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
