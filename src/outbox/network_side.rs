//! What the network thread does with the outbox; everything here is called by that thread alone.

use std::time::Instant;

use crate::{
    outbox::{
        CarriedSize, Outbox, Waker,
        completion::Disposition,
        entry::Progress,
        send_batch::SendBatch,
        state::NetworkThread,
        suspicion::{ConnectionEnd, Suspicion, Verdict},
    },
    session::packet::{Control, Outgoing},
    supervise::stop::deadline_after,
};

/// What `take_or_park` has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The batch is to be sent, and then this is to be called again.
    Batch,
    /// The thread is parked: whatever comes from now on wakes it.
    Parked {
        /// When the first message that waits is too old.
        expires_at: Option<Instant>,
    },
    /// The engine has something to send that was to wake it, and the thread need not take anything
    /// before that is sent.
    Carried(CarriedSize),
    /// Nothing is taken and nobody is parked: first the engine has to prepare for this identifier.
    NextId(u16),
    /// The outbox is closed.
    Closed,
    /// The client was stopped on its own, and has sent what it had, or its time for that is over.
    Finished,
}

impl Outbox {
    /// The network thread has built its engine.
    pub(crate) fn attach(&self, waker: Box<dyn Waker>) {
        self.lock().waker = Some(waker);
    }

    /// There is a connection, and the network thread runs on it. It begins with these requests, the birth
    /// message, and what it repeats of the last one; without a session nothing is repeated, and what was
    /// unacknowledged goes to the front of the queue as new, or ends, as the settings say.
    pub(crate) fn connected(
        &self,
        session_present: bool,
        requests: impl IntoIterator<Item = Control>,
        birth: Option<Outgoing>,
    ) {
        let mut state = self.lock();
        if state.network == NetworkThread::Offline {
            state.network = NetworkThread::Running;
        }
        state.suspicion.connected();
        let mut repeats = Vec::new();
        if session_present {
            repeats = match state.suspicion.is_careful() {
                true => state.inflight.hold(),
                false => state.inflight.repeats(),
            };
        } else {
            state.session_lost(self.settings.replay);
        }
        state.preamble.clear();
        for request in requests {
            match state.ids.take_request() {
                Some(id) => state.preamble.push_back(request.into_packet(id)),
                None => state.controls.push_back(request),
            }
        }
        state.birth_due = birth;
        if let Some(birth) = state.take_birth() {
            state.preamble.push_back(birth);
        }
        state.preamble.extend(repeats);
        self.notify_drained(&state);
    }

    /// The connection is lost, before anybody is told: nothing wakes the thread from here on, and what does
    /// not wait for a connection is refused.
    pub(crate) fn lost(&self) {
        let mut state = self.lock();
        if state.network != NetworkThread::Closed {
            state.network = NetworkThread::Offline;
        }
        state.unsettled = true;
        self.room.notify_all();
        // A stop does not wait for a client that has no connection.
        self.drained.notify_all();
    }

    /// The connection is lost, and the network thread gives back what it did not send. `close` closes the
    /// engine's connection, and says whether what it carried comes back unsent. Acknowledgements and
    /// subscriptions belonged to the connection; messages stay.
    pub(crate) fn disconnected(
        &self,
        progress: &mut Vec<Progress>,
        unsent: &mut SendBatch,
        ended: ConnectionEnd,
        close: impl FnOnce() -> bool,
    ) -> Verdict {
        // Nothing wakes the engine from here on, so that what it carries comes back.
        {
            let mut state = self.lock();
            if state.network != NetworkThread::Closed {
                state.network = NetworkThread::Offline;
            }
            state.unsettled = true;
            state.preamble.clear();
            state.controls.clear();
        }
        let wake_unsent = close();
        let mut state = self.lock();
        for step in progress.drain(..) {
            state.apply(step, Disposition::ConnectionLost);
        }
        let verdict = state.disconnected(unsent, wake_unsent, ended, self.settings.max_closes);
        self.notify_drained(&state);
        self.drained.notify_all();
        // Whoever waits for room may be refused now, being offline.
        self.room.notify_all();
        verdict
    }

