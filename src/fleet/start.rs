//! From a checked builder to running threads: build everything, then let the clients connect.

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread::available_parallelism,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::{
    client::{
        clients::Clients,
        handle::{Client, Core},
        link::Link,
        network::Network,
        resolve::Resolver,
        spec::{ClientSpec, UserHandler},
    },
    fleet::{
        builder::FleetBuilder,
        check::check,
        error::StartError,
        pub_function,
        running::{Fleet, RunningWorker},
    },
    publish::{
        schedule::{Publisher, Task},
        window::Window,
    },
    receive::{
        ack::Release,
        dispatch::Dispatch,
        handler::{FailureSink, Handling, OnFailure, Route},
        message::Message,
        source::Source,
        worker::{Busy, StateCallback, Worker},
    },
    spec::retry::Attempts,
    supervise::{
        limits,
        outcome::Outcome,
        pace::Pacer,
        panic::caught,
        state::{Announcer, ClientState, StateChange},
        status::Status,
        thread::Thread,
    },
};

/// Starts a fleet. What was started when something fails is stopped by dropping the [`Fleet`].
pub(crate) fn start(builder: FleetBuilder) -> Result<Fleet, StartError> {
    let specs = check(&builder)?;
    let plan = Plan::new(&builder, &specs);
    limits::check(specs.len() as u64, plan.other_threads() as u64).map_err(|shortage| {
        StartError::Limits {
            resource: shortage.resource,
            needed: shortage.needed,
            available: shortage.available,
        }
    })?;

    let announcer = Announcer::new(1 + usize::from(builder.on_state.is_some()), specs.len());
    let clients = Clients::new(
        specs
            .iter()
            .map(|spec| client(spec, announcer.clone()))
            .collect(),
    );
    let (lanes, queues): (Vec<_>, Vec<_>) = (0..plan.lanes).map(|_| unbounded()).unzip();
    let (closed, closing) = bounded(0);
    let (stopped, stop_publishing) = bounded(0);
    let mut fleet = Fleet::new(
        clients.clone(),
        announcer.listener(0),
        queues.first().filter(|_| plan.workers == 0).cloned(),
        closed,
        stopped,
        builder.stop_deadline,
    );

    let failed = failure_sink(&clients, builder.on_failure);
    let callback = builder.on_state.clone().map(guarded);
    let states = announcer.listener(1).zip(callback);
    let (worker_states, publisher_states) = match plan.workers {
        0 => (None, states),
        _ => (states, None),
    };
    drop(announcer);

    let handling = Arc::new(handling(&builder, &specs, &clients, Arc::clone(&failed)));
    start_workers(
        &mut fleet,
        &plan,
        &queues,
        worker_states,
        &handling,
        &closing,
    )?;
    drop(queues);
    let begins = start_publishers(
        &mut fleet,
        &plan,
        publishers_tasks(&plan, &specs, &clients, builder.on_failure, &failed),
        publisher_states,
        (&stop_publishing, &closing),
    )?;
    start_clients(&mut fleet, &builder, &plan, &specs, &lanes, begins)?;
    log::info!(
        "fleet started: {} clients, {} threads",
        clients.len(),
        fleet.threads().total()
    );
    Ok(fleet)
}

/// How many of what.
struct Plan {
    workers: usize,
    /// Queues: one for each worker, or a single one that all share.
    lanes: usize,
    publishers: usize,
    stack_size: usize,
    /// QoS 0 messages of one client that may wait.
    share: usize,
}

impl Plan {
    fn new(builder: &FleetBuilder, specs: &[ClientSpec]) -> Self {
        let handlers =
            !builder.handlers.is_empty() || specs.iter().any(|spec| !spec.handlers.is_empty());
        let processors = available_parallelism().map_or(1, usize::from);
        let workers = match builder.workers {
            Some(workers) => workers,
            None if handlers => processors,
            None => 0,
        };
        let pub_functions = specs.iter().any(|spec| !spec.periodic.is_empty());
        let publishers = match (pub_functions, builder.on_state.is_some() && workers == 0) {
            (true, _) => builder.publishers,
            (false, true) => 1,
            (false, false) => 0,
        };
        Self {
            workers,
            lanes: match builder.unordered {
                true => 1,
                false => workers.max(1),
            },
            publishers,
            stack_size: builder.stack_size,
            share: (builder.queue_capacity / specs.len().max(1)).max(1),
        }
    }

    fn other_threads(&self) -> usize {
        self.workers + self.publishers
    }
}

fn client(spec: &ClientSpec, announcer: Announcer) -> Client {
    let settings = &spec.settings;
    let broker = settings.broker.to_string();
    let status = Status::new(settings.name.as_str().into(), broker.into(), announcer);
    Client::new(Arc::new(Core::new(settings, status)))
}

