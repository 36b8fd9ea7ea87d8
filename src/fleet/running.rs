//! A running fleet: its clients, its threads, and how it ends.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::{
    client::{
        clients::{Clients, StopHandle, UnknownClient},
        handle::Client,
        next::NextConnections,
    },
    fleet::{bill::ThreadBill, builder::FleetBuilder},
    receive::{message::Message, messages::Messages, worker::Busy},
    supervise::{
        counters::Stats,
        lateness::{Lateness, LatenessMeter},
        log_lines::FleetLog,
        signal::{self, OnSignal, SignalError},
        state::{Announced, StateChanges},
        stop::time_left,
        thread::{Thread, Watch},
        wait::WaitError,
    },
};

/// Many MQTT clients, each on its own thread, started together and stopped together.
///
/// Every method takes `&self` and can be called from any thread. Dropping the fleet stops it, and
/// so does an early `?` or a panic that drops it.
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
    pub(super) clients: Clients,
    pub(super) states: Option<Receiver<Announced>>,
    /// The queue of pull mode.
    pub(super) messages: Option<Receiver<Message>>,
    /// Locked for the whole of a stop.
    pub(super) threads: Mutex<Threads>,
    /// What can be seen of the workers and publishers meanwhile.
    pub(super) workers: Vec<(Watch, Busy)>,
    pub(super) publishers: Vec<Watch>,
    /// What the publishers have measured.
    pub(super) lateness: LatenessMeter,
    /// Dropped to tell workers and publishers that nothing more will come.
    pub(super) closed: Mutex<Option<Sender<()>>>,
    /// Dropped to end pub functions.
    pub(super) stop_publishing: Mutex<Option<Sender<()>>>,
    /// Set to make workers leave what waits unhandled.
    pub(super) expired: Arc<AtomicBool>,
    pub(super) stop_deadline: Duration,
    /// What its clients log; counts are written at the end.
    pub(super) log: Arc<FleetLog>,
    /// What a signal does; it is alive as long as the fleet.
    pub(super) on_signal: Mutex<Option<Arc<OnSignal>>>,
}

#[derive(Default)]
pub(super) struct Threads {
    pub(super) clients: Vec<Thread>,
    pub(super) workers: Vec<RunningWorker>,
    pub(super) publishers: Vec<Thread>,
}

/// A worker's thread, and what it is busy with.
pub(crate) struct RunningWorker {
    pub(crate) thread: Thread,
    pub(crate) busy: Busy,
    pub(crate) has_callback: bool,
}

impl Fleet {
    /// What a fleet is to be.
    pub fn builder() -> FleetBuilder {
        FleetBuilder::new()
    }

    pub(crate) fn new(
        clients: Clients,
        states: Option<Receiver<Announced>>,
        messages: Option<Receiver<Message>>,
        closed: Sender<()>,
        stop_publishing: Sender<()>,
        stop_deadline: Duration,
        log: Arc<FleetLog>,
    ) -> Self {
        Self {
            clients,
            states,
            messages,
            threads: Mutex::default(),
            workers: Vec::new(),
            publishers: Vec::new(),
            lateness: LatenessMeter::new(),
            closed: Mutex::new(Some(closed)),
            stop_publishing: Mutex::new(Some(stop_publishing)),
            expired: Arc::default(),
            stop_deadline,
            log,
            on_signal: Mutex::default(),
        }
    }

    pub(crate) fn expires(&mut self, expired: Arc<AtomicBool>) {
        self.expired = expired;
    }

    pub(crate) fn add_client(&mut self, thread: Thread) {
        self.threads.get_mut().clients.push(thread);
    }

    pub(crate) fn add_worker(&mut self, worker: RunningWorker) {
        self.workers
            .push((worker.thread.watch(), worker.busy.clone()));
        self.threads.get_mut().workers.push(worker);
    }

    pub(crate) fn add_publisher(&mut self, thread: Thread) {
        self.publishers.push(thread.watch());
        self.threads.get_mut().publishers.push(thread);
    }

    /// The client of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn client(&self, name: &str) -> Result<&Client, UnknownClient> {
        self.clients.get(name)
    }

    /// All clients, ended ones included.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The received messages, for a fleet without handlers: the application takes them itself.
    /// Every call returns a receiver of the same queue.
    pub fn messages(&self) -> Messages {
        Messages::new(self.messages.clone().unwrap_or_else(|| bounded(0).1))
    }

    /// The changes of the clients' states, from the start on. Every call returns a receiver of
    /// the same stream.
    pub fn states(&self) -> StateChanges {
        StateChanges::new(self.states.clone().unwrap_or_else(|| bounded(0).1))
    }

    /// How many threads the fleet has now, and the caller's.
    pub fn threads(&self) -> ThreadBill {
        ThreadBill {
            clients: self
                .clients
                .iter()
                .filter(|client| !client.core().status.is_ended())
                .count(),
            workers: self
                .workers
                .iter()
                .filter(|(it, _)| it.is_running())
                .count(),
            publishers: self.publishers.iter().filter(|it| it.is_running()).count(),
        }
    }

    /// The sums of all clients' counts.
    pub fn stats(&self) -> Stats {
        let mut total = Stats::default();
        for client in self.clients.iter() {
            total += client.stats();
        }
        total
    }

    /// How late the pub functions of all clients were called until now, by the moments on their
    /// schedules. Two looks, and [`Lateness::since`] tells what was between them.
    pub fn lateness(&self) -> Lateness {
        self.lateness.read()
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
        NextConnections::new(self.clients.iter().map(Client::next_connection))
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
        self.clients
            .iter()
            .try_for_each(|client| wait(client, left()))
    }

    /// A handle that stops the fleet from anywhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle::new(self.clients.clone())
    }

    /// Makes the first Ctrl-C, SIGTERM or SIGHUP stop all clients, and a second one end the
    /// process at once with code 130. The process's only signal handler is installed for it, on
    /// the ctrlc crate's thread, which is not in the bill.
    ///
    /// # Errors
    ///
    /// The program has set another handler.
    pub fn stop_on_signal(&self) -> Result<(), SignalError> {
        let clients = self.clients.clone();
        let on_signal: Arc<OnSignal> = Arc::new(move || clients.stop());
        signal::listen(&on_signal)?;
        *self.on_signal.lock() = Some(on_signal);
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let stopped = self.closed.get_mut().is_none();
        if !stopped {
            self.stop(self.stop_deadline);
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("clients", &self.clients)
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}
