//! The one true state of a client, and the waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{
    observe::{
        cause::Cause,
        changes::{Announcer, StateChange},
        failure::Failure,
        losses::Losses,
        report::{GivenUp, LoweredSubscription},
        state::{ClientState, Outcome},
        wait::{StateAtTimeout, WaitError},
    },
    supervise::stop::deadline_after,
};

/// A broker may close on any number of topics.
const MOST_GIVEN_UP: usize = 10;

/// The state is written by the client's own thread; failures come from whichever thread ran the
/// function; everybody reads.
#[derive(Debug)]
pub(crate) struct Status {
    client: Arc<str>,
    /// The names of all its brokers.
    brokers: Vec<Arc<str>>,
    /// Which of them it is with.
    broker: AtomicUsize,
    /// A copy of "the state is Connected" that costs no lock.
    connected: AtomicBool,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: ClientState,
    /// Every wanted subscription has its SUBACK on this connection.
    subscribed: bool,
    /// `None` after the end: the listeners' channels close when all clients have ended.
    announcer: Option<Announcer>,
    /// The first failure of a handler or pub function.
    first_failure: Option<Failure>,
    /// The failure that the policy stops this client for.
    fatal: Option<Failure>,
    refused_subscriptions: Vec<String>,
    lowered_subscriptions: Vec<LoweredSubscription>,
    /// The first topics of messages that were given up; at most [`MOST_GIVEN_UP`].
    given_up: Vec<GivenUp>,
    /// Why the last connection was lost or the last attempt failed, and when.
    last_cause: Option<(Cause, Instant)>,
    /// When the connection began that there is or was last.
    connected_at: Option<Instant>,
    /// A connect has failed since the last connection.
    is_away: bool,
    /// How many connections there have been.
    connections: u64,
    losses: Losses,
}

/// What is known of a client's losses and failed attempts.
pub(crate) struct Troubles {
    pub(crate) last_cause: Option<(Cause, Instant)>,
    /// It lost several connections within a minute.
    pub(crate) flapped: bool,
    /// It had a connection, and since then a connect has failed.
    pub(crate) is_away: bool,
    /// Its broker closed several connections soon after it had accepted them.
    pub(crate) is_id_contested: bool,
}

