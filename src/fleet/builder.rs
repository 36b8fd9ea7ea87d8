//! The setters of a fleet, and the two calls that start it.

use std::{fmt, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    client::{
        clients::{Clients, StopHandle},
        spec::ClientSpec,
    },
    fleet::{config::FleetConfig, error::StartError, fleet::Fleet, start},
    inbox::message::{HandlerResult, Message},
    observe::{changes::StateChange, failure::Failure, report::Report},
    spec::on_failure::OnFailure,
    supervise::signal::{self, OnSignal},
};

/// What a signal finds.
enum Early {
    /// The fleet is not there yet.
    Waits,
    /// Nor was it when a signal came.
    Came,
    Running(StopHandle),
}

/// Builds a fleet: [`Fleet::builder`].
///
/// Nothing is checked and nothing runs before [`FleetBuilder::start`] or [`FleetBuilder::run`].
///
/// ```no_run
/// use mqtt_fleet::{ClientSpec, Fleet, QoS};
///
/// # fn main() -> Result<(), mqtt_fleet::Error> {
/// let report = Fleet::builder()
///     .client(ClientSpec::new("plant", "mqtt://10.0.0.5").subscribe("sensors/#", QoS::AtLeastOnce))
///     .clients(ClientSpec::new("dev-{i}", "mqtt://10.0.0.5").times(200))
///     .on_message("sensors/#", |message, _clients| {
///         println!("{}: {}", message.topic(), message.text());
///         Ok(())
///     })
///     .run()?;
/// std::process::exit(report.exit_code())
/// # }
/// ```
pub struct FleetBuilder {
    config: FleetConfig,
}

/// Where a program begins.
impl Fleet {
    /// What a fleet is to be.
    pub fn builder() -> FleetBuilder {
        FleetBuilder {
            config: FleetConfig::default(),
        }
    }
}

impl FleetBuilder {
    /// Adds a client.
    #[must_use]
    pub fn client(mut self, spec: ClientSpec) -> Self {
        self.config.specs.push(spec);
        self
    }

    /// Adds clients: the copies of a template, or a list.
    #[must_use]
    pub fn clients(mut self, specs: impl IntoIterator<Item = ClientSpec>) -> Self {
        self.config.specs.extend(specs);
        self
    }

    /// A handler for the messages of all clients whose topic matches the filter. It runs on a
    /// worker, never on a network thread, and may block: that delays its lane only. May be called
    /// again; all handlers that match are called, the fleet's before the client's own, in the
    /// order in which they were added. A message that none matches is counted. For a shared
    /// subscription, `$share/group/filter` and `filter` mean the same here.
    #[must_use]
    pub fn on_message(
        mut self,
        filter: impl Into<String>,
        handler: impl Fn(&Message, &Clients) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.config
            .handlers
            .push((filter.into(), Arc::new(handler)));
        self
    }

