//! What the network thread does with the outbox; everything here is called by that thread alone.

use std::time::Instant;

use crate::{
    publish::{
        batch::Batch,
        flight::Repeat,
        message::{Outgoing, Progress},
        outbox::{
            BATCH_BYTES, Bell, Outbox,
            books::Listener,
            suspicion::{Ended, Suspicion, Turn, Verdict},
        },
        receipt::Fate,
        window::Growth,
    },
    spec::qos::QoS,
    supervise::stop::deadline_after,
};

impl Outbox {
    /// The network thread has built its connection's client.
    pub(crate) fn attach(&self, bell: Box<dyn Bell>) {
        self.lock().bell = Some(bell);
    }

    /// There is a connection, and the network thread is awake on it. Returns what it may begin
    /// with; without a session nothing is repeated, and what was unacknowledged goes to the front
    /// of the queue as new, or ends, as the settings say.
    pub(crate) fn connected(&self, session_present: bool, birth: Option<QoS>) -> Beginning {
        let mut inner = self.lock();
        if inner.listener == Listener::Away {
            inner.listener = Listener::Awake;
        }
        inner.opening = true;
        inner.suspicion.connected();
        let mut repeats = Vec::new();
        if session_present {
            let (again, lost) = match inner.suspicion.is_careful {
                true => inner.flight.hold(),
                false => inner.flight.repeats(),
            };
            repeats = again;
            for flying in lost {
                inner.window.acknowledged(flying.packet_id);
                inner.end_flying(flying, Fate::ConnectionLost);
            }
        } else {
            inner.session_lost(self.settings.replay);
        }
        inner.birth_due = birth;
        let birth_id = inner.take_birth();
        self.told(&inner);
        Beginning {
            repeats,
            birth_id,
            identifiers: inner.window.room(),
            last_id: inner.window.last(),
        }
    }

    /// The connection is lost, before anybody is told: nothing rings from here on, and what does
    /// not wait for a connection is refused.
    pub(crate) fn lost(&self) {
        let mut inner = self.lock();
        if inner.listener != Listener::Gone {
            inner.listener = Listener::Away;
        }
        inner.unsettled = true;
        self.room.notify_all();
        // A stop does not wait for a client that has no connection.
        self.drained.notify_all();
    }

    /// The connection is lost, and the network thread has given back what it did not feed and
    /// what rumqttc had: the bell if it was not written (`unwritten`), and what was not
    /// acknowledged, by identifier. Acknowledgements and subscriptions belonged to the
    /// connection; messages stay.
    pub(crate) fn disconnected(
        &self,
        progress: &mut Vec<Progress>,
        unfed: &mut Batch,
        ended: Ended,
        close: impl FnOnce() -> Backlog,
    ) -> Verdict {
        // No bell rings from here on, so that one that is out comes back with the backlog.
        {
            let mut inner = self.lock();
            if inner.listener != Listener::Gone {
                inner.listener = Listener::Away;
            }
            inner.unsettled = true;
            inner.opening = false;
            inner.bell_out = false;
            inner.controls.clear();
        }
        let backlog = close();
        let mut inner = self.lock();
        for step in progress.drain(..) {
            inner.apply(step, Fate::ConnectionLost);
        }
        for (packet_id, message) in backlog.unacknowledged {
            inner.flight.returned(packet_id, message);
        }
        let verdict = inner.ended(ended, self.settings.max_closes);
        for packet_id in inner.flight.forget_births() {
            inner.window.acknowledged(packet_id);
        }
        if let Some(stub) = inner.ringing.take() {
            match backlog.unwritten {
                Some(message) => inner.put_back(message, stub),
                // It was written, so far as rumqttc knows, and rumqttc keeps no QoS 0 message.
                None => inner.end_stub(stub, Fate::ConnectionLost),
            }
        }
        for (message, stub) in unfed.take_unfed().into_iter().rev() {
            inner.in_hand -= 1;
            inner.put_back(message, stub);
        }
        // rumqttc panicked with the message in its hands.
        if let Some(stub) = unfed.fed() {
            inner.in_hand -= 1;
            inner.end_stub(stub, Fate::ConnectionLost);
        }
        inner.unsettled = false;
        self.told(&inner);
        self.drained.notify_all();
        // Who waits for room may be refused now, being offline.
        self.room.notify_all();
        verdict
    }

    /// There is no broker: the connections before ended because it went away, and on no message.
    pub(crate) fn broker_away(&self) {
        self.lock().suspicion = Suspicion::default();
    }

    /// Takes note of what the network thread has seen.
    pub(crate) fn note(&self, progress: &mut Vec<Progress>) {
        if progress.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for step in progress.drain(..) {
            inner.apply(step, Fate::Sent);
        }
        self.told(&inner);
    }

