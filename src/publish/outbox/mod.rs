//! All that a client is to send, under one lock, and the bell that wakes its network thread.
//!
//! Nobody but the network thread writes to a connection. Whoever has something to send appends it
//! here. If the network thread sleeps inside rumqttc, the front item is handed to rumqttc's own
//! channel: that wakes the thread. This item is the *bell*. While a bell is out, others only
//! append; when the network thread has seen the bell go out, it takes what has come meanwhile: it
//! feeds all but the last item straight to the encoder, and the last one is the next bell, whose
//! processing flushes them together.
//!
//! The outbox also keeps the ledger: a message is in the queue, in the bell, in the network
//! thread's hands, in flight, or in one of the ledger's buckets, and changes place under the lock.

mod books;
mod locked;
pub(crate) mod moment;
pub(crate) mod network_side;
mod queue;
pub(crate) mod suspicion;

use std::{collections::VecDeque, mem, time::Instant};

use parking_lot::{Condvar, Mutex};

use crate::{
    publish::{
        flight::Flight,
        message::{Control, Item, Outgoing, Stub},
        outbox::{
            books::{Books, Listener, Taking},
            locked::{Locked, Spent},
            queue::Queue,
            suspicion::Suspicion,
        },
        receipt::{Receipt, Slots},
        window::Window,
    },
    spec::outbox::{Offline, OutboxOverflow, OutboxSettings},
    supervise::ledger::{Ledger, Unpromised},
};

/// As many encoded bytes are handed over at once. rumqttc's encoder takes anything without
/// waiting while it holds less than 8 KiB.
pub(crate) const BATCH_BYTES: usize = 7_000;

/// Hands one item to the connection and so wakes its thread. Never waits.
pub(crate) trait Bell: Send {
    /// Gives the item back if it was not taken.
    fn ring(&self, item: Item) -> Result<(), Item>;
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
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
    inner: Mutex<Books>,
    /// Room for a publish, or no use waiting for it.
    room: Condvar,
    /// Nothing is in progress any more, or no use waiting for it.
    drained: Condvar,
    /// What the network thread waits for outside of rumqttc is there, or something else to do.
    brought: Condvar,
}

impl Outbox {
    pub(crate) fn new(settings: OutboxSettings) -> Self {
        let window = Window::new(settings.window);
        Self {
            settings,
            inner: Mutex::new(Books {
                listener: Listener::Away,
                taking: Taking::All,
                finish_by: None,
                opening: false,
                unsettled: false,
                bell: None,
                bell_out: false,
                awaited: 0,
                ringing: None,
                controls: VecDeque::new(),
                publishes: Queue::default(),
                in_hand: 0,
                flight: Flight::default(),
                window,
                birth_due: None,
                slots: Slots::default(),
                ledger: Ledger::default(),
                suspicion: Suspicion::default(),
                unpromised: Unpromised::default(),
                spent: Spent::default(),
            }),
            room: Condvar::new(),
            drained: Condvar::new(),
            brought: Condvar::new(),
        }
    }

    /// Takes a message, or gives it back. Any thread.
    pub(crate) fn offer(
        &self,
        message: Outgoing,
        patience: Patience,
    ) -> Result<Receipt, (Outgoing, Refusal)> {
        let mut inner = self.lock();
        loop {
            let is_closed = match inner.taking {
                Taking::All => inner.listener == Listener::Gone,
                Taking::WhileConnected => {
                    matches!(inner.listener, Listener::Away | Listener::Gone)
                }
                Taking::Nothing => true,
            };
            if is_closed {
                return Err((message, Refusal::Closed));
            }
            if inner.listener == Listener::Away && self.settings.offline == Offline::Reject {
                return Err((message, Refusal::Offline));
            }
            if inner.publishes.len() < self.settings.capacity {
                break;
            }
            inner.expire(self.settings.max_age);
            if inner.publishes.len() < self.settings.capacity {
                break;
            }
            if self.settings.overflow == OutboxOverflow::DropOldest {
                inner.drop_oldest(self.settings.capacity);
                break;
            }
            let Patience::Until(deadline) = patience else {
                return Err((message, Refusal::Full));
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err((message, Refusal::Full));
            }
            // Nobody else may come by when the oldest message grows too old and makes room.
            let expiry = self
                .settings
                .max_age
                .and_then(|it| inner.publishes.expiry(it));
            // The lock is given back, for how long nobody knows.
            inner.spent.woken.wake();
            match deadline.into_iter().chain(expiry).min() {
                None => self.room.wait(&mut inner.books),
                Some(first) => _ = self.room.wait_until(&mut inner.books, first),
            }
        }
        let slot = inner.slots.open();
        let receipt = Receipt::new(slot.clone());
        inner.ledger.accepted += 1;
        let stub = Stub {
            slot,
            accepted_at: self.settings.max_age.map(|_| Instant::now()),
            was_sent: false,
            copy: None,
        };
        let copied = if inner.rings_at_once(message.qos) {
            let stub = stub.with_copy_of(&message);
            inner.ring(Item::Publish(message), Some(stub));
            None
        } else {
            let copied = inner.publishes.push(message, stub);
            if inner.awaited > 0 && inner.admits_next() {
                self.end_moment(&mut inner);
            }
            self.ring_if_asleep(&mut inner);
            copied
        };
        if self.settings.max_age.is_some() {
            // Several may have expired and made room at once.
            self.room.notify_all();
        }
        drop(inner);
        drop(copied);
        Ok(receipt)
    }

