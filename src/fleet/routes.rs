//! What workers call and what follows when it fails: handlers, the state callback, the policy.

use std::sync::Arc;

use crate::{
    client::{
        clients::Clients,
        spec::{ClientSpec, UserHandler},
    },
    fleet::builder::FleetBuilder,
    inbox::{
        handler::{FailureSink, Handling, PauseBeforeRetry, Route},
        message::Message,
        worker::StateCallback,
    },
    observe::{
        changes::StateChange,
        failure::{Failure, FailureKind},
        log_lines::FleetLog,
    },
    spec::on_failure::OnFailure,
    supervise::panic::caught,
};

/// Keeps the first failure of each client and does what the policy says.
pub(super) fn failure_sink(clients: &Clients, on_failure: OnFailure) -> FailureSink {
    let clients = clients.clone();
    Arc::new(move |index, failure| {
        let Some(client) = clients.list().get(index) else {
            return;
        };
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

/// The pause before a handler is called again: the stop of its client ends it.
fn pause(clients: &Clients) -> PauseBeforeRetry {
    let clients = clients.clone();
    Arc::new(move |index, pause| {
        let client = clients.list().get(index);
        client.is_none_or(|client| client.member().intake.pause(pause))
    })
}

/// The handlers of the fleet and of each client.
pub(super) fn handling(
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
        pause: pause(clients),
    }
}
