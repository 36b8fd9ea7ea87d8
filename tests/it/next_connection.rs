//! Waits that can ask for a new connection, and are never answered by the old one.

use std::time::Duration;

use mqtt_fleet::testing::{Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS, Retry, Session, WaitError};

use crate::support::fleet::{PATIENCE, quick, spec, start};

fn tireless(name: &str, broker: &TestBroker) -> ClientSpec {
    spec(name, broker).retry(quick(Retry::forever()))
}

fn subscribed(broker: &TestBroker, n: usize) -> Fleet {
    let specs = (0..n).map(|i| tireless(&format!("c{i}"), broker).subscribe("a", QoS::AtLeastOnce));
    let fleet = start(specs);
    fleet.wait_subscribed(PATIENCE).unwrap();
    fleet
}

/// Fails when the wait is answered by a connection from before the restart: then the message finds no
/// subscriber, on a broker that has forgotten them.
#[test]
fn behind_a_restart_what_is_published_arrives_each_time() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(&broker, 3);
    for round in 0..20 {
        let next = fleet.next_connections();
        broker.stop();
        broker.restart(Sessions::Lost).unwrap();
        next.wait_subscribed(PATIENCE).unwrap();
        let text = round.to_string();
        broker
            .publish("a", QoS::AtLeastOnce, false, text.clone())
            .unwrap();
        for _ in 0..3 {
            let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
            assert_eq!(message.text(), text);
        }
    }
}

/// Fails when a connection that was there at the mark answers, or one that began after it does not.
#[test]
fn the_connection_of_the_mark_does_not_count() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(&broker, 1);
    let client = fleet.client("c0").unwrap();
    let next = client.next_connection();
    let moment = Duration::from_millis(20);
    let is_timeout = |result| matches!(result, Err(WaitError::Timeout { .. }));
    assert!(is_timeout(next.wait_connected(moment)));
    assert!(is_timeout(next.wait_subscribed(moment)));
    let error = fleet.next_connections().wait_connected(moment);
    assert_eq!(
        error.unwrap_err().to_string(),
        "client c0 is not on a new connection after 20 ms: connected"
    );
    assert!(client.wait_subscribed(Duration::ZERO).is_ok());
    assert!(broker.kick("c0"));
    next.wait_connected(PATIENCE).unwrap();
    // The same mark, looked at again; a new one waits for a newer connection.
    next.wait_subscribed(PATIENCE).unwrap();
    assert!(is_timeout(client.next_connection().wait_connected(moment)));
}

/// Fails when a mark of a client that has no connection waits for the second one.
#[test]
fn without_a_connection_the_first_one_counts() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let fleet = start([tireless("late", &broker).session(Session::Kept)]);
    let next = fleet.next_connections();
    broker.restart(Sessions::Lost).unwrap();
    next.wait_connected(PATIENCE).unwrap();
    next.wait_subscribed(PATIENCE).unwrap();
    assert!(fleet.clients().iter().all(|client| client.is_connected()));
}

/// Fails when a wait for a client that has ended lasts for ever, or does not name it.
#[test]
fn an_end_ends_the_wait() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("brief", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    let next = fleet.next_connections();
    fleet.client("brief").unwrap().stop();
    let error = next.wait_connected(Duration::MAX).unwrap_err();
    assert!(
        matches!(&error, WaitError::Ended { client, .. } if client == "brief"),
        "{error}"
    );
}
