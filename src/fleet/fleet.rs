//! A running fleet: its clients, its threads, and how it ends.

use std::{fmt, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

use crate::{
    client::{
        clients::{Clients, StopHandle, UnknownClient},
        handle::Client,
        next::NextConnections,
    },
    fleet::{
        error::HandlersTakeMessages,
        stop::{Ending, Way},
    },
    inbox::{message::Message, pull::Messages},
    observe::{
        changes::{Announced, StateChanges},
        counters::Stats,
        lateness::Lateness,
        report::Report,
        wait::WaitError,
    },
    supervise::{
        signal::{self, OnSignal, SignalError},
        stop::time_left,
    },
};

/// Many MQTT clients, each on its own thread, started together and stopped together.
///
/// Every method takes `&self` and can be called from any thread. Dropping the fleet stops it in order,
/// within [`FleetBuilder::stop_deadline`](crate::FleetBuilder::stop_deadline), and so does an early `?` or a panic that drops it.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Fleet, QoS};
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// let fleet = Fleet::builder()
///     .clients(ClientSpec::new("dev-{i}", broker.url()).times(10))
///     .start()?;
/// fleet.wait_connected(Duration::from_secs(5))?;
/// assert_eq!(fleet.threads().total(), 10 + 1);
/// let report = fleet.stop(Duration::from_secs(5));
/// assert_eq!(report.exit_code(), 0);
/// # Ok(())
/// # }
/// ```
pub struct Fleet {
    pub(super) ending: Arc<Ending>,
    states: Option<Receiver<Announced>>,
    /// The queue of pull mode.
    messages: Option<Receiver<Message>>,
    /// What a signal does; it is alive as long as the fleet.
    on_signal: Mutex<Option<Arc<OnSignal>>>,
}

impl Fleet {
    pub(crate) fn new(
        states: Option<Receiver<Announced>>,
        messages: Option<Receiver<Message>>,
        ending: Arc<Ending>,
    ) -> Self {
        Self {
            ending,
            states,
            messages,
            on_signal: Mutex::default(),
        }
    }

    /// The client of this name.
    ///
    /// # Errors
    ///
    /// [`UnknownClient`] if no client has that name.
    pub fn client(&self, name: &str) -> Result<Client, UnknownClient> {
        self.clients().get(name)
    }

    /// All clients, ended ones included.
    pub fn clients(&self) -> &Clients {
        &self.ending.clients
    }

    /// The received messages, for a fleet without handlers: the application takes them itself.
    /// Every call returns a receiver of the same queue.
    ///
    /// # Errors
    ///
    /// The fleet or one of its clients has a handler: the workers take the messages.
    pub fn messages(&self) -> Result<Messages, HandlersTakeMessages> {
        let queue = self.messages.clone();
        queue.map(Messages::new).ok_or(HandlersTakeMessages)
    }

    /// The changes of the clients' states, from the start on. Every call returns a receiver of
    /// the same stream.
    pub fn states(&self) -> StateChanges {
        StateChanges::new(self.states.clone().unwrap_or_else(|| bounded(0).1))
    }

    /// How many threads the fleet has now, and the caller's.
    pub fn threads(&self) -> ThreadCount {
        let crew = self.ending.crew.lock();
        ThreadCount {
            clients: self
                .clients()
                .list()
                .iter()
                .filter(|client| !client.member().status.is_ended())
                .count(),
            workers: crew
                .workers
                .iter()
                .filter(|it| it.thread.is_running())
                .count(),
            publishers: crew.publishers.iter().filter(|it| it.is_running()).count(),
        }
    }

    /// The sums of all clients' counts.
    pub fn stats(&self) -> Stats {
        let mut total = Stats::default();
        for client in self.clients().list() {
            total += client.stats();
        }
        total
    }

    /// How late the pub functions of all clients were called until now, by the moments on their
    /// schedules. Two looks, and [`Lateness::since`] tells what was between them.
    pub fn lateness(&self) -> Lateness {
        self.ending.lateness.read()
    }

    /// Waits until every client is connected or has been seen connected in turn, as far as they
    /// know: see [`Client::wait_connected`]. Behind a restart of the broker use
    /// [`Fleet::next_connections`].
    ///
    /// # Errors
    ///
    /// The time was over, or a client has ended: the error names it.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, Client::wait_connected)
    }

    /// Waits until every client is connected and has the broker's answer to all subscriptions, as
    /// far as they know: see [`Client::wait_subscribed`]. Behind a restart of the broker use
    /// [`Fleet::next_connections`].
    ///
    /// # Errors
    ///
    /// The time was over, or a client has ended: the error names it.
    pub fn wait_subscribed(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, Client::wait_subscribed)
    }

    /// Marks the connections that there are, so that [`NextConnections::wait_connected`] and
    /// [`NextConnections::wait_subscribed`] can wait for newer ones. To be called before whatever
    /// ends the current ones.
    pub fn next_connections(&self) -> NextConnections {
        NextConnections::new(self.clients().list().iter().map(Client::next_connection))
    }

    /// Waits until every client has ended.
    ///
    /// # Errors
    ///
    /// The time was over: the error names a client that still runs.
    pub fn wait_ended(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, |client, timeout| {
            client.wait_ended(timeout).map(drop)
        })
    }

    fn wait_each(
        &self,
        timeout: Duration,
        wait: impl Fn(&Client, Duration) -> Result<(), WaitError>,
    ) -> Result<(), WaitError> {
        let left = time_left(timeout);
        self.clients()
            .list()
            .iter()
            .try_for_each(|client| wait(client, left()))
    }

    /// A handle that stops the fleet from anywhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle::new(self.clients().clone())
    }

    /// Makes the first Ctrl-C, SIGTERM or SIGHUP ask for the orderly stop of the fleet, as
    /// [`Clients::stop`] does, and a second one end the process at once with code 130. A signal that
    /// the process began with ignored stays ignored; this is known on Linux. The handler belongs to
    /// the process and lives on a thread that is not counted in [`Fleet::threads`].
    ///
    /// # Errors
    ///
    /// The handler could not be set.
    pub fn stop_on_signal(&self) -> Result<(), SignalError> {
        let clients = self.clients().clone();
        let on_signal: Arc<OnSignal> = Arc::new(move || clients.stop());
        signal::listen(&on_signal)?;
        *self.on_signal.lock() = Some(on_signal);
        Ok(())
    }
}