impl Status {
    pub(crate) fn new(client: Arc<str>, brokers: Vec<Arc<str>>, announcer: Announcer) -> Self {
        Self {
            client,
            brokers,
            broker: AtomicUsize::new(0),
            connected: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                state: ClientState::Starting,
                subscribed: false,
                announcer: Some(announcer),
                first_failure: None,
                fatal: None,
                refused_subscriptions: Vec::new(),
                lowered_subscriptions: Vec::new(),
                given_up: Vec::new(),
                last_cause: None,
                connected_at: None,
                is_away: false,
                connections: 0,
                losses: Losses::default(),
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn set(&self, state: ClientState) {
        let mut inner = self.inner.lock();
        if inner.state.is_ended() {
            return;
        }
        let connected = matches!(state, ClientState::Connected { .. });
        self.connected.store(connected, Ordering::SeqCst);
        inner.subscribed = false;
        inner.remember(&state, Instant::now());
        inner.state = state;
        self.announce(&mut inner, None);
        self.changed.notify_all();
    }

    /// An attempt failed while the client was being stopped: no state says so any more.
    pub(crate) fn failed_at_the_end(&self, cause: Cause) {
        let mut inner = self.inner.lock();
        inner.is_away = true;
        inner.last_cause = Some((cause, Instant::now()));
    }

    /// The broker has closed the lost connection on a message, which the cause names. Where that is
    /// `certain`, nobody else is behind it.
    pub(crate) fn closed_on(&self, cause: &Cause, certain: bool) {
        let mut inner = self.inner.lock();
        inner.last_cause = Some((cause.clone(), Instant::now()));
        if certain {
            inner.losses.explained();
        }
    }

    /// A message to this topic was given up.
    pub(crate) fn given_up(&self, topic: &str) {
        let given_up = &mut self.inner.lock().given_up;
        if let Some(known) = given_up.iter_mut().find(|it| it.topic == topic) {
            known.messages += 1;
        } else if given_up.len() < MOST_GIVEN_UP {
            given_up.push(GivenUp {
                topic: topic.to_owned(),
                messages: 1,
            });
        }
    }

    /// The first topics of messages that were given up.
    pub(crate) fn given_up_topics(&self) -> Vec<GivenUp> {
        self.inner.lock().given_up.clone()
    }

    /// What is known of its losses and failed attempts.
    pub(crate) fn troubles(&self) -> Troubles {
        let inner = self.inner.lock();
        Troubles {
            last_cause: inner.last_cause.clone(),
            flapped: inner.losses.flapped(),
            is_away: inner.is_away && inner.connections > 0,
            is_id_contested: inner.losses.is_id_contested(),
        }
    }

    /// Whether the broker accepts each connection and closes it soon.
    pub(crate) fn closes_again_and_again(&self) -> bool {
        self.inner.lock().losses.closes_again_and_again()
    }

    /// The broker refused a subscription of the connected client.
    pub(crate) fn refused_subscription(&self, filter: String) {
        let mut inner = self.inner.lock();
        if !inner.refused_subscriptions.contains(&filter) {
            inner.refused_subscriptions.push(filter.clone());
        }
        self.announce(&mut inner, Some(Cause::SubscriptionRefused { filter }));
    }

    /// The broker granted a subscription of the connected client with a lower quality of service.
    pub(crate) fn lowered_subscription(&self, lowered: LoweredSubscription) {
        let mut inner = self.inner.lock();
        let known = &mut inner.lowered_subscriptions;
        match known.iter_mut().find(|it| it.filter == lowered.filter) {
            Some(known) => *known = lowered.clone(),
            None => known.push(lowered.clone()),
        }
        let LoweredSubscription {
            filter,
            asked,
            granted,
        } = lowered;
        let note = Cause::SubscriptionLowered {
            filter,
            asked,
            granted,
        };
        self.announce(&mut inner, Some(note));
    }

    /// Announced under the lock, so that listeners see changes in the order in which they
    /// happened; announcing never waits.
    fn announce(&self, inner: &mut Inner, note: Option<Cause>) {
        if let Some(announcer) = &inner.announcer {
            announcer.announce(&StateChange {
                client: Arc::clone(&self.client),
                broker: Arc::clone(self.broker()),
                state: inner.state.clone(),
                note,
                at: Instant::now(),
            });
        }
        if inner.state.is_ended() {
            inner.announcer = None;
        }
    }

    /// The client turns to this one of its brokers. Called by its own thread, before the state
    /// that belongs to it.
    pub(crate) fn set_broker(&self, n: usize) {
        self.broker.store(n, Ordering::SeqCst);
    }

    /// The broker that it is with, or tries, or was with last.
    pub(crate) fn broker(&self) -> &Arc<str> {
        let n = self.broker.load(Ordering::SeqCst);
        self.brokers.get(n).unwrap_or(&self.client)
    }

    pub(crate) fn set_subscribed(&self, subscribed: bool) {
        self.inner.lock().subscribed = subscribed;
        self.changed.notify_all();
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    pub(crate) fn state(&self) -> ClientState {
        self.inner.lock().state.clone()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.inner.lock().state.is_ended()
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match &self.inner.lock().state {
            ClientState::Ended { outcome } => Some(outcome.clone()),
            _ => None,
        }
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        let mut inner = self.inner.lock();
        if inner.first_failure.is_none() {
            inner.first_failure = Some(failure.clone());
        }
    }

    pub(crate) fn first_failure(&self) -> Option<Failure> {
        self.inner.lock().first_failure.clone()
    }

    /// Notes the failure for which the policy stops this client.
    pub(crate) fn set_fatal(&self, failure: Failure) {
        self.inner.lock().fatal.get_or_insert(failure);
    }

    pub(crate) fn fatal(&self) -> Option<Failure> {
        self.inner.lock().fatal.clone()
    }

    pub(crate) fn refused_subscriptions(&self) -> Vec<String> {
        self.inner.lock().refused_subscriptions.clone()
    }

    pub(crate) fn lowered_subscriptions(&self) -> Vec<LoweredSubscription> {
        self.inner.lock().lowered_subscriptions.clone()
    }

    pub(crate) fn wait_connected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait("connected", timeout, |inner| {
            matches!(inner.state, ClientState::Connected { .. })
        })
    }

    pub(crate) fn wait_subscribed(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait("subscribed", timeout, |inner| inner.subscribed)
    }

    /// How many connections there have been: a mark for the waits below.
    pub(crate) fn connections(&self) -> u64 {
        self.inner.lock().connections
    }

    pub(crate) fn wait_connected_after(
        &self,
        connections: u64,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.wait("on a new connection", timeout, |inner| {
            inner.connections > connections && matches!(inner.state, ClientState::Connected { .. })
        })
    }

    pub(crate) fn wait_subscribed_after(
        &self,
        connections: u64,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        self.wait(
            "on a new connection with all subscriptions answered",
            timeout,
            |inner| inner.connections > connections && inner.subscribed,
        )
    }

    /// An ended client is disconnected, so this one can't fail because of an end.
    pub(crate) fn wait_disconnected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait("disconnected", timeout, |inner| {
            !matches!(inner.state, ClientState::Connected { .. })
        })
    }

    pub(crate) fn wait_ended(&self, timeout: Duration) -> Result<Outcome, WaitError> {
        self.wait("at its end", timeout, |inner| inner.state.is_ended())?;
        // The state just waited for does not change any more.
        Ok(self.outcome().unwrap_or(Outcome::Stopped))
    }

    /// Makes those who wait look again: something else that they wait for has changed.
    pub(crate) fn notify(&self) {
        drop(self.inner.lock());
        self.changed.notify_all();
    }

    /// Waits until the client has ended, or for something that is announced by a notify.
    pub(crate) fn wait_ended_or(&self, other: impl Fn() -> bool) {
        let mut inner = self.inner.lock();
        while !inner.state.is_ended() && !other() {
            self.changed.wait(&mut inner);
        }
    }

    fn wait(
        &self,
        wanted: &'static str,
        timeout: Duration,
        reached: impl Fn(&Inner) -> bool,
    ) -> Result<(), WaitError> {
        let deadline = deadline_after(timeout);
        let mut inner = self.inner.lock();
        loop {
            if reached(&inner) {
                return Ok(());
            }
            if let ClientState::Ended { outcome } = &inner.state {
                return Err(WaitError::Ended {
                    client: self.client.to_string(),
                    outcome: Box::new(outcome.clone()),
                });
            }
            let timed_out = match deadline {
                Some(deadline) => self.changed.wait_until(&mut inner, deadline).timed_out(),
                None => {
                    self.changed.wait(&mut inner);
                    false
                }
            };
            if timed_out && !reached(&inner) {
                return Err(WaitError::Timeout {
                    client: self.client.to_string(),
                    state: StateAtTimeout::new(
                        wanted,
                        inner.state.clone(),
                        inner.last_cause.as_ref().map(|(cause, _)| cause.clone()),
                    ),
                    waited: timeout,
                });
            }
        }
    }
}

impl Inner {
    /// What a change of the state says about losses, for as long as the old state is here.
    fn remember(&mut self, next: &ClientState, now: Instant) {
        match next {
            ClientState::Connected { .. } => {
                self.connected_at = Some(now);
                self.connections += 1;
                self.is_away = false;
            }
            ClientState::Lost { cause } => {
                self.losses.lost(cause, self.connected_at, now);
                self.last_cause = Some((cause.clone(), now));
            }
            // Behind a loss it is the attempt that this loss cost.
            ClientState::AttemptFailed { cause, .. }
                if !matches!(self.state, ClientState::Lost { .. }) =>
            {
                self.is_away = true;
                self.losses.connect_failed();
                self.last_cause = Some((cause.clone(), now));
            }
            _ => {}
        }
    }
}
