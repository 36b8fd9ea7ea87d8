//! A running fleet: its clients, its threads, and how it ends.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::{
    client::{
        clients::{Clients, StopHandle, UnknownClient},
        handle::Client,
    },
    fleet::{bill::ThreadBill, builder::FleetBuilder},
    receive::{message::Message, messages::Messages, worker::Busy},
    supervise::{
        counters::Stats,
        outcome::Outcome,
        report::{ClientReport, Report},
        signal::{self, OnSignal, SignalError},
        state::{Announced, ClientState, StateChanges},
        status::WaitError,
        stop::{StopSignal, deadline_after},
        thread::{Thread, Watch},
    },
};

/// What the workers are left with of a stop's time when the clients need all of it: enough for
/// one that is idle to end.
const LAST_MOMENT: Duration = Duration::from_millis(50);

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
    clients: Clients,
    states: Option<Receiver<Announced>>,
    /// The queue of pull mode.
    messages: Option<Receiver<Message>>,
    /// Locked for the whole of a stop.
    threads: Mutex<Threads>,
    /// What can be seen of the workers and publishers meanwhile.
    workers: Vec<(Watch, Busy)>,
    publishers: Vec<Watch>,
    /// Dropped to tell workers and publishers that nothing more will come.
    closed: Mutex<Option<Sender<()>>>,
    /// Dropped to end pub functions.
    stop_publishing: Mutex<Option<Sender<()>>>,
    /// Set to make workers leave what waits unhandled.
    expired: Arc<AtomicBool>,
    stop_deadline: Duration,
    /// What a signal does; it is alive as long as the fleet.
    on_signal: Mutex<Option<Arc<OnSignal>>>,
}

