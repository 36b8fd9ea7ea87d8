//! Fleets that are quick to retry, and what became of them.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, ClientState, Fleet, Outcome, Retry, StateChange, StateChanges};

/// How long something may take that is not promised to be quick, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a promised bound may be exceeded by: a busy machine runs threads late.
pub(crate) const MARGIN: Duration = Duration::from_millis(500);

/// So many attempts with pauses of a few milliseconds. A connection is stable only after a time that no
/// test waits for.
pub(crate) fn quick_retry(attempts: u32) -> Retry {
    quick(Retry::attempts(attempts))
}

/// `retry` with pauses of a few milliseconds.
pub(crate) fn quick(retry: Retry) -> Retry {
    retry
        .pause(Duration::from_millis(5)..=Duration::from_millis(20))
        .stable_after(Duration::from_secs(3_600))
}

/// A client whose client id is its name, and that is quick to retry.
pub(crate) fn spec(name: &str, broker: &TestBroker) -> ClientSpec {
    ClientSpec::new(name, broker.url())
        .client_id(name)
        .retry(quick_retry(3))
}

/// A fleet of clients without handlers.
pub(crate) fn start(specs: impl IntoIterator<Item = ClientSpec>) -> Fleet {
    Fleet::builder()
        .clients(specs)
        .start()
        .expect("the fleet starts")
}

/// Runs one client until it has ended, and says how.
pub(crate) fn outcome_of(spec: ClientSpec) -> Outcome {
    let name = spec.name().to_owned();
    let fleet = start([spec]);
    ended(&fleet, &name)
}

/// Waits until a client has ended by itself.
pub(crate) fn ended(fleet: &Fleet, name: &str) -> Outcome {
    let client = fleet.client(name).expect("the client is in the fleet");
    client.wait_ended(PATIENCE).expect("the client ends")
}

/// The next change of a client's state that is as wanted; the ones before are passed over.
pub(crate) fn next_state(
    states: &StateChanges,
    client: &str,
    is_wanted: impl Fn(&ClientState) -> bool,
) -> StateChange {
    let mut passed = Vec::new();
    loop {
        match states.recv_timeout(PATIENCE) {
            Ok(change) if change.client() == client && is_wanted(change.state()) => return change,
            Ok(change) => passed.push(change),
            Err(error) => panic!("{error}; the changes before: {passed:#?}"),
        }
    }
}

/// Waits until the broker has had so many CONNECTs of a client.
pub(crate) fn wait_connects(broker: &TestBroker, client: &str, n: usize) {
    let connects = broker.wait_for(|_| broker.connects(client) >= n, PATIENCE);
    connects.unwrap_or_else(|error| panic!("{n} CONNECTs of {client}: {error}"));
}

/// How many packets from a client are as wanted.
pub(crate) fn n_from(
    broker: &TestBroker,
    client: &str,
    is_wanted: impl Fn(&Packet) -> bool,
) -> usize {
    let seen = broker.seen();
    let from = seen
        .iter()
        .filter(|seen| seen.direction == Direction::In && seen.client == client);
    from.filter(|seen| is_wanted(&seen.packet)).count()
}
