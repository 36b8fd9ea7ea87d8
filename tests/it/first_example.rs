//! The gateway on the front page of the documentation, as a reader copies it: an outage of the cloud loses nothing.

use std::collections::HashSet;

use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, OnFailure, QoS, Retry, Session};

use crate::support::fleet::{PATIENCE, n_from, quick};
use crate::support::proc::wait_until;
use crate::tidy::source::read;

/// How many messages the outbox of the cloud's client holds here.
const CAPACITY: usize = 50;

/// The front page's fleet; only its outbox is smaller and its pauses are shorter.
fn gateway(plant: &TestBroker, cloud: &TestBroker) -> Fleet {
    let plant = ClientSpec::new("plant", plant.url())
        .retry(quick(Retry::forever()))
        .client_id("gateway-plant")
        .session(Session::Kept)
        .subscribe("temp/+", QoS::AtLeastOnce);
    let cloud = ClientSpec::new("cloud", cloud.url())
        .retry(quick(Retry::forever()))
        .outbox_capacity(CAPACITY);
    let fleet = Fleet::builder()
        .client(plant)
        .client(cloud)
        .on_message("temp/+", |message, clients| {
            let cloud = clients.get("cloud")?;
            cloud.publish(message.topic(), QoS::AtLeastOnce, false, message.payload())?;
            Ok(())
        })
        .on_failure(OnFailure::StopFleet)
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    fleet
}

fn publish(plant: &TestBroker, n: usize) {
    for i in 0..n {
        let topic = format!("temp/{}", i % 7);
        plant
            .publish(topic, QoS::AtLeastOnce, false, i.to_string())
            .unwrap();
    }
}

/// Waits until the outbox of the cloud's client is full.
fn wait_full(fleet: &Fleet) {
    let cloud = fleet.client("cloud").unwrap();
    wait_until("the outbox is full", PATIENCE, || {
        cloud.ledger().in_progress as usize >= CAPACITY
    });
}

/// The different payloads that have come to a broker.
fn arrived(cloud: &TestBroker) -> usize {
    let mut different = HashSet::new();
    for n in 0..7 {
        different.extend(cloud.published(&format!("temp/{n}")));
    }
    different.len()
}

/// Fails when the front page forwards in another way than these tests do.
#[test]
fn it_is_the_first_example() {
    let library = read("src/lib.rs");
    let (example, _) = library.split_once("//! # Threads").unwrap();
    for line in [
        ".session(Session::Kept)",
        "let cloud = ClientSpec::new(\"cloud\", cloud_url).retry(Retry::forever());",
        "cloud.publish(message.topic(), QoS::AtLeastOnce, false, message.payload())?;",
        ".on_failure(OnFailure::StopFleet)",
        "**A message is acknowledged to the plant once it is in the outbox",
    ] {
        assert!(example.contains(line), "{line}");
    }
}

/// Fails when a message is acknowledged and lost because the outbox was full while the cloud was away.
#[test]
fn an_outage_loses_nothing() {
    const MESSAGES: usize = 9_000;
    let (plant, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let fleet = gateway(&plant, &cloud);
    cloud.stop();
    publish(&plant, MESSAGES);
    wait_full(&fleet);
    // What is acknowledged is in the outbox.
    assert!(n_acknowledged(&plant) <= CAPACITY);
    cloud.restart(Sessions::Lost).unwrap();
    let all = |_: &[_]| arrived(&cloud) == MESSAGES;
    cloud.wait_for(all, 3 * PATIENCE).unwrap();
    assert_eq!(fleet.stats().handler_errors, 0);
}

/// Fails when a stop without the cloud acknowledges more than it counts as lost.
#[test]
fn what_a_stop_leaves_is_counted() {
    let (plant, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let fleet = gateway(&plant, &cloud);
    cloud.stop();
    publish(&plant, 500);
    wait_full(&fleet);
    let report = fleet.stop(std::time::Duration::from_secs(1));
    let lost = report.total().published.unsent as usize;
    assert!(n_acknowledged(&plant) <= lost, "{report}");
    assert_eq!(report.exit_code(), 1, "{report}");
}

fn n_acknowledged(plant: &TestBroker) -> usize {
    n_from(plant, "gateway-plant", |packet| {
        matches!(packet, Packet::Puback { .. })
    })
}
