//! A draining stop ends as soon as nothing is in progress any more, however the last message ended.

use std::time::{Duration, Instant};

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, QoS};

use crate::support::receiving::{PATIENCE, subscribed, tireless};

/// Fails when a message that expires during the drain is not noticed: the stop would take all its time.
#[test]
fn expired_messages_are_not_waited_for() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .max_age(Duration::from_millis(100))
        .retry(tireless());
    let fleet = subscribed(Fleet::builder().client(spec));
    broker.stop();
    let plant = fleet.client("plant").unwrap();
    plant.wait_disconnected(PATIENCE).unwrap();
    for _ in 0..5 {
        plant.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    }
    let since = Instant::now();
    let report = fleet.stop_draining(PATIENCE);
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
    let ledger = report.total().published;
    assert_eq!((ledger.expired, ledger.in_progress), (5, 0));
}
