//! From a checked builder to running threads: build everything, then let the clients connect.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, bounded};

use crate::{
    client::{
        clients::Clients, handle::Client, member::Member, spec::ClientSpec, task::ClientTask,
    },
    fleet::{
        builder::FleetBuilder,
        check::check,
        error::StartError,
        fleet::Fleet,
        layout::Layout,
        layout::{LaneQueue, queue},
        publishers::{self, Begins},
        routes::{failure_sink, guarded, handling},
        stop::{Ending, Ends, RunningWorker},
        tls::tls_configs,
    },
    inbox::{
        dispatch::{Dispatch, Lanes},
        handler::Handling,
        lane::LaneBatch,
        source::{Share, Source},
        worker::{Busy, StateCallback, Worker},
    },
    observe::{
        changes::{Announced, Announcer},
        log_lines::FleetLog,
        status::Status,
    },
    session::ack_order::Release,
    supervise::{limits, log, pace::Pacer, stop::Intake, thread::Thread},
    transport::tls::TlsConfig,
};

/// Starts a fleet. What was started when something fails is stopped by dropping the [`Fleet`].
pub(crate) fn start(builder: FleetBuilder) -> Result<Fleet, StartError> {
    let specs = check(&builder)?;
    let tls = tls_configs(&specs)?;
    let layout = Layout::new(&builder, &specs);
    limits::check(specs.len() as u64, layout.other_threads() as u64).map_err(|shortage| {
        StartError::Limits {
            resource: shortage.resource,
            needed: shortage.needed,
            available: shortage.available,
        }
    })?;

    let announcer = Announcer::new(1 + usize::from(builder.on_state.is_some()), specs.len());
    let log = Arc::new(FleetLog::new());
    let refused = Arc::default();
    let intake = || match layout.workers {
        0 => Intake::of_pull_mode(&refused),
        _ => Intake::default(),
    };
    let clients = specs.iter().map(|spec| {
        client(
            spec,
            announcer.clone(),
            builder.stop_deadline,
            &log,
            intake(),
        )
    });
    let clients = Clients::new(clients.collect());
    let LaneQueue {
        lanes,
        pull,
        workers: queues,
    } = queue(&layout, builder.unordered);
    let (closed, closing) = bounded(0);
    let (stopped, stop_publishing) = bounded(0);
    let (intake, stopping) = bounded(0);
    let mut fleet = Fleet::new(
        announcer.listener(0),
        pull,
        Ending::new(
            clients.clone(),
            layout.workers == 0,
            builder.stop_deadline,
            builder.stack_size,
            Arc::clone(&log),
            Ends {
                publishing: Some(stopped),
                intake: Some(intake),
                work: Some(closed),
            },
        ),
    );

    let failed = failure_sink(&clients, builder.on_failure);
    let callback = builder
        .on_state
        .clone()
        .map(|callback| guarded(callback, &clients, Arc::clone(&log)));
    let states = announcer.listener(1).zip(callback);
    let (worker_states, publisher_states) = match layout.workers {
        0 => (None, states),
        _ => (states, None),
    };
    drop(announcer);

    let handling = Arc::new(handling(&builder, &specs, &clients, Arc::clone(&failed)));
    start_workers(
        &mut fleet,
        &layout,
        &queues,
        worker_states,
        &handling,
        (&stopping, &closing),
    )?;
    drop(queues);
    let begins = publishers::start_publishers(
        &mut fleet,
        &layout,
        publishers::tasks(&layout, &specs, &clients, builder.on_failure, &failed),
        publisher_states,
        (&stop_publishing, &closing),
    )?;
    start_clients(
        &mut fleet,
        &builder,
        &layout,
        &specs.iter().zip(tls).collect::<Vec<_>>(),
        &lanes,
        begins,
    )?;
    log::info!(
        "fleet started: {} clients, {} threads",
        clients.len(),
        fleet.threads().total()
    );
    Ok(fleet)
}

fn client(
    spec: &ClientSpec,
    announcer: Announcer,
    finish_within: Duration,
    log: &Arc<FleetLog>,
    intake: Intake,
) -> Client {
    let settings = &spec.settings;
    let brokers = settings
        .brokers
        .iter()
        .map(|broker| broker.to_string().into())
        .collect();
    let status = Status::new(settings.name.as_str().into(), brokers, announcer);
    Client::new(Arc::new(Member::new(
        settings,
        status,
        finish_within,
        log,
        intake,
    )))
}