    /// Takes a control item. Says whether there is a connection that it can go to.
    pub(crate) fn control(&self, control: Control) -> bool {
        self.controls([control].into_iter())
    }

    /// Takes control items. Says whether there is a connection that they can go to.
    pub(crate) fn controls(&self, controls: impl Iterator<Item = Control>) -> bool {
        let mut inner = self.lock();
        if matches!(inner.listener, Listener::Away | Listener::Gone) {
            return false;
        }
        let before = inner.controls.len();
        inner.controls.extend(controls);
        if inner.awaited > 0 {
            let mut new = inner.controls.range(before..);
            let is_urgent = new.any(|control| !matches!(control, Control::Acknowledge { .. }));
            if is_urgent || inner.controls.len() >= inner.awaited {
                self.end_moment(&mut inner);
            }
        }
        self.ring_if_asleep(&mut inner);
        true
    }

    /// Whether there is a connection that control items can go to.
    pub(crate) fn is_connected(&self) -> bool {
        let inner = self.lock();
        !matches!(inner.listener, Listener::Away | Listener::Gone)
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().publishes.len()
    }

    /// What became of every message, at this moment.
    pub(crate) fn ledger(&self) -> Ledger {
        let inner = self.lock();
        Ledger {
            // Counted where the messages are, not derived from the other figures: one that got
            // lost on the way would show.
            in_progress: inner.in_progress() as u64,
            ..inner.ledger
        }
    }

    /// Which of the failed messages no promise was broken for.
    pub(crate) fn unpromised(&self) -> Unpromised {
        self.lock().unpromised
    }

    /// The fleet stops: messages are only taken while there is a connection. One that were taken
    /// without would not be sent any more, and whoever waits for room would wait in vain.
    pub(crate) fn take_while_connected(&self) {
        let mut inner = self.lock();
        if inner.taking == Taking::All {
            inner.taking = Taking::WhileConnected;
        }
        self.room.notify_all();
    }

    /// No message is taken any more; what is here still goes out.
    pub(crate) fn drain(&self) {
        self.lock().taking = Taking::Nothing;
        self.room.notify_all();
    }

    /// The client is stopped on its own: no message is taken any more, and the network thread sends
    /// what is here until then. Says whether there is nothing to send, or no connection.
    pub(crate) fn finish(&self, by: Option<Instant>) -> bool {
        let mut inner = self.lock();
        inner.taking = Taking::Nothing;
        self.room.notify_all();
        let is_offline = matches!(inner.listener, Listener::Away | Listener::Gone);
        if is_offline || inner.is_drained() || by.is_none() {
            return true;
        }
        if inner.finish_by.is_none() {
            inner.finish_by = by;
        }
        false
    }

    /// Waits until everything has gone out and ended, the client ends, or the deadline. Without a
    /// connection it waits only if that is asked for.
    pub(crate) fn wait_drained(&self, deadline: Option<Instant>, also_offline: bool) {
        let mut inner = self.lock();
        let is_over = |inner: &Books| match inner.listener {
            Listener::Gone => true,
            Listener::Away => inner.is_drained() || !also_offline,
            Listener::Awake | Listener::Asleep => inner.is_drained(),
        };
        while !is_over(&inner) {
            match deadline {
                None => self.drained.wait(&mut inner.books),
                Some(deadline) => {
                    if self
                        .drained
                        .wait_until(&mut inner.books, deadline)
                        .timed_out()
                    {
                        return;
                    }
                }
            }
        }
    }

    /// No message is taken any more; who waits for room is released, and the network thread is
    /// woken so that it can disconnect. The caller has raised the client's stop signal before.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        if inner.listener == Listener::Asleep {
            inner.controls.push_front(Control::Disconnect);
            self.ring_if_asleep(&mut inner);
        }
        if inner.listener == Listener::Away && !inner.unsettled {
            // Nothing will be sent any more, and the network thread may be a long time coming: it
            // may hang in a name look-up. Nobody has to wait for a receipt until then.
            inner.end_all();
        }
        inner.listener = Listener::Gone;
        self.end_moment(&mut inner);
        self.room.notify_all();
        self.drained.notify_all();
    }

    fn lock(&self) -> Locked<'_> {
        Locked::new(self.inner.lock())
    }

    /// The network thread has something to do: it need not look out for more.
    fn end_moment(&self, inner: &mut Books) {
        if mem::take(&mut inner.awaited) > 0 {
            self.brought.notify_one();
        }
    }

    fn ring_if_asleep(&self, inner: &mut Books) {
        if inner.listener != Listener::Asleep {
            return;
        }
        if let Some((item, stub)) = inner.take(self.settings.max_age) {
            let is_publish = stub.is_some();
            inner.ring(item, stub);
            if is_publish {
                self.room.notify_one();
            }
        }
    }

    /// Tells who waits for the end of everything.
    fn told(&self, inner: &Books) {
        if inner.taking == Taking::Nothing && inner.is_drained() {
            self.drained.notify_all();
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