/// The end.
impl Fleet {
    /// Waits until every client has ended by itself or a stop is asked for ([`StopHandle::stop`],
    /// [`Clients::stop`], [`OnFailure::StopFleet`](crate::OnFailure::StopFleet), a signal), then
    /// stops as [`Fleet::stop`] does, within the builder's stop deadline, and reports.
    pub fn join(&self) -> Report {
        self.ending.join()
    }

    /// Stops the fleet in order, and reports: what can still be sent is not lost. Returns by the
    /// deadline in every state. One after the other:
    ///
    /// 1. Pub functions are not called any more, and no client takes a message from its broker: what
    ///    arrives is not acknowledged, so that a broker that keeps the session sends it again, and at
    ///    QoS 0 it is dropped ([`Stats::after_stop`]).
    /// 2. The messages received before are handled, and running functions return. What they publish is
    ///    taken by clients that are connected. Any other client refuses it
    ///    ([`PublishErrorKind::Ended`](crate::PublishErrorKind::Ended)); a handler that fails for it
    ///    has not failed, and its message is not acknowledged.
    /// 3. No client takes a message to publish any more. Those that are connected send what their
    ///    outboxes hold, and wait for the acknowledgements.
    /// 4. Each client sends DISCONNECT, and the threads end.
    ///
    /// Clients that are not connected, or lose their connection meanwhile, are not waited for: what
    /// their outboxes hold is counted as [`unsent`](crate::Ledger::unsent) or
    /// [`failed`](crate::Ledger::failed). So is what the deadline cuts off; messages that no handler
    /// was called for by then are counted and not acknowledged. What did not end by the deadline is
    /// abandoned and named in the report: a client inside a connect attempt or a name look-up, a
    /// handler that is stuck. An abandoned client makes no further attempt.
    ///
    /// In pull mode the messages that the application has or has not taken yet are its own: they are
    /// not waited for. Those that it drops after the DISCONNECT stay unacknowledged, and so do those
    /// that it drops once the stop has refused a message that it wanted to publish: what it could not
    /// pass on comes again.
    ///
    /// May be called from several threads at once: each gets its report, and the earliest deadline
    /// counts. May be called from any function that runs on a thread of the fleet: that thread is not
    /// waited for. A handler's own message, and those behind it, then stay unacknowledged;
    /// [`Clients::stop`] is what a handler should call. A second call reports again.
    pub fn stop(&self, deadline: Duration) -> Report {
        self.ending.stop(deadline, Way::Orderly)
    }

    /// Stops the fleet without waiting for what is under way, and reports. Returns by the deadline in
    /// every state.
    ///
    /// Each client sends what acknowledgements it has, and DISCONNECT; what its outbox holds is not
    /// sent. Messages received before are handled while there is time, and not acknowledged any more:
    /// a broker that keeps the session sends them again. For the rest see [`Fleet::stop`].
    pub fn stop_now(&self, deadline: Duration) -> Report {
        self.ending.stop(deadline, Way::Now)
    }

    /// Like [`Fleet::stop`], but clients that are not connected have until the deadline to come back
    /// and send what their outboxes hold. Until then they take what functions still publish.
    pub fn stop_draining(&self, deadline: Duration) -> Report {
        self.ending.stop(deadline, Way::Draining)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !self.ending.is_over() {
            self.stop(self.ending.deadline);
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("clients", self.clients())
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}

/// How many threads a fleet has.
///
/// A client's thread is counted until its end is announced. The thread that listens to signals
/// belongs to the process and is not counted.
///
/// ```
/// use mqtt_fleet::ThreadCount;
///
/// fn line(threads: &ThreadCount) -> String {
///     format!("current threads = {}", threads.total())
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadCount {
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) publishers: usize,
}

impl ThreadCount {
    /// One for each client that has not ended.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// Threads that run handlers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Threads that call pub functions.
    pub fn publishers(&self) -> usize {
        self.publishers
    }

    /// All of them and the caller's own: clients + 1 for a fleet without handlers, pub functions
    /// and state callback.
    pub fn total(&self) -> usize {
        self.clients + self.workers + self.publishers + 1
    }
}
