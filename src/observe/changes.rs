//! The announcement that a client does something else now.

use std::{
    sync::{
        Arc,
        mpsc::{RecvError, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::{
    observe::{
        cause::Cause,
        state::{ClientState, Outcome},
    },
    supervise::stream::Stream,
};

/// One change of one client's state.
///
/// ```
/// use mqtt_fleet::StateChange;
///
/// fn line(change: &StateChange) -> String {
///     format!("{} ({}): {}", change.client(), change.broker(), change.state())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StateChange {
    pub(crate) client: Arc<str>,
    pub(crate) broker: Arc<str>,
    pub(crate) state: ClientState,
    pub(crate) note: Option<Cause>,
    pub(crate) at: Instant,
}

impl StateChange {
    /// The client's name.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The broker it is about, as [`Client::broker`](crate::Client::broker) writes it.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// What it does from now on.
    pub fn state(&self) -> &ClientState {
        &self.state
    }

    /// Why a connection was lost, an attempt failed, or all of them did. A refused or lowered
    /// subscription is announced as a change that leaves the client connected and has
    /// [`Cause::SubscriptionRefused`] or [`Cause::SubscriptionLowered`] here.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.state {
            ClientState::Lost { cause } | ClientState::AttemptFailed { cause, .. } => Some(cause),
            ClientState::Ended {
                outcome:
                    Outcome::RetriesExhausted { last_error, .. }
                    | Outcome::NotMqtt { last_error }
                    | Outcome::Certificate { last_error },
            } => Some(last_error),
            _ => self.note.as_ref(),
        }
    }

    /// When it happened.
    pub fn at(&self) -> Instant {
        self.at
    }
}

/// The state changes of all clients, from the start of the fleet on.
///
/// A stream that nobody reads keeps the newest changes (64 and 16 for each client) and forgets
/// the oldest. It ends ("disconnected") when every client has ended. Clones share it: each change
/// goes to one of them.
///
/// ```
/// use mqtt_fleet::{ClientSpec, ClientState, Fleet, StateChanges};
///
/// fn wait_for_the_end_of_any(states: &StateChanges) -> Option<String> {
///     let change = states.iter().find(|change| change.state().is_ended())?;
///     Some(change.client().to_owned())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StateChanges(Stream<Announced, StateChange>);

impl StateChanges {
    pub(crate) fn new(changes: Receiver<Announced>) -> Self {
        Self(Stream::new(changes, |change| Some(*change)))
    }

    /// Waits for a change.
    ///
    /// # Errors
    ///
    /// When every client has ended and all changes were taken.
    pub fn recv(&self) -> Result<StateChange, RecvError> {
        self.0.recv()
    }

    /// Takes a change if one is there. Never waits.
    ///
    /// # Errors
    ///
    /// `Empty` now, or `Disconnected` for ever.
    pub fn try_recv(&self) -> Result<StateChange, TryRecvError> {
        self.0.try_recv()
    }

    /// Waits for a change, at most this long.
    ///
    /// # Errors
    ///
    /// `Timeout`, or `Disconnected` for ever.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<StateChange, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// Waits for one change after the other, until every client has ended.
    pub fn iter(&self) -> StateChangesIter {
        StateChangesIter(self.clone())
    }
}

impl IntoIterator for StateChanges {
    type Item = StateChange;
    type IntoIter = StateChangesIter;

    fn into_iter(self) -> StateChangesIter {
        StateChangesIter(self)
    }
}

impl IntoIterator for &StateChanges {
    type Item = StateChange;
    type IntoIter = StateChangesIter;

    fn into_iter(self) -> StateChangesIter {
        self.iter()
    }
}

/// What `for change in fleet.states()` runs over.
///
/// ```
/// fn lines(changes: mqtt_fleet::StateChanges) -> Vec<String> {
///     changes.into_iter().map(|change| change.state().to_string()).collect()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct StateChangesIter(StateChanges);

impl Iterator for StateChangesIter {
    type Item = StateChange;

    fn next(&mut self) -> Option<StateChange> {
        self.0.recv().ok()
    }
}

/// What goes through the channels: boxed, because a channel has all its room from the start, and most of it is
/// never used.
pub(crate) type Announced = Box<StateChange>;

/// The sending side of state changes: bounded, and it never waits. A listener that falls behind
/// loses the oldest changes, not the newest: the newest tell what is true now.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    listeners: Vec<(Sender<Announced>, Receiver<Announced>)>,
}

impl Announcer {
    /// One listener for each of `n`, with room for what this many clients can do in a moment.
    pub(crate) fn new(n: usize, clients: usize) -> Self {
        let capacity = 64 + 16 * clients;
        Self {
            listeners: (0..n).map(|_| bounded(capacity)).collect(),
        }
    }

    /// The receiving side of listener `n`.
    pub(crate) fn listener(&self, n: usize) -> Option<Receiver<Announced>> {
        self.listeners.get(n).map(|(_, receiver)| receiver.clone())
    }

    pub(crate) fn announce(&self, change: &StateChange) {
        for (sender, oldest) in &self.listeners {
            let mut change = Box::new(change.clone());
            while let Err(TrySendError::Full(returned)) = sender.try_send(change) {
                // Emptied meanwhile by the listener is as good: there is room then.
                let _ = oldest.try_recv();
                change = returned;
            }
        }
    }
}