/// Keeps the first failure of each client and does what the policy says.
fn failure_sink(clients: &Clients, on_failure: OnFailure) -> FailureSink {
    let clients = clients.clone();
    Arc::new(move |index, failure| {
        let Some(client) = clients.at(index) else {
            return;
        };
        let status = &client.core().status;
        status.failed(&failure);
        match on_failure {
            OnFailure::StopClient => {
                status.condemn(failure);
                client.stop();
            }
            OnFailure::StopFleet => {
                status.condemn(failure);
                clients.stop();
            }
            OnFailure::Log | OnFailure::Retry(_) => {}
        }
    })
}

/// A state callback whose panic is logged and ends there.
fn guarded(callback: StateCallback) -> StateCallback {
    Arc::new(move |change: &StateChange| {
        if let Err(panic) = caught(|| callback(change)) {
            log::error!(
                "the state callback panicked on {}: {panic}",
                change.client()
            );
        }
    })
}

fn handling(
    builder: &FleetBuilder,
    specs: &[ClientSpec],
    clients: &Clients,
    failed: FailureSink,
) -> Handling {
    let routes = |handlers: &[(String, UserHandler)]| -> Vec<Route> {
        handlers
            .iter()
            .map(|(filter, handler)| {
                let (handler, clients) = (Arc::clone(handler), clients.clone());
                Route {
                    filter: filter.clone(),
                    handler: Arc::new(move |message: &Message| handler(message, &clients)),
                }
            })
            .collect()
    };
    Handling {
        fleet: routes(&builder.handlers),
        own: specs.iter().map(|spec| routes(&spec.handlers)).collect(),
        on_failure: builder.on_failure,
        dead_letter: builder.dead_letter.clone(),
        failed,
    }
}

fn start_workers(
    fleet: &mut Fleet,
    plan: &Plan,
    queues: &[Receiver<Message>],
    mut states: Option<(Receiver<StateChange>, StateCallback)>,
    handling: &Arc<Handling>,
    closing: &Receiver<()>,
) -> Result<(), StartError> {
    let expired = Arc::new(AtomicBool::new(false));
    fleet.expires(Arc::clone(&expired));
    for n in 0..plan.workers {
        let Some(lane) = queues.get(n % queues.len()) else {
            continue;
        };
        let busy = Busy::new();
        let worker = Worker {
            lane: lane.clone(),
            states: states.take(),
            handling: Arc::clone(handling),
            closing: closing.clone(),
            expired: Arc::clone(&expired),
            busy: busy.clone(),
        };
        let thread = spawn(&format!("worker-{n}"), plan.stack_size, move || {
            worker.run()
        })?;
        fleet.add_worker(RunningWorker { thread, busy });
    }
    Ok(())
}

/// The tasks of each publisher thread, and for each client the numbers of its tasks there.
type Tasks = (Vec<Vec<Task>>, Vec<(usize, Vec<usize>)>);

fn publishers_tasks(
    plan: &Plan,
    specs: &[ClientSpec],
    clients: &Clients,
    on_failure: OnFailure,
    failed: &FailureSink,
) -> Tasks {
    let mut tasks: Vec<Vec<Task>> = (0..plan.publishers).map(|_| Vec::new()).collect();
    let mut numbers = Vec::with_capacity(specs.len());
    for (index, (spec, client)) in specs.iter().zip(clients.iter()).enumerate() {
        let publisher = index % plan.publishers.max(1);
        let mut own = Vec::new();
        if let Some(tasks) = tasks.get_mut(publisher) {
            for periodic in spec.periodic.clone() {
                own.push(tasks.len());
                let caller = pub_function::Caller {
                    index,
                    client: client.clone(),
                    function: periodic.function,
                    on_failure,
                    failed: Arc::clone(failed),
                };
                tasks.push(caller.task(periodic.interval, spec.copy));
            }
        }
        numbers.push((publisher, own));
    }
    (tasks, numbers)
}

/// What each client does at its first connect, in the order of the clients.
type Begins = Vec<Option<Box<dyn FnOnce() + Send>>>;

fn start_publishers(
    fleet: &mut Fleet,
    plan: &Plan,
    (tasks, numbers): Tasks,
    mut states: Option<(Receiver<StateChange>, StateCallback)>,
    (stop, closing): (&Receiver<()>, &Receiver<()>),
) -> Result<Begins, StartError> {
    let mut begin: Vec<Sender<usize>> = Vec::new();
    for (n, tasks) in tasks.into_iter().enumerate() {
        let (begins, begun) = unbounded();
        begin.push(begins);
        let callback = |callback: StateCallback| -> Box<dyn Fn(&StateChange) + Send> {
            Box::new(move |change| callback(change))
        };
        let publisher = Publisher {
            tasks,
            begin: begun,
            states: states
                .take()
                .map(|(changes, function)| (changes, callback(function))),
            stop: stop.clone(),
            closing: closing.clone(),
        };
        let name = match plan.publishers {
            1 => "publisher".to_owned(),
            _ => format!("publisher-{n}"),
        };
        let thread = spawn(&name, plan.stack_size, move || publisher.run())?;
        fleet.add_publisher(thread);
    }
    let begins = numbers.into_iter().map(|(publisher, own)| {
        let begin = begin.get(publisher).filter(|_| !own.is_empty())?.clone();
        let tell = move || {
            for task in own {
                // Fails only when the publisher has ended, and then nothing is due any more.
                let _ = begin.send(task);
            }
        };
        Some(Box::new(tell) as Box<dyn FnOnce() + Send>)
    });
    Ok(begins.collect())
}

