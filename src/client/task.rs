//! The whole life of a client's thread: set up, connect and iterate, end with an outcome.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::{
    client::{brokers::Brokers, client_loop::ClientLoop, member::Member},
    engine::{Engine, iter::state::IterEngine},
    inbox::dispatch::Dispatch,
    observe::{
        log_lines::what,
        state::{ClientState, Outcome},
        thinning::About,
    },
    outbox::{brief_wait::BriefWaits, send_batch::SendBatch},
    session::packet::Outgoing,
    spec::{retry::Attempts, settings::Settings},
    supervise::{
        log,
        pace::Pacer,
        panic::{caught, discard},
    },
    transport::tls::TlsConfig,
};

/// What a client's thread is given, before it has a connection.
pub(crate) struct ClientTask {
    pub(crate) settings: Settings,
    /// For the brokers that are spoken to over TLS.
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) member: Arc<Member>,
    pub(crate) dispatch: Dispatch,
    pub(crate) pacer: Option<Arc<Pacer>>,
    pub(crate) on_first_connect: Option<Box<dyn FnOnce() + Send>>,
    pub(crate) report: Sender<Result<(), String>>,
    pub(crate) go: Receiver<()>,
}

impl ClientTask {
    /// The whole life of a client's thread. On the heap, and below in parts of their own: the
    /// pages of a stack that were once touched stay with the thread.
    pub(crate) fn run(self: Box<Self>) {
        let member = Arc::clone(&self.member);
        // rumqttc has unwraps that a peer can reach: a panic is an outcome, not a lost thread.
        let outcome = caught(|| self.live());
        let ended = caught(|| member.outbox.end());
        let outcome = match (outcome, ended) {
            (Ok(outcome), Ok(())) => outcome,
            (Err(message), _) | (_, Err(message)) => Outcome::Panicked { message },
        };
        match &outcome {
            Outcome::Stopped => log::debug!("client {}: {outcome}", member.name),
            _ => {
                let (broker, text) = (member.status.broker(), outcome.to_string());
                let about = About {
                    what: what::ENDED,
                    place: broker,
                    text: &text,
                };
                member.log.error(
                    &about,
                    format_args!("client {} at {broker} ended: {text}", member.name),
                );
            }
        }
        member.status.set(ClientState::Ended { outcome });
    }

    #[inline(never)]
    fn live(self: Box<Self>) -> Outcome {
        let mut client_loop = match self.set_up() {
            Ok(client_loop) => client_loop,
            Err(message) => return Outcome::Panicked { message },
        };
        let outcome = caught(|| client_loop.run()).unwrap_or_else(|message| {
            client_loop.abandon();
            Outcome::Panicked { message }
        });
        // With it goes the credentials function.
        discard(client_loop);
        outcome
    }

    /// Builds what the thread needs, and waits until all the others have too.
    #[inline(never)]
    fn set_up(mut self: Box<Self>) -> Result<Box<ClientLoop>, String> {
        let (engine, brokers) = match self.build() {
            Ok(built) => built,
            Err(message) => {
                // The starter waits for this report and then stops the fleet.
                let _ = self.report.send(Err(message.clone()));
                return Err(message);
            }
        };
        let _ = self.report.send(Ok(()));
        // Nothing is ever sent: this waits for the sender to be dropped.
        let _ = self.go.recv();
        let settings = self.settings;
        Ok(Box::new(ClientLoop {
            member: self.member,
            engine,
            dispatch: self.dispatch,
            pacer: self.pacer,
            brokers,
            attempts: Attempts::new(settings.retry),
            progress: Vec::new(),
            batch: SendBatch::default(),
            birth: settings.birth.map(|birth| Outgoing {
                topic: birth.topic,
                qos: birth.qos,
                retain: birth.retain,
                payload: birth.payload,
            }),
            on_refused_subscription: settings.refused_subscription,
            brief_waits: BriefWaits::default(),
            ending: None,
            on_first_connect: self.on_first_connect,
            answered: false,
            ended_on: None,
            outage: None,
        }))
    }

    /// rumqttc's client, whose other half goes into the outbox, and what it will connect to.
    #[inline(never)]
    fn build(&mut self) -> Result<(Box<dyn Engine>, Brokers), String> {
        let brokers = Brokers::new(&self.settings);
        let (engine, waker) = IterEngine::new(self.settings.clone(), self.tls.take())?;
        self.member.outbox.attach(Box::new(waker));
        Ok((engine, brokers))
    }
}
