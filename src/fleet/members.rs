//! From a checked spec to a client: its record, and its network thread.

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use crate::{
    client::{handle::Client, member::Member, spec::ClientSpec, task::ClientTask},
    fleet::{crew::spawn, error::StartError},
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
pub(super) struct NetworkSide {
    pub(super) lanes: Lanes,
    /// What of QoS 0 of one client may wait.
    pub(super) share: Share,
    pub(super) pacer: Option<Arc<Pacer>>,
    pub(super) stack_size: usize,
    /// Disconnected when all threads are set up: nobody connects before.
    pub(super) go: Receiver<()>,
}

/// Makes the record of a client.
pub(super) fn client(
    number: u64,
    spec: &ClientSpec,
    announcer: Announcer,
    finish_within: std::time::Duration,
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
        number,
        settings,
        status,
        finish_within,
        log,
        intake,
    )))
}

impl NewMember {
    /// Makes its network thread. Whether the thread could set itself up comes through the channel.
    pub(super) fn start(
        self,
        network: &NetworkSide,
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

    fn source(&self, network: &NetworkSide) -> Source {
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