fn start_clients(
    fleet: &mut Fleet,
    builder: &FleetBuilder,
    plan: &Plan,
    specs: &[ClientSpec],
    lanes: &[Sender<Message>],
    begins: Begins,
) -> Result<(), StartError> {
    let pacer = builder.connect_rate.map(|rate| Arc::new(Pacer::new(rate)));
    // Dropped when every client is set up: none connects before all can.
    let (hold, go) = bounded::<()>(0);
    let clients = fleet.clients().clone();
    let mut reports = Vec::with_capacity(specs.len());
    for (index, ((spec, client), begin)) in specs.iter().zip(clients.iter()).zip(begins).enumerate()
    {
        let core = Arc::clone(client.core());
        let (report, reported) = bounded(1);
        let setup = Setup {
            spec: spec.clone(),
            source: Arc::new(source(index, &core, plan.share)),
            core,
            dispatch: Dispatch::new(lanes.to_vec()),
            pacer: pacer.clone(),
            on_first_connect: begin,
            report,
            go: go.clone(),
        };
        let thread = spawn(client.name(), plan.stack_size, move || setup.run())?;
        fleet.add_client(thread);
        reports.push((client.name(), reported));
    }
    for (name, reported) in reports {
        // A disconnected channel is a thread that panicked before it could say anything.
        let said = reported
            .recv()
            .unwrap_or_else(|_| Err("its thread panicked".to_owned()));
        said.map_err(|message| StartError::Setup {
            client: name.to_owned(),
            message,
        })?;
    }
    drop(hold);
    Ok(())
}

fn source(index: usize, core: &Arc<Core>, share: usize) -> Source {
    let outbox = Arc::downgrade(core);
    let release: Release = Box::new(move |acknowledgement| {
        // A client that is gone has no connection to acknowledge on.
        if let Some(core) = outbox.upgrade() {
            core.acknowledge(acknowledgement);
        }
    });
    let (name, counters) = (Arc::clone(&core.name), Arc::clone(&core.counters));
    Source::new(index, name, counters, share, release)
}

/// What a client's thread is given, before it has a connection.
struct Setup {
    spec: ClientSpec,
    core: Arc<Core>,
    source: Arc<Source>,
    dispatch: Dispatch,
    pacer: Option<Arc<Pacer>>,
    on_first_connect: Option<Box<dyn FnOnce() + Send>>,
    report: Sender<Result<(), String>>,
    go: Receiver<()>,
}

impl Setup {
    /// The whole life of a client's thread.
    fn run(self) {
        let core = Arc::clone(&self.core);
        // rumqttc has unwraps that a peer can reach: a panic is an outcome, not a lost thread.
        let outcome = match caught(|| self.live()) {
            Ok(outcome) => outcome,
            Err(message) => Outcome::Panicked { message },
        };
        core.outbox.close();
        match &outcome {
            Outcome::Stopped => log::debug!("client {}: {outcome}", core.name),
            _ => log::error!("client {} at {} ended: {outcome}", core.name, core.broker),
        }
        core.status.set(ClientState::Ended { outcome });
    }

    fn live(self) -> Outcome {
        let settings = self.spec.settings;
        let built = Link::new(settings.clone()).and_then(|(link, bell)| {
            let address = settings.broker.address().map_err(ToString::to_string)?;
            Ok((link, bell, Resolver::new(address.clone())))
        });
        let (link, resolver) = match built {
            Ok((link, bell, resolver)) => {
                self.core.outbox.attach(Box::new(bell));
                (link, resolver)
            }
            Err(message) => {
                // The starter waits for this report and then stops the fleet.
                let _ = self.report.send(Err(message.clone()));
                return Outcome::Panicked { message };
            }
        };
        let _ = self.report.send(Ok(()));
        // Nothing is ever sent: this waits for the sender to be dropped.
        let _ = self.go.recv();
        let network = Network {
            core: self.core,
            link,
            source: self.source,
            dispatch: self.dispatch,
            pacer: self.pacer,
            resolver,
            credentials: settings.credentials,
            attempts: Attempts::new(settings.retry),
            window: Window::new(settings.window),
            on_first_connect: self.on_first_connect,
            was_connected: false,
        };
        network.run()
    }
}

fn spawn(
    name: &str,
    stack_size: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<Thread, StartError> {
    Thread::spawn(name, stack_size, body).map_err(|source| StartError::Thread {
        thread: name.to_owned(),
        source,
    })
}
