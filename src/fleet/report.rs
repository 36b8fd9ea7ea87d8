//! What a fleet that ends reports: each client by its record, and the threads that have not ended.

use std::time::Instant;

use crate::{
    client::{clients::Clients, handle::Client},
    fleet::crew::Crew,
    observe::{
        lateness::Lateness,
        report::{ClientReport, Report},
        state::{ClientState, Outcome},
    },
    spec::outbox::OnLowered,
};

/// The report of a fleet. `threads` are those that have not ended, beside the clients'.
pub(super) fn report(
    clients: &Clients,
    crew: &Crew,
    is_pull: bool,
    lateness: Lateness,
    threads: Vec<String>,
    until: Option<Instant>,
) -> Report {
    let clients: Vec<_> = clients
        .list()
        .iter()
        .map(|client| client_report(client, crew, is_pull, until))
        .collect();
    let abandoned = clients.iter().filter_map(|client| match &client.outcome {
        Outcome::Abandoned { state } => Some(format!("{} ({state})", client.name)),
        _ => None,
    });
    let abandoned = abandoned.chain(threads).collect();
    Report {
        clients,
        lateness,
        abandoned,
    }
}

fn client_report(
    client: &Client,
    crew: &Crew,
    is_pull: bool,
    until: Option<Instant>,
) -> ClientReport {
    // First: it may wait, and what is counted follows.
    let outcome = outcome(client, until);
    let member = client.member();
    let status = &member.status;
    let stats = client.stats();
    let done = stats.handled + stats.unmatched + stats.dropped + stats.repeated;
    // A handler that asks for the stop still has its message.
    let asking = crew.workers.iter().filter(|worker| {
        worker.busy.client() == Some(member.number) && worker.thread.is_stopping()
    });
    let in_hand = asking.count() as u64;
    let troubles = status.troubles();
    ClientReport {
        name: client.name().to_owned(),
        broker: client.broker().to_owned(),
        client_id: client.client_id().to_owned(),
        outcome,
        stats,
        // In pull mode the application may take them after the end.
        unpromised: member.outbox.unpromised(),
        unhandled: match is_pull {
            true => 0,
            false => stats.received.saturating_sub(done + in_hand),
        },
        last_cause: troubles.last_cause,
        flapped: troubles.flapped,
        is_away: troubles.is_away,
        is_id_contested: troubles.is_id_contested,
        first_failure: status.first_failure(),
        refused_subscriptions: status.refused_subscriptions(),
        lowered_subscriptions: status.lowered_subscriptions(),
        given_up: status.given_up_topics(),
        unfinished_unsubscribes: member.unfinished_unsubscribes(),
        accepts_lowered: member.on_lowered == OnLowered::Accept,
    }
}

/// How a client has ended, or that it is abandoned. One whose function asks for this stop ends behind it; if it
/// has just left the stop it is waited for, until the deadline.
fn outcome(client: &Client, until: Option<Instant>) -> Outcome {
    let member = client.member();
    let thread = member.thread.get();
    let is_stopping = || thread.is_some_and(|it| it.is_stopping());
    let ended = member.status.outcome().or_else(|| {
        if is_stopping() {
            return Some(Outcome::Stopped);
        }
        thread?.join_until(until);
        let asks = || is_stopping().then_some(Outcome::Stopped);
        member.status.outcome().or_else(asks)
    });
    ended.unwrap_or_else(|| match member.status.state() {
        // A start that failed: it never ran.
        ClientState::Starting => Outcome::Stopped,
        state => Outcome::Abandoned {
            state: Box::new(state),
        },
    })
}
