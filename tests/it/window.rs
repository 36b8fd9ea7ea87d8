//! However the broker acknowledges: no more than the window is unacknowledged, and everything goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, Seen, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, Outcome, QoS};

use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, number, numbered, publishes, subscribed, tireless, wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);

fn plant(broker: &TestBroker, window: u16) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
        .window(window)
}

fn numbers(broker: &TestBroker) -> Vec<usize> {
    publishes(&broker.seen(), "plant", Direction::In)
        .iter()
        .map(|publish| number(&publish.payload))
        .collect()
}

/// Walks through the record of one connection: how many publishes were unacknowledged at once, and
/// whether any packet took an identifier that was in use.
fn most_unacknowledged(seen: &[Seen]) -> usize {
    let mut in_use = BTreeSet::new();
    let mut most = 0;
    for seen in seen {
        match (seen.direction, &seen.packet) {
            (Direction::In, Packet::Publish { packet_id, .. }) if *packet_id != 0 => {
                assert!(in_use.insert(*packet_id), "in use already: {seen}");
                most = most.max(in_use.len());
            }
            (Direction::Out, Packet::Puback { packet_id } | Packet::Pubcomp { packet_id }) => {
                in_use.remove(packet_id);
            }
            (
                Direction::In,
                Packet::Subscribe { packet_id, .. } | Packet::Unsubscribe { packet_id, .. },
            ) => assert!(!in_use.contains(packet_id), "in use already: {seen}"),
            _ => {}
        }
    }
    most
}

/// Fails when more than the window is sent, when a full window holds up SUBSCRIBE, or when what waited
/// behind it does not go out afterwards.
#[test]
fn a_full_window_holds_back_publishes_and_nothing_else() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker, 10)));
        let client = fleet.client("plant").unwrap();
        broker.hold_acks(true);
        for n in 0..50 {
            client.publish("t", qos, false, numbered(n)).unwrap();
        }
        wait_for_publishes(&broker, "plant", 10);
        client.subscribe("news", QoS::AtLeastOnce).unwrap();
        client.wait_subscribed(PATIENCE).unwrap();
        broker
            .publish("news", QoS::AtLeastOnce, false, "read me")
            .unwrap();
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.text(), "read me");
        // Its acknowledgement does not wait for the window either.
        drop(message);
        broker
            .wait_for(
                |seen| {
                    seen.iter()
                        .any(|it| it.packet.name() == "PUBACK" && it.direction == Direction::In)
                },
                PATIENCE,
            )
            .unwrap();
        assert_eq!(numbers(&broker), (0..10).collect::<Vec<_>>());
        assert_eq!(client.queued(), 40);
        broker.hold_acks(false);
        wait_for_publishes(&broker, "plant", 50);
        wait_until("all are acknowledged", PATIENCE, || {
            client.stats().published.acknowledged == 50
        });
        assert_eq!(numbers(&broker), (0..50).collect::<Vec<_>>());
        assert_eq!(most_unacknowledged(&broker.seen()), 10);
        assert_eq!(broker.connects("plant"), 1);
        fleet.stop(STOP);
    }
}

/// Fails when DISCONNECT waits for a window that never opens, or when the outbox goes out first.
#[test]
fn a_full_window_does_not_hold_up_a_stop() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, 5)));
    let client = fleet.client("plant").unwrap();
    broker.hold_acks(true);
    for n in 0..20 {
        client
            .publish("t", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    wait_for_publishes(&broker, "plant", 5);
    let report = fleet.stop_now(STOP);
    assert_eq!(*report.client("plant").unwrap().outcome(), Outcome::Stopped);
    assert_eq!(report.abandoned(), [""; 0]);
    broker.wait_disconnected("plant", PATIENCE).unwrap();
    let seen = broker.seen();
    let last = seen.iter().rfind(|it| it.direction == Direction::In);
    assert_eq!(last.unwrap().packet, Packet::Disconnect);
    assert_eq!(numbers(&broker).len(), 5);
}

/// Fails when acknowledgements out of order make an identifier collide or close rumqttc's own window
/// (it would wait for ever, or end the connection). SUBSCRIBE takes identifiers in between.
#[test]
fn acknowledgements_in_the_wrong_order_harm_nothing() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, 20)));
    let client = fleet.client("plant").unwrap();
    for round in 0..50 {
        broker.hold_acks_of("plant", true);
        for n in 0..20 {
            client
                .publish("t", QoS::AtLeastOnce, false, numbered(20 * round + n))
                .unwrap();
        }
        wait_for_publishes(&broker, "plant", 20 * (round + 1));
        let filter = format!("news/{round}");
        client.subscribe(filter.as_str(), QoS::AtMostOnce).unwrap();
        client.wait_subscribed(PATIENCE).unwrap();
        if round % 2 == 0 {
            client.unsubscribe(filter).unwrap();
        }
        broker.release_acks_reversed("plant");
    }
    wait_until("all are acknowledged", PATIENCE, || {
        client.stats().published.acknowledged == 1_000
    });
    assert_eq!(numbers(&broker), (0..1_000).collect::<Vec<_>>());
    assert_eq!(most_unacknowledged(&broker.seen()), 20);
    assert_eq!(broker.connects("plant"), 1);
    assert_eq!(fleet.stop(STOP).exit_code(), 0);
}

/// Fails like the test above, where publishes wait for each place in the window and so go out while
/// acknowledgements come in reverse.
#[test]
fn a_window_that_refills_while_acknowledgements_come_in_reverse() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, 20)));
    let client = fleet.client("plant").unwrap();
    for n in 0..1_000 {
        client
            .try_publish("t", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
        if n == 0 {
            broker.hold_acks_of("plant", true);
        }
    }
    loop {
        let acknowledged = client.stats().published.acknowledged as usize;
        if acknowledged == 1_000 {
            break;
        }
        let under_way = (acknowledged + 20).min(1_000);
        wait_for_publishes(&broker, "plant", under_way);
        broker.release_acks_reversed("plant");
        broker.hold_acks_of("plant", true);
        wait_until("some are acknowledged", PATIENCE, || {
            client.stats().published.acknowledged as usize > acknowledged
        });
    }
    assert_eq!(numbers(&broker), (0..1_000).collect::<Vec<_>>());
    assert!(most_unacknowledged(&broker.seen()) <= 20);
    assert_eq!(broker.connects("plant"), 1);
    fleet.stop(STOP);
}

/// A window begins small and grows under way. Fails when what was under way at that moment is lost,
/// taken for new or written twice: publishes of ours, or a message of QoS 2 that is half received.
#[test]
fn a_window_grows_with_everything_under_way() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker, 60).subscribe("news", QoS::ExactlyOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    broker
        .publish("news", QoS::ExactlyOnce, false, "read me")
        .unwrap();
    let half_received = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    broker.hold_acks(true);
    for n in 0..100 {
        client
            .publish("t", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    wait_for_publishes(&broker, "plant", 60);
    drop(half_received);
    let completed = |seen: &[Seen]| seen.iter().any(|it| it.packet.name() == "PUBCOMP");
    broker.wait_for(completed, PATIENCE).unwrap();
    broker.hold_acks(false);
    wait_until("all are acknowledged", PATIENCE, || {
        client.stats().published.acknowledged == 100
    });
    assert_eq!(numbers(&broker), (0..100).collect::<Vec<_>>());
    assert_eq!(most_unacknowledged(&broker.seen()), 60);
    assert_eq!(broker.connects("plant"), 1);
    fleet.stop(STOP);
}
