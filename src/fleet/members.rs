//! From checked specs to clients: their records, and their network threads.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use crate::{
    client::{
        clients::Clients, handle::Client, member::Member, spec::ClientSpec, task::ClientTask,
    },
    fleet::{
        config::FleetConfig,
        crew::spawn,
        error::StartError,
        layout::Layout,
        routes::{failure_sink, routes},
    },
    inbox::{
        acks::{AckQueue, Release},
        dispatch::{Dispatch, Lanes},
        message::{Routes, Source},
        share::{Share, Waiting},
    },
    observe::{changes::Announcer, failure::FailureSink, log_lines::FleetLog, status::Status},
    supervise::{pace::Pacer, stop::Intake},
    transport::tls::TlsConfig,
};

/// A client whose network thread is not started yet.
pub(super) struct NewMember {
    pub(super) spec: ClientSpec,
    pub(super) client: Client,
    pub(super) tls: Option<TlsConfig>,
    /// Its own handlers.
    pub(super) routes: Arc<Routes>,
    /// What follows when a function fails for it.
    pub(super) failed: FailureSink,
    pub(super) on_first_connect: Option<Box<dyn FnOnce() + Send>>,
}

/// What the network threads of a fleet have in common.
pub(super) struct NetworkSetup {
    pub(super) lanes: Lanes,
    /// What of QoS 0 of one client may wait.
    pub(super) share: Share,
    pub(super) pacer: Option<Arc<Pacer>>,
    pub(super) stack_size: usize,
    /// Disconnected when all threads are set up: nobody connects before.
    pub(super) go: Receiver<()>,
}

/// Makes the records of all clients, from their checked specs.
pub(super) fn new_members(
    config: &FleetConfig,
    layout: &Layout,
    specs: Vec<ClientSpec>,
    tls: Vec<Option<TlsConfig>>,
    announcer: &Announcer,
    log: &Arc<FleetLog>,
) -> (Clients, Vec<NewMember>) {
    let refused = Arc::default();
    let intake = || match layout.workers {
        0 => Intake::of_pull_mode(&refused),
        _ => Intake::default(),
    };
    let record = |(number, spec): (u64, &ClientSpec)| {
        let settings = &spec.settings;
        let brokers = settings
            .brokers
            .iter()
            .map(|broker| broker.to_string().into());
        let name = settings.name.as_str().into();
        let status = Status::new(name, brokers.collect(), announcer.clone());
        let finish_within = config.stop_deadline;
        let member = Member::new(number, settings, status, finish_within, log, intake());
        Client::new(Arc::new(member))
    };
    let list: Vec<_> = (0..).zip(&specs).map(record).collect();
    let clients = Clients::new(list.clone());
    let all = specs.into_iter().zip(tls).zip(list);
    let members = all.map(|((spec, tls), client)| NewMember {
        routes: Arc::new(routes(&spec.handlers, &clients)),
        failed: failure_sink(&clients, &client, config.on_failure),
        spec,
        client,
        tls,
        on_first_connect: None,
    });
    let members = members.collect();
    (clients, members)
}

impl NewMember {
    /// Makes its network thread. Whether the thread could set itself up comes through the channel.
    pub(super) fn start(
        self,
        network: &NetworkSetup,
    ) -> Result<Receiver<Result<(), String>>, StartError> {
        let source = self.source(network);
        let member = Arc::clone(self.client.member());
        let (report, reported) = bounded(1);
        let task = Box::new(ClientTask {
            settings: self.spec.settings,
            tls: self.tls,
            dispatch: Dispatch::new(Arc::new(source), network.lanes.clone()),
            member,
            pacer: network.pacer.clone(),
            on_first_connect: self.on_first_connect,
            report,
            go: network.go.clone(),
        });
        let thread = spawn(self.client.name(), network.stack_size, move |_| task.run())?;
        // It is started once.
        let _ = self.client.member().thread.set(thread);
        Ok(reported)
    }

    fn source(&self, network: &NetworkSetup) -> Source {
        let member = self.client.member();
        let outbox = Arc::downgrade(member);
        let release: Release = Box::new(move |acknowledgements| {
            // A client that is gone has no connection to acknowledge on.
            if let Some(member) = outbox.upgrade() {
                member.acknowledge(acknowledgements);
            }
        });
        Source {
            number: member.number,
            name: Arc::clone(&member.name),
            counters: Arc::clone(&member.counters),
            log: Arc::clone(&member.log),
            intake: member.intake.clone(),
            acks: AckQueue::new(release),
            waiting: Waiting::new(network.share),
            routes: Arc::clone(&self.routes),
            failed: match network.lanes {
                // No handler is called there, and a message that the application keeps must not keep all clients.
                Lanes::Pull(_) => Arc::new(|_| {}),
                Lanes::Shared(_) | Lanes::Ordered(_) => Arc::clone(&self.failed),
            },
        }
    }
}