fn start_workers(
    fleet: &mut Fleet,
    layout: &Layout,
    queues: &[Receiver<LaneBatch>],
    mut states: Option<(Receiver<Announced>, StateCallback)>,
    handling: &Arc<Handling>,
    (stopping, closing): (&Receiver<()>, &Receiver<()>),
) -> Result<(), StartError> {
    for n in 0..layout.workers {
        let Some(lane) = queues.get(n % queues.len().max(1)) else {
            continue;
        };
        let busy = Busy::new();
        let has_callback = states.is_some();
        let worker = Worker {
            lane: lane.clone(),
            states: states.take(),
            handling: Arc::clone(handling),
            stopping: stopping.clone(),
            closing: closing.clone(),
            expired: Arc::clone(&fleet.ending.expired),
            busy: busy.clone(),
            acknowledged: false,
        };
        let thread = spawn(
            &format!("worker-{n}"),
            layout.worker_stack_size,
            move |thread| {
                worker.run(thread);
            },
        )?;
        fleet.ending.crew.lock().workers.push(RunningWorker {
            thread,
            busy,
            has_callback,
        });
    }
    Ok(())
}

/// Makes the clients' threads and lets them connect when all of them are set up.
fn start_clients(
    fleet: &mut Fleet,
    builder: &FleetBuilder,
    layout: &Layout,
    specs: &[(&ClientSpec, Option<TlsConfig>)],
    lanes: &Lanes,
    begins: Begins,
) -> Result<(), StartError> {
    let (hold, go) = bounded::<()>(0);
    let set_up = set_up_clients(fleet, builder, layout, specs, lanes, begins, &go);
    if set_up.is_err() {
        // Before they are let go: none may connect any more.
        fleet.clients().stop_now();
    }
    drop(hold);
    set_up
}

fn set_up_clients(
    fleet: &mut Fleet,
    builder: &FleetBuilder,
    layout: &Layout,
    specs: &[(&ClientSpec, Option<TlsConfig>)],
    lanes: &Lanes,
    begins: Begins,
    go: &Receiver<()>,
) -> Result<(), StartError> {
    let pacer = builder.connect_rate.map(|rate| Arc::new(Pacer::new(rate)));
    let clients = fleet.clients().clone();
    let mut reports = Vec::with_capacity(specs.len());
    for (index, (((spec, tls), client), begin)) in
        specs.iter().zip(clients.list()).zip(begins).enumerate()
    {
        let member = Arc::clone(client.member());
        let (report, reported) = bounded(1);
        let task = Box::new(ClientTask {
            settings: spec.settings.clone(),
            tls: tls.clone(),
            dispatch: Dispatch::new(
                Arc::new(source(index, &member, layout.share)),
                lanes.clone(),
            ),
            member,
            pacer: pacer.clone(),
            on_first_connect: begin,
            report,
            go: go.clone(),
        });
        let thread = spawn(client.name(), layout.stack_size, move |_| task.run())?;
        fleet.ending.crew.lock().clients.push(thread);
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
    Ok(())
}

fn source(index: usize, member: &Arc<Member>, share: Share) -> Source {
    let outbox = Arc::downgrade(member);
    let release: Release = Box::new(move |acknowledgements| {
        // A client that is gone has no connection to acknowledge on.
        if let Some(member) = outbox.upgrade() {
            member.acknowledge(acknowledgements);
        }
    });
    let (name, counters) = (Arc::clone(&member.name), Arc::clone(&member.counters));
    let (intake, log) = (member.intake.clone(), Arc::clone(&member.log));
    Source::new(index, name, counters, log, share, intake, release)
}

pub(crate) fn spawn(
    name: &str,
    stack_size: usize,
    body: impl FnOnce(&Arc<Thread>) + Send + 'static,
) -> Result<Arc<Thread>, StartError> {
    Thread::spawn_knowing(name, stack_size, body).map_err(|source| StartError::Thread {
        thread: name.to_owned(),
        source,
    })
}