    /// The network thread is about to sleep: take note of what it has seen, hand over what waits
    /// (all but the last to be fed to the encoder, the last as the bell), or note that it sleeps.
    pub(crate) fn settle(&self, progress: &mut Vec<Progress>, batch: &mut Batch) -> Settled {
        let mut inner = self.lock();
        for step in progress.drain(..) {
            inner.apply(step, Fate::Sent);
        }
        if inner.listener == Listener::Gone {
            self.told(&inner);
            return Settled::Closed;
        }
        inner.opening = false;
        if let Some(finish_by) = inner.finish_by {
            if inner.is_drained() || Instant::now() >= finish_by {
                return Settled::Finished;
            }
        }
        if inner.bell_out {
            self.told(&inner);
            return Settled::Ready {
                bell: Some(usize::MAX),
                expires_at: None,
            };
        }
        // Here rumqttc has taken note of everything that was handed over, and so has the window.
        if let Some(growth) = inner.window.grow() {
            return Settled::Outgrown(growth);
        }
        if let Some(packet_id) = inner.take_birth() {
            return Settled::Born { packet_id };
        }
        match inner.turn() {
            Turn::Free | Turn::Alone => {}
            Turn::Ping => {
                inner.suspicion.pinged();
                return Settled::Ping;
            }
            Turn::Repeat(repeat) => return Settled::Repeat(repeat),
        }
        let waiting = inner.publishes.len();
        inner.take_batch(self.settings.max_age, BATCH_BYTES, batch);
        // What is fed has to fit; the bell may have any size, being last.
        let bell = batch.pop_last().map(|(item, stub)| {
            let bytes = item.size();
            inner.in_hand -= usize::from(stub.is_some());
            inner.ring(item, stub);
            bytes
        });
        if bell.is_none() {
            inner.listener = Listener::Asleep;
        }
        let expires_at = inner.expires_at(self.settings.max_age);
        if inner.publishes.len() < waiting {
            self.room.notify_all();
        }
        // After the last messages have expired, too.
        self.told(&inner);
        Settled::Ready { bell, expires_at }
    }

    /// What a network thread that is about to disconnect sends before: the acknowledgements,
    /// SUBSCRIBEs and UNSUBSCRIBEs that wait, as many as can't make the encoder wait.
    pub(crate) fn take_controls(&self, batch: &mut Batch) {
        self.lock().take_controls(BATCH_BYTES, batch);
    }

    /// Whether the client was stopped on its own and is sending what it had.
    pub(crate) fn is_finishing(&self) -> bool {
        self.lock().finish_by.is_some()
    }

    /// Whether an item is in rumqttc's channel.
    pub(crate) fn is_bell_out(&self) -> bool {
        self.lock().bell_out
    }

    /// The client has ended: every message that is left ends with it.
    pub(crate) fn end(&self) {
        self.close();
        let mut inner = self.lock();
        inner.bell = None;
        inner.end_all();
    }

    /// Ends messages that are too old, for as long as there is no connection to do so. Says when to do
    /// that again.
    pub(crate) fn expire(&self) -> Option<Instant> {
        let mut inner = self.lock();
        inner.expire(self.settings.max_age);
        let next = self
            .settings
            .max_age
            .and_then(|it| inner.publishes.expiry(it));
        self.room.notify_all();
        self.told(&inner);
        next.or_else(|| deadline_after(self.settings.max_age?))
    }
}

/// What `settle` has come to.
#[derive(Debug)]
pub(crate) enum Settled {
    /// The network thread may sleep once it has fed what it was given.
    Ready {
        /// How many bytes are about to go out with the bell, at most, if there is one.
        bell: Option<usize>,
        /// When the first message that waits is too old.
        expires_at: Option<Instant>,
    },
    /// The outbox is closed.
    Closed,
    /// The client was stopped on its own, and has sent what it had, or its time for that is over.
    Finished,
    /// A ping has to go out before anything else.
    Ping,
    /// This has to be repeated before anything else.
    Repeat(Repeat),
    /// Nothing was handed over: first rumqttc needs more identifiers.
    Outgrown(Growth),
    /// Nothing was handed over: first comes the birth message, which has waited for this identifier.
    Born { packet_id: u16 },
}

/// What a new connection may begin with.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// What it repeats of the last one.
    pub(crate) repeats: Vec<Repeat>,
    /// The identifier of its birth message, 0 at QoS 0. `None` if there is none, or if it follows
    /// later: [`Settled::Born`].
    pub(crate) birth_id: Option<u16>,
    /// How many SUBSCRIBE and UNSUBSCRIBE packets find an identifier that is free.
    pub(crate) identifiers: u16,
    /// The last identifier that was used, 0 at first.
    pub(crate) last_id: u16,
}

/// What rumqttc gives back when its connection is lost.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The bell, if it is a publish that was not written.
    pub(crate) unwritten: Option<Outgoing>,
    /// What was written and not acknowledged.
    pub(crate) unacknowledged: Vec<(u16, Outgoing)>,
}