#[derive(Default)]
struct Threads {
    clients: Vec<Thread>,
    workers: Vec<RunningWorker>,
    publishers: Vec<Thread>,
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
    ) -> Self {
        Self {
            clients,
            states,
            messages,
            threads: Mutex::default(),
            workers: Vec::new(),
            publishers: Vec::new(),
            closed: Mutex::new(Some(closed)),
            stop_publishing: Mutex::new(Some(stop_publishing)),
            expired: Arc::default(),
            stop_deadline,
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

    /// Waits until every client is connected or has been seen connected in turn.
    ///
    /// # Errors
    ///
    /// The time was over, or a client has ended: the error names it.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, Client::wait_connected)
    }

    /// Waits until every client is connected and has the broker's answer to all subscriptions.
    ///
    /// # Errors
    ///
    /// The time was over, or a client has ended: the error names it.
    pub fn wait_subscribed(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, Client::wait_subscribed)
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
        let deadline = deadline_after(timeout);
        let left = || match deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
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

    /// Waits until every client has ended by itself or is told to stop, then stops what is left
    /// within the builder's stop deadline, and reports.
    pub fn join(&self) -> Report {
        for client in self.clients.iter() {
            client.core().wait_over();
        }
        self.stop(self.stop_deadline)
    }

    /// Stops every client and thread, and reports. Returns by the deadline in every state.
    ///
    /// Each client sends DISCONNECT; what its outbox holds is not sent. Messages received before
    /// are handled while there is time. What did not end by the deadline is abandoned and named
    /// in the report: a client inside a connect attempt or a name look-up, a handler that is
    /// stuck. An abandoned client makes no further attempt.
    ///
    /// May be called from a handler or pub function: its own thread is not waited for. A second
    /// call reports again.
    pub fn stop(&self, deadline: Duration) -> Report {
        let end = deadline_after(deadline);
        let before_end = |share: u32| {
            let reserve = LAST_MOMENT.min(deadline / 10) * share;
            end.and_then(|end| end.checked_sub(reserve))
        };
        self.stop_publishing.lock().take();
        self.clients.stop();
        let mut abandoned = Vec::new();
        // Another stop under way has the threads; it does the same. On a thread of the fleet that
        // one may be waiting for this very thread.
        let workers = self.workers.iter().map(|(watch, _)| watch);
        let is_own = workers.chain(&self.publishers).any(Watch::is_current);
        let threads = match end {
            _ if is_own => self.threads.try_lock(),
            Some(end) => self.threads.try_lock_until(end),
            None => Some(self.threads.lock()),
        };
        if let Some(mut threads) = threads {
            for thread in &mut threads.clients {
                thread.join_until(before_end(3));
            }
            self.closed.lock().take();
            for worker in &mut threads.workers {
                worker.thread.join_until(before_end(2));
            }
            self.expired.store(true, Ordering::Relaxed);
            for worker in &mut threads.workers {
                if !worker.thread.join_until(before_end(1)) && !worker.thread.is_current() {
                    abandoned.push(self.stuck(worker));
                }
            }
            for thread in &mut threads.publishers {
                if !thread.join_until(end) && !thread.is_current() {
                    abandoned.push(format!("{} (in a pub function)", thread.name()));
                }
            }
        }
        let report = self.report(abandoned);
        match report.abandoned() {
            [] => log::info!("fleet stopped"),
            abandoned => log::error!("fleet stopped, abandoned: {}", abandoned.join(", ")),
        }
        report
    }

    /// Like [`Fleet::stop`], but first gives what is under way the time to end well: pub functions
    /// end, the messages received until now are handled (not in pull mode, where that is up to the
    /// application), then no further publish is accepted and the outboxes empty themselves. What
    /// is left at the deadline is counted as unsent or failed.
    ///
    /// A client that is not connected has until the deadline to come back.
    pub fn stop_draining(&self, deadline: Duration) -> Report {
        let end = deadline_after(deadline);
        let reserve = LAST_MOMENT.min(deadline / 10) * 4;
        let drained_by = end.and_then(|end| end.checked_sub(reserve));
        self.stop_publishing.lock().take();
        self.wait_handled(drained_by);
        for client in self.clients.iter() {
            client.core().outbox.drain();
        }
        for client in self.clients.iter() {
            client.core().outbox.wait_drained(drained_by);
        }
        let left = end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        self.stop(left)
    }

    /// Waits until the workers have handled what had been received when this was called.
    fn wait_handled(&self, deadline: Option<Instant>) {
        if self.messages.is_some() {
            return;
        }
        let mut received: Vec<_> = self.clients.iter().map(|it| it.stats().received).collect();
        // A handler that asks for the stop can't wait for the end of its own message.
        let own = self.workers.iter().find(|(watch, _)| watch.is_current());
        let own = own.and_then(|(_, busy)| busy.client());
        if let Some(own) = own.and_then(|index| received.get_mut(index)) {
            *own = own.saturating_sub(1);
        }
        let done = || {
            self.clients
                .iter()
                .zip(&received)
                .all(|(client, received)| {
                    let stats = client.stats();
                    stats.handled + stats.unmatched + stats.dropped + stats.repeated >= *received
                })
        };
        // Looked at every other millisecond, once in a fleet's life: a signal for it would cost
        // every message something.
        let pause = StopSignal::default();
        while !done() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            pause.pause(Duration::from_millis(2));
        }
    }

    fn stuck(&self, worker: &RunningWorker) -> String {
        let name = worker.thread.name();
        match worker
            .busy
            .client()
            .and_then(|index| self.clients.at(index))
        {
            Some(client) => format!("{name} (in a handler, with a message of {})", client.name()),
            None if worker.has_callback => format!("{name} (in the state callback)"),
            // The system has not run it since: the machine is overloaded.
            None => format!("{name} (about to end)"),
        }
    }

    fn report(&self, threads: Vec<String>) -> Report {
        let mut abandoned = Vec::new();
        let clients = self.clients.iter().map(|client| {
            let status = &client.core().status;
            let outcome = status.outcome().unwrap_or_else(|| {
                let state = status.state();
                if state == ClientState::Starting {
                    // A start that failed: it never ran.
                    return Outcome::Stopped;
                }
                abandoned.push(format!("{} ({state})", client.name()));
                Outcome::Abandoned {
                    state: Box::new(state),
                }
            });
            ClientReport {
                name: client.name().to_owned(),
                broker: client.broker().to_owned(),
                outcome,
                stats: client.stats(),
                first_failure: status.first_failure(),
                refused_subscriptions: status.refused_subscriptions(),
            }
        });
        let clients = clients.collect();
        abandoned.extend(threads);
        Report { clients, abandoned }
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
