//! A publish that a stop refuses is no failure of the function that tried it.

use crate::{
    client::clients::Clients,
    publish::error::{PublishError, PublishErrorKind},
    receive::handler::HandlerResult,
    supervise::log,
};

/// What a handler or pub function returned, without the one error that an orderly stop makes:
/// the refusal of a message by a client that is being stopped. Its outcome tells the rest.
pub(crate) fn forgiven(result: HandlerResult, clients: &Clients) -> HandlerResult {
    let Err(error) = result else { return Ok(()) };
    let refused = error
        .downcast_ref::<PublishError>()
        .filter(|error| error.kind() == PublishErrorKind::Ended);
    let client = refused.and_then(|error| clients.get(error.client()).ok());
    match client {
        Some(client) if client.core().stop.is_raised() => {
            log::debug!("left at the stop: {error}");
            Ok(())
        }
        _ => Err(error),
    }
}
