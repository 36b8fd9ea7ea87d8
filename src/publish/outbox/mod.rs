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

use std::{collections::VecDeque, sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};

use crate::{
    publish::{
        flight::{Flight, Repeat},
        message::{Control, Item, Outgoing, Parcel, Progress},
        outbox::books::{Books, Entry, Listener},
        receipt::{Fate, Receipt, Slots},
        window::{Ahead, Window},
    },
    spec::{
        outbox::{Offline, OutboxOverflow, OutboxSettings},
        qos::QoS,
    },
    supervise::ledger::Ledger,
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
}

impl Outbox {
    pub(crate) fn new(settings: OutboxSettings) -> Self {
        let window = Window::new(settings.window);
        Self {
            settings,
            inner: Mutex::new(Books {
                listener: Listener::Away,
                draining: false,
                bell: None,
                bell_out: false,
                ringing: None,
                controls: VecDeque::new(),
                publishes: VecDeque::new(),
                in_hand: 0,
                flight: Flight::default(),
                window,
                slots: Slots::default(),
                ledger: Ledger::default(),
            }),
            room: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// The network thread has built its connection's client.
    pub(crate) fn attach(&self, bell: Box<dyn Bell>) {
        self.inner.lock().bell = Some(bell);
    }

    /// Takes a message, or gives it back. Any thread.
    pub(crate) fn offer(
        &self,
        message: Outgoing,
        patience: Patience,
    ) -> Result<Receipt, (Outgoing, Refusal)> {
        let mut inner = self.inner.lock();
        loop {
            if inner.draining || inner.listener == Listener::Gone {
                return Err((message, Refusal::Closed));
            }
            if inner.listener == Listener::Away && self.settings.offline == Offline::Reject {
                return Err((message, Refusal::Offline));
            }
            if inner.publishes.len() < self.settings.capacity {
                break;
            }
            inner.expire_front(self.settings.max_age);
            if inner.publishes.len() < self.settings.capacity {
                break;
            }
            if self.settings.overflow == OutboxOverflow::DropOldest {
                inner.drop_oldest(self.settings.capacity);
                break;
            }
            match patience {
                Patience::None => return Err((message, Refusal::Full)),
                Patience::Until(None) => self.room.wait(&mut inner),
                Patience::Until(Some(deadline)) => {
                    let timed_out = self.room.wait_until(&mut inner, deadline).timed_out();
                    if timed_out && inner.publishes.len() >= self.settings.capacity {
                        return Err((message, Refusal::Full));
                    }
                }
            }
        }
        let slot = inner.slots.open();
        let receipt = Receipt::new(Arc::clone(&slot));
        inner.ledger.accepted += 1;
        inner.publishes.push_back(Entry {
            message,
            slot,
            accepted_at: self.settings.max_age.map(|_| Instant::now()),
            was_sent: false,
        });
        self.ring_if_asleep(&mut inner);
        if self.settings.max_age.is_some() {
            // Several may have expired and made room at once.
            self.room.notify_all();
        }
        Ok(receipt)
    }

    /// Takes a control item. Says whether there is a connection that it can go to.
    pub(crate) fn control(&self, control: Control) -> bool {
        let mut inner = self.inner.lock();
        if matches!(inner.listener, Listener::Away | Listener::Gone) {
            return false;
        }
        inner.controls.push_back(control);
        self.ring_if_asleep(&mut inner);
        true
    }

    /// Whether there is a connection that control items can go to.
    pub(crate) fn is_connected(&self) -> bool {
        let inner = self.inner.lock();
        !matches!(inner.listener, Listener::Away | Listener::Gone)
    }

    /// How many messages wait.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().publishes.len()
    }

    /// What became of every message, at this moment.
    pub(crate) fn ledger(&self) -> Ledger {
        let inner = self.inner.lock();
        Ledger {
            // Counted where the messages are, not derived from the other figures: one that got
            // lost on the way would show.
            in_progress: inner.in_progress() as u64,
            ..inner.ledger
        }
    }

    /// No message is taken any more; what is here still goes out.
    pub(crate) fn drain(&self) {
        self.inner.lock().draining = true;
        self.room.notify_all();
    }

    /// Waits until everything has gone out and ended, the client ends, or the deadline.
    pub(crate) fn wait_drained(&self, deadline: Option<Instant>) {
        let mut inner = self.inner.lock();
        while !inner.is_drained() && inner.listener != Listener::Gone {
            match deadline {
                None => self.drained.wait(&mut inner),
                Some(deadline) => {
                    if self.drained.wait_until(&mut inner, deadline).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// No message is taken any more; who waits for room is released, and the network thread is
    /// woken so that it can disconnect. The caller has raised the client's stop signal before.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        if inner.listener == Listener::Asleep {
            inner.controls.push_front(Control::Disconnect);
            self.ring_if_asleep(&mut inner);
        }
        if inner.listener == Listener::Away {
            // Nothing will be sent any more, and the network thread may be a long time coming: it
            // may hang in a name look-up. Nobody has to wait for a receipt until then.
            inner.end_all();
        }
        inner.listener = Listener::Gone;
        self.room.notify_all();
        self.drained.notify_all();
    }

    /// The acknowledgements that wait, for a network thread that is about to disconnect.
    pub(crate) fn take_acknowledgements(&self) -> Vec<Control> {
        let mut inner = self.inner.lock();
        let controls = std::mem::take(&mut inner.controls).into_iter();
        controls
            .filter(|control| matches!(control, Control::Acknowledge { .. }))
            // What more there is could make the encoder wait; the broker sends those again.
            .take(BATCH_BYTES / 4)
            .collect()
    }

    /// Whether an item is in rumqttc's channel.
    pub(crate) fn is_bell_out(&self) -> bool {
        self.inner.lock().bell_out
    }

    /// The client has ended: every message that is left ends with it.
    pub(crate) fn end(&self) {
        self.close();
        let mut inner = self.inner.lock();
        inner.bell = None;
        inner.end_all();
    }

    /// Ends messages that are too old, for as long as there is no connection to do so.
    pub(crate) fn expire(&self) {
        let mut inner = self.inner.lock();
        inner.expire_front(self.settings.max_age);
        self.room.notify_all();
        self.told(&inner);
    }

    /// There is a connection, and the network thread is awake on it. Returns what it may begin
    /// with; without a session nothing is repeated, and what was unacknowledged goes to the front
    /// of the queue as new, or ends, as the settings say.
    pub(crate) fn connected(&self, session_present: bool, birth: Option<QoS>) -> Beginning {
        let mut inner = self.inner.lock();
        if inner.listener == Listener::Away {
            inner.listener = Listener::Awake;
        }
        let mut repeats = Vec::new();
        if session_present {
            let (again, lost) = inner.flight.repeats();
            repeats = again;
            for slot in lost {
                inner.end(slot, Fate::ConnectionLost);
            }
        } else {
            inner.session_lost(self.settings.replay);
        }
        let birth_id = birth
            .filter(|qos| *qos != QoS::AtMostOnce)
            .and_then(|qos| inner.expect_birth(qos));
        self.told(&inner);
        Beginning {
            repeats,
            birth_id: birth_id.unwrap_or(0),
            identifiers: inner.window.room(),
        }
    }

    /// The connection is lost, before anybody is told: nothing rings from here on, and what does
    /// not wait for a connection is refused.
    pub(crate) fn lost(&self) {
        let mut inner = self.inner.lock();
        if inner.listener != Listener::Gone {
            inner.listener = Listener::Away;
        }
        self.room.notify_all();
    }

    /// The connection is lost, and the network thread has given back what it did not feed and
    /// what rumqttc had: the bell if it was not written (`unwritten`), and what was not
    /// acknowledged, by identifier. Acknowledgements and subscriptions belonged to the
    /// connection; messages stay.
    pub(crate) fn disconnected(
        &self,
        progress: &mut Vec<Progress>,
        unfed: &mut Vec<Parcel>,
        close: impl FnOnce() -> Backlog,
    ) {
        // No bell rings from here on, so that one that is out comes back with the backlog.
        {
            let mut inner = self.inner.lock();
            if inner.listener != Listener::Gone {
                inner.listener = Listener::Away;
            }
            inner.bell_out = false;
            inner.controls.clear();
        }
        let backlog = close();
        let mut inner = self.inner.lock();
        for step in progress.drain(..) {
            inner.apply(step, Fate::ConnectionLost);
        }
        for (packet_id, message) in backlog.unacknowledged {
            inner.flight.returned(packet_id, message);
        }
        for packet_id in inner.flight.forget_births() {
            inner.window.acknowledged(packet_id);
        }
        if let Some(stub) = inner.ringing.take() {
            match backlog.unwritten {
                Some(message) => inner.put_back(message, stub),
                // It was written, so far as rumqttc knows, and rumqttc keeps no QoS 0 message.
                None => inner.end(stub.slot, Fate::ConnectionLost),
            }
        }
        for parcel in unfed.drain(..).rev() {
            let Some(stub) = parcel.stub else { continue };
            inner.in_hand -= 1;
            match parcel.item {
                Item::Publish(message) => inner.put_back(message, stub),
                // rumqttc panicked with the message in its hands.
                Item::Control(_) => inner.end(stub.slot, Fate::ConnectionLost),
            }
        }
        self.told(&inner);
        // Who waits for room may be refused now, being offline.
        self.room.notify_all();
    }

    /// Takes note of what the network thread has seen.
    pub(crate) fn note(&self, progress: &mut Vec<Progress>) {
        if progress.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        for step in progress.drain(..) {
            inner.apply(step, Fate::Sent);
        }
        self.told(&inner);
    }

    /// The network thread is about to sleep: take note of what it has seen, hand over what waits
    /// (all but the last to be fed to the encoder, the last as the bell), or note that it sleeps.
    /// Says whether it may: not once the outbox is closed.
    pub(crate) fn settle(&self, progress: &mut Vec<Progress>, parcels: &mut Vec<Parcel>) -> bool {
        let mut inner = self.inner.lock();
        for step in progress.drain(..) {
            inner.apply(step, Fate::Sent);
        }
        if inner.listener == Listener::Gone {
            self.told(&inner);
            return false;
        }
        if inner.bell_out {
            self.told(&inner);
            return true;
        }
        let waiting = inner.publishes.len();
        let mut ahead = Ahead::default();
        let mut bytes = 0;
        let mut last: Option<Parcel> = None;
        while bytes < BATCH_BYTES {
            let Some(parcel) = inner.take(self.settings.max_age, &mut ahead) else {
                break;
            };
            bytes += parcel.item.size();
            // What is fed has to fit; the bell may have any size, being last.
            if let Some(earlier) = last.replace(parcel) {
                inner.in_hand += usize::from(earlier.stub.is_some());
                parcels.push(earlier);
            }
        }
        match last {
            Some(parcel) => inner.ring(parcel),
            None => inner.listener = Listener::Asleep,
        }
        if inner.publishes.len() < waiting {
            self.room.notify_all();
        }
        // After the last messages have expired, too.
        self.told(&inner);
        true
    }

    fn ring_if_asleep(&self, inner: &mut Books) {
        if inner.listener != Listener::Asleep {
            return;
        }
        if let Some(parcel) = inner.take(self.settings.max_age, &mut Ahead::default()) {
            let is_publish = parcel.stub.is_some();
            inner.ring(parcel);
            if is_publish {
                self.room.notify_one();
            }
        }
    }

    /// Tells who waits for the end of everything.
    fn told(&self, inner: &Books) {
        if inner.draining && inner.is_drained() {
            self.drained.notify_all();
        }
    }
}

/// What a new connection may begin with.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// What it repeats of the last one.
    pub(crate) repeats: Vec<Repeat>,
    /// The identifier of its birth message, 0 at QoS 0.
    pub(crate) birth_id: u16,
    /// How many SUBSCRIBE and UNSUBSCRIBE packets find an identifier that is free.
    pub(crate) identifiers: u16,
}

/// What rumqttc gives back when its connection is lost.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The bell, if it is a publish that was not written.
    pub(crate) unwritten: Option<Outgoing>,
    /// What was written and not acknowledged.
    pub(crate) unacknowledged: Vec<(u16, Outgoing)>,
}

#[cfg(test)]
mod tests;