    /// There is no broker: the connections before ended because it went away, and on no message.
    pub(crate) fn broker_away(&self) {
        self.lock().suspicion = Suspicion::default();
    }

    /// Applies what the network thread has seen.
    pub(crate) fn apply(&self, progress: &mut Vec<Progress>) {
        if progress.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.network == NetworkThread::Parked {
            // What is answered frees identifiers, and the next one may not be the one that the engine was
            // prepared for: nothing is carried until the thread takes again.
            state.network = NetworkThread::Running;
        }
        for step in progress.drain(..) {
            state.apply(step, Disposition::Sent);
        }
        self.notify_drained(&state);
    }

    /// Applies what the network thread has seen, and takes what may leave: up to `most_bytes` and one packet
    /// more. If there is nothing, the thread is parked. `next_id` is the identifier that the engine would
    /// give to a packet that it carries.
    pub(crate) fn take_or_park(
        &self,
        progress: &mut Vec<Progress>,
        batch: &mut SendBatch,
        most_bytes: usize,
        next_id: Option<u16>,
    ) -> Taken {
        let mut state = self.lock();
        for step in progress.drain(..) {
            state.apply(step, Disposition::Sent);
        }
        state.is_sending = false;
        match state.network {
            NetworkThread::Closed => {
                self.notify_drained(&state);
                return Taken::Closed;
            }
            // A packet has woken it. From here on nothing is carried: the engine may be unable to take it
            // while it sends.
            NetworkThread::Parked => state.network = NetworkThread::Running,
            NetworkThread::Running | NetworkThread::Offline => {}
        }
        if let Some(finish_by) = state.finish_by {
            if state.is_drained() || Instant::now() >= finish_by {
                return Taken::Finished;
            }
        }
        if let Some(carried) = &state.carried {
            return Taken::Carried(carried.size());
        }
        let waiting = state.queue.len();
        state.take_batch(self.settings.max_age, most_bytes, batch);
        if state.queue.len() < waiting {
            self.room.notify_all();
        }
        // After the last messages have expired, too.
        self.notify_drained(&state);
        if !batch.is_empty() {
            return Taken::Batch;
        }
        if state.finish_by.is_some() && state.is_drained() {
            // The last message has expired.
            return Taken::Finished;
        }
        let prepared = next_id.or(state.ids.next());
        match state.ids.next() {
            Some(next) if prepared != Some(next) => Taken::NextId(next),
            _ => {
                state.network = NetworkThread::Parked;
                Taken::Parked {
                    expires_at: state.expires_at(self.settings.max_age),
                }
            }
        }
    }

    /// What a network thread that is about to disconnect sends before: the acknowledgements,
    /// SUBSCRIBEs and UNSUBSCRIBEs that wait, up to this many bytes.
    pub(crate) fn take_controls(&self, batch: &mut SendBatch, most_bytes: usize) {
        self.lock().take_controls(most_bytes, batch);
    }

    /// Whether the client was stopped on its own and is sending what it had.
    pub(crate) fn is_finishing(&self) -> bool {
        self.lock().finish_by.is_some()
    }

    /// Whether the engine carries something that is not sent yet.
    pub(crate) fn is_carrying(&self) -> bool {
        self.lock().carried.is_some()
    }

    /// The client has ended: every message that is left ends with it.
    pub(crate) fn end(&self) {
        self.close();
        let mut state = self.lock();
        state.waker = None;
        state.end_all();
    }

    /// Ends messages that are too old, for as long as there is no connection to do so. Says when to do
    /// that again.
    pub(crate) fn expire(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.expire(self.settings.max_age);
        let next = self.settings.max_age.and_then(|it| state.queue.expiry(it));
        self.room.notify_all();
        self.notify_drained(&state);
        next.or_else(|| deadline_after(self.settings.max_age?))
    }
}
