//! What workers call and what follows when it fails: handlers, the state callback, the policy.

use std::sync::Arc;

use crate::{
    client::{clients::Clients, handle::Client, spec::UserHandler},
    inbox::{
        message::{Message, Route, Routes},
        worker::StateCallback,
    },
    observe::{
        changes::StateChange,
        failure::{Failure, FailureKind, FailureSink},
        log_lines::FleetLog,
    },
    spec::on_failure::OnFailure,
    supervise::panic::caught,
};

/// Keeps the first failure of a client and does what the policy says.
pub(super) fn failure_sink(
    clients: &Clients,
    client: &Client,
    on_failure: OnFailure,
) -> FailureSink {
    let (clients, client) = (clients.clone(), client.clone());
    Arc::new(move |failure| {
        let status = &client.member().status;
        status.failed(&failure);
        match on_failure {
            OnFailure::StopClient => {
                status.set_fatal(failure);
                client.stop();
            }
            OnFailure::StopFleet => {
                status.set_fatal(failure);
                clients.stop();
            }
            OnFailure::Log | OnFailure::Retry(_) => {}
        }
    })
}

/// A state callback whose panic is counted for the client, logged, and ends there.
pub(super) fn guarded(
    callback: StateCallback,
    clients: &Clients,
    log: Arc<FleetLog>,
) -> StateCallback {
    let clients = clients.clone();
    Arc::new(move |change: &StateChange| {
        let Err(message) = caught(|| callback(change)) else {
            return;
        };
        let Ok(client) = clients.get(change.client()) else {
            return;
        };
        let member = client.member();
        let failure = Failure {
            kind: FailureKind::StateCallback,
            client: Arc::clone(&member.name),
            topic: None,
            message,
            panicked: true,
        };
        member.counters.callback_panics.increment();
        member.status.failed(&failure);
        log.error(&change.client, &failure.about(), format_args!("{failure}"));
    })
}

/// Handlers as workers call them: with all clients at hand.
pub(super) fn routes(handlers: &[(String, UserHandler)], clients: &Clients) -> Routes {
    Routes::new(handlers.iter().map(|(filter, handler)| {
        let (handler, clients) = (Arc::clone(handler), clients.clone());
        Route {
            filter: filter.clone(),
            handler: Arc::new(move |message: &Message| handler(message, &clients)),
        }
    }))
}