    /// How many threads run handlers. Messages of one client and topic are handled by one worker,
    /// in order. Defaults to the number of processors if there is a handler, else to none.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = Some(workers);
        self
    }

    /// Gives up the order of messages: any worker takes the next one, so that a slow topic does
    /// not hold up others while a worker is free. Defaults to off.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.config.unordered = true;
        self
    }

    /// How many QoS 0 messages may wait to be handled, at least one for each client. Each client
    /// has an equal share; what exceeds it is dropped and counted, so that a loud client costs
    /// the others nothing. QoS 1 and 2 are always taken: the broker's in-flight window bounds
    /// them. Defaults to 65,536, or one for each client if there are more.
    #[must_use]
    pub fn queue_capacity(mut self, messages: usize) -> Self {
        self.config.queue_capacity = messages;
        self
    }

    /// How many bytes QoS 0 messages that wait to be handled may have together, topics and payloads,
    /// each message rounded up to 64. As with [`queue_capacity`](Self::queue_capacity) each client has
    /// an equal share, and what exceeds it is dropped and counted in
    /// [`Stats::dropped`](crate::Stats::dropped): whichever of the two is full first. A message that is
    /// larger than its client's share is taken while no other one of that client waits. A message with a
    /// handler, or taken from [`Messages`](crate::Messages), does not wait any more. At least 1.
    /// Defaults to 64 MiB (67,108,864).
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.config.queue_bytes = bytes;
        self
    }

    /// At most this many connects a second, of all clients together, at start and after an
    /// outage. At least 1. Defaults to no limit.
    #[must_use]
    pub fn connect_rate(mut self, per_second: u32) -> Self {
        self.config.connect_rate = Some(per_second);
        self
    }

    /// How many threads call pub functions, if there are any; the pub functions of one client
    /// share one. At least 1. Defaults to 1.
    #[must_use]
    pub fn publishers(mut self, threads: usize) -> Self {
        self.config.publishers = threads;
        self
    }

    /// What happens when a handler or pub function fails. Defaults to [`OnFailure::Log`].
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.config.on_failure = on_failure;
        self
    }

    /// The function that a message is given to when [`OnFailure::Retry`] is exhausted. It runs on
    /// the worker. Defaults to none: the failure is only logged and counted.
    #[must_use]
    pub fn dead_letter(
        mut self,
        function: impl Fn(&Message, &Failure) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.config.dead_letter = Some(Arc::new(function));
        self
    }

    /// A callback for every change of a client's state, in order. It runs on a worker, or on the
    /// publisher thread of a fleet without workers, which is started for it if need be; never on
    /// a network thread. One that blocks delays that thread, and when it falls behind it misses
    /// the oldest changes. Defaults to none; see also [`Fleet::states`].
    #[must_use]
    pub fn on_state(mut self, callback: impl Fn(&StateChange) + Send + Sync + 'static) -> Self {
        self.config.on_state = Some(Arc::new(callback));
        self
    }

    /// The stack of each client's thread, in bytes: for the connection and the function of
    /// [`ClientSpec::credentials_with`], the only one of yours that runs there. It is address space
    /// until it is used. At least 128 KiB, and with the features `tls` or `websocket` 512 KiB: in a
    /// debug build a connect over `wss` takes 448 KiB. Defaults to twice the least. Workers and
    /// publisher threads have [`worker_stack_size`](Self::worker_stack_size).
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.config.stack_size = bytes;
        self
    }

    /// The stack of each worker and publisher thread, in bytes, at least 128 KiB: handlers, pub functions
    /// and the other functions of yours run there, and one that overflows it ends the process. It is
    /// address space until it is used. Defaults to 2 MiB, as std has it.
    #[must_use]
    pub fn worker_stack_size(mut self, bytes: usize) -> Self {
        self.config.worker_stack_size = bytes;
        self
    }

    /// How long a stop may take that is not called with a deadline: that of `run`, of
    /// [`Fleet::join`], of dropping the fleet, of [`StopHandle::stop`](crate::StopHandle::stop), and
    /// what a client that is stopped on its own has to send. Defaults to 5 s.
    #[must_use]
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.config.stop_deadline = deadline;
        self
    }

    /// Checks everything, makes the threads, and returns while the clients connect.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the client and the field, the limit, or the thread. Nothing runs then.
    pub fn start(self) -> Result<Fleet, StartError> {
        start::start(self.config)
    }

    /// Starts the fleet and blocks until every client has ended, or until Ctrl-C, SIGTERM or
    /// SIGHUP; then stops in order, as [`Fleet::stop`] does, and reports. A signal that comes during
    /// the start has the same effect. A second one ends the process at once, with code 130. A signal
    /// that the process began with ignored (under `nohup`, or in the background of a script) stays
    /// ignored; this is known on Linux. The signal handler belongs to the process and lives on a
    /// thread of its own.
    ///
    /// # Errors
    ///
    /// Like [`FleetBuilder::start`], or the signal handler could not be set.
    pub fn run(self) -> Result<Report, StartError> {
        // A signal that comes while the fleet starts is kept for it.
        let early = Arc::new(Mutex::new(Early::Waits));
        let kept = Arc::clone(&early);
        let on_signal: Arc<OnSignal> = Arc::new(move || {
            let running = match &mut *kept.lock() {
                Early::Running(handle) => Some(handle.clone()),
                waits => {
                    *waits = Early::Came;
                    None
                }
            };
            if let Some(handle) = running {
                handle.stop();
            }
        });
        signal::listen(&on_signal)?;
        let fleet = self.start()?;
        let early = mem::replace(&mut *early.lock(), Early::Running(fleet.stop_handle()));
        let report = match early {
            Early::Came => fleet.stop(fleet.ending.deadline),
            Early::Waits | Early::Running(_) => fleet.join(),
        };
        // Until here: a signal during the stop finds its listener.
        drop(on_signal);
        Ok(report)
    }
}

impl fmt::Debug for FleetBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetBuilder")
            .field("clients", &self.config.specs)
            .field("handlers", &self.config.handlers.len())
            .field("workers", &self.config.workers)
            .field("queue_capacity", &self.config.queue_capacity)
            .field("queue_bytes", &self.config.queue_bytes)
            .field("connect_rate", &self.config.connect_rate)
            .field("on_failure", &self.config.on_failure)
            .finish_non_exhaustive()
    }
}
