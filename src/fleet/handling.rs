//! What workers call and what follows when it fails: handlers, the state callback, the policy.

use std::sync::Arc;

use crate::{
    client::{
        clients::Clients,
        spec::{ClientSpec, UserHandler},
    },
    fleet::builder::FleetBuilder,
    receive::{
        handler::{FailureSink, Handling, OnFailure, Route},
        message::Message,
        worker::StateCallback,
    },
    supervise::{
        log_lines::{FleetLog, what},
        panic::caught,
        state::StateChange,
        thinning::About,
    },
};

/// Keeps the first failure of each client and does what the policy says.
pub(super) fn failure_sink(clients: &Clients, on_failure: OnFailure) -> FailureSink {
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
pub(super) fn guarded(callback: StateCallback, log: Arc<FleetLog>) -> StateCallback {
    Arc::new(move |change: &StateChange| {
        if let Err(panic) = caught(|| callback(change)) {
            let about = About {
                what: what::STATE_CALLBACK,
                place: "",
                text: &panic,
            };
            log.error(
                &change.client,
                &about,
                format_args!(
                    "the state callback panicked on {}: {panic}",
                    change.client()
                ),
            );
        }
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
    }
}
