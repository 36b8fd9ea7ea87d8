//! From the data of a fleet to running threads: build everything, then let the clients connect.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use crate::{
    fleet::{
        check::check,
        config::FleetConfig,
        crew::{RunningWorker, spawn},
        error::StartError,
        fleet::Fleet,
        layout::{LaneQueue, Layout, queue},
        members::{NetworkSetup, NewMember, new_members},
        publishers::{start_publisher, tasks},
        routes::{guarded, routes},
        stop::{Ending, Ends},
        tls::tls_configs,
    },
    inbox::{
        handler::Handling,
        lane::LaneBatch,
        worker::{Busy, StateCallback, Worker},
    },
    observe::{
        changes::{Announced, Announcer},
        log_lines::FleetLog,
    },
    supervise::{limits, log, pace::Pacer},
};

/// Starts a fleet. What was started when something fails is stopped by dropping the [`Fleet`].
pub(super) fn start(config: FleetConfig) -> Result<Fleet, StartError> {
    let specs = check(&config)?;
    let tls = tls_configs(&specs)?;
    let layout = Layout::new(&config, &specs);
    limits::check(specs.len() as u64, layout.other_threads() as u64).map_err(|shortage| {
        StartError::Limits {
            resource: shortage.resource,
            needed: shortage.needed,
            available: shortage.available,
        }
    })?;

    let announcer = Announcer::new(1 + usize::from(config.on_state.is_some()), specs.len());
    let log = Arc::new(FleetLog::new());
    let (clients, mut members) = new_members(&config, &layout, specs, tls, &announcer, &log);
    let LaneQueue {
        lanes,
        pull,
        workers: queues,
    } = queue(&layout, config.unordered);
    let (closed, closing) = bounded(0);
    let (stopped, stop_publishing) = bounded(0);
    let (intake, stopping) = bounded(0);
    let ends = Ends {
        publishing: Some(stopped),
        intake: Some(intake),
        work: Some(closed),
    };
    let ending = Ending::new(
        clients.clone(),
        layout.workers == 0,
        config.stop_deadline,
        config.stack_size,
        Arc::clone(&log),
        ends,
    );
    let fleet = Fleet::new(announcer.listener(0), pull, Arc::clone(&ending));

    let callback = config.on_state.map(|it| guarded(it, &clients, log));
    let mut states = announcer.listener(1).zip(callback);
    drop(announcer);
    let handling = Arc::new(Handling {
        fleet: routes(&config.handlers, &clients),
        own: members.iter().map(|it| Arc::clone(&it.routes)).collect(),
        on_failure: config.on_failure,
        dead_letter: config.dead_letter,
    });
    let ends = (&stopping, &closing);
    for (n, lane) in (0..layout.workers).zip(queues.iter().cycle()) {
        let (handling, states) = (Arc::clone(&handling), states.take());
        let worker = start_worker(n, lane, &layout, handling, states, &ending, ends)?;
        ending.crew.lock().workers.push(worker);
    }
    drop((queues, handling));
    let ends = (&stop_publishing, &closing);
    let tasks = tasks(&layout, &mut members, config.on_failure);
    for (n, tasks) in tasks.into_iter().enumerate() {
        let lateness = ending.lateness.clone();
        let thread = start_publisher(n, tasks, &layout, lateness, states.take(), ends)?;
        ending.crew.lock().publishers.push(thread);
    }
    let (hold, go) = bounded::<()>(0);
    let network = NetworkSetup {
        lanes,
        share: layout.share,
        pacer: config.connect_rate.map(|rate| Arc::new(Pacer::new(rate))),
        stack_size: layout.stack_size,
        go,
    };
    let set_up = start_clients(members, &network);
    if set_up.is_err() {
        // Before they are let go: none may connect any more.
        clients.stop_now();
    }
    drop(hold);
    set_up?;
    log::info!(
        "fleet started: {} clients, {} threads",
        clients.len(),
        fleet.threads().total()
    );
    Ok(fleet)
}

fn start_worker(
    n: usize,
    lane: &Receiver<LaneBatch>,
    layout: &Layout,
    handling: Arc<Handling>,
    states: Option<(Receiver<Announced>, StateCallback)>,
    ending: &Ending,
    (stopping, closing): (&Receiver<()>, &Receiver<()>),
) -> Result<RunningWorker, StartError> {
    let busy = Busy::new();
    let has_callback = states.is_some();
    let worker = Worker {
        lane: lane.clone(),
        states,
        handling,
        stopping: stopping.clone(),
        closing: closing.clone(),
        expired: Arc::clone(&ending.expired),
        busy: busy.clone(),
        acknowledged: false,
    };
    let name = format!("worker-{n}");
    let thread = spawn(&name, layout.worker_stack_size, move |thread| {
        worker.run(thread);
    })?;
    Ok(RunningWorker {
        thread,
        busy,
        has_callback,
    })
}

/// Makes the clients' threads, and waits until each of them is set up.
fn start_clients(members: Vec<NewMember>, network: &NetworkSetup) -> Result<(), StartError> {
    let mut reports = Vec::with_capacity(members.len());
    for member in members {
        let client = member.client.clone();
        reports.push((client, member.start(network)?));
    }
    for (client, reported) in reports {
        // A disconnected channel is a thread that panicked before it could say anything.
        let said = reported
            .recv()
            .unwrap_or_else(|_| Err("its thread panicked".to_owned()));
        said.map_err(|message| StartError::Setup {
            client: client.name().to_owned(),
            message,
        })?;
    }
    Ok(())
}
