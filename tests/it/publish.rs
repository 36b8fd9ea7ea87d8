//! What is published arrives in order; what is not taken comes back with the reason.

use std::thread;
use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, PublishErrorKind, QoS, TopicError};

use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, number, numbered, publishes, subscribed, tireless, wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(10);

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

fn numbers(broker: &TestBroker) -> Vec<usize> {
    publishes(&broker.seen(), "plant", Direction::In)
        .iter()
        .map(|publish| number(&publish.payload))
        .collect()
}

/// Fails when one of the three calls loses, repeats or swaps messages, or sends them at another quality
/// of service, to another topic, or without the retain flag.
#[test]
fn each_call_delivers_in_order_at_each_qos() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker).outbox_capacity(600)));
        let client = fleet.client("plant").unwrap();
        for n in 0..600 {
            let payload = numbered(n);
            match n % 3 {
                0 => client.publish("a", qos, false, payload),
                1 => client.try_publish("b", qos, true, payload),
                _ => client.publish_timeout("c", qos, false, payload, PATIENCE),
            }
            .unwrap();
        }
        wait_for_publishes(&broker, "plant", 600);
        if qos != QoS::AtMostOnce {
            wait_until("all are acknowledged", PATIENCE, || {
                client.stats().published.acknowledged == 600
            });
        }
        assert_eq!(numbers(&broker), (0..600).collect::<Vec<_>>());
        for publish in publishes(&broker.seen(), "plant", Direction::In) {
            assert_eq!((publish.qos, publish.dup), (qos, false));
            assert_eq!(publish.retain, publish.topic == "b");
        }
        let stats = fleet.stop(STOP).total();
        let ledger = stats.published;
        assert_eq!((ledger.accepted, stats.connects), (600, 1));
        assert_eq!(ledger.sent + ledger.acknowledged, 600);
    }
}

/// Fails when the outbox has no bound, when a call that must not wait does, or when the message is not
/// given back; and when a call that waits for room does not go on as soon as there is some.
#[test]
fn a_full_outbox_gives_the_message_back_or_makes_the_caller_wait() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let builder = Fleet::builder().client(plant(&broker).outbox_capacity(3));
    let fleet = builder.start().unwrap();
    let client = fleet.client("plant").unwrap();
    for n in 0..3 {
        client
            .try_publish("t", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    assert_eq!(client.queued(), 3);
    let full = client.try_publish("t/full", QoS::AtLeastOnce, false, "7");
    let full = full.unwrap_err();
    assert_eq!(full.kind(), PublishErrorKind::Full);
    assert_eq!((full.client(), full.topic()), ("plant", "t/full"));
    assert_eq!(full.payload(), &"7");
    assert_eq!(full.into_message(), ("t/full".to_owned(), "7".into()));
    let late = client.publish_timeout("t/late", QoS::AtMostOnce, false, "8", MOMENT);
    let late = late.unwrap_err();
    assert_eq!(late.kind(), PublishErrorKind::Timeout);
    assert_eq!(late.into_message(), ("t/late".to_owned(), "8".into()));

    thread::scope(|scope| {
        let patient = scope.spawn(|| client.publish("t", QoS::AtLeastOnce, false, numbered(3)));
        broker.restart(mqtt_fleet::testing::Sessions::Lost).unwrap();
        patient.join().unwrap().unwrap();
    });
    let patient = client.publish_timeout("t", QoS::AtLeastOnce, false, numbered(4), PATIENCE);
    patient.unwrap();
    wait_for_publishes(&broker, "plant", 5);
    assert_eq!(numbers(&broker), [0, 1, 2, 3, 4]);
    assert_eq!(fleet.stop(STOP).total().published.accepted, 5);
}

/// Fails when a stopped client takes messages that it will never send, or when a call that waits for
/// room is not released by the stop.
#[test]
fn after_a_stop_nothing_is_taken() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let builder = Fleet::builder().client(plant(&broker).outbox_capacity(1));
    let fleet = builder.start().unwrap();
    let client = fleet.client("plant").unwrap();
    client
        .try_publish("t", QoS::AtLeastOnce, false, "0")
        .unwrap();
    thread::scope(|scope| {
        let publish = || client.publish_timeout("t", QoS::AtLeastOnce, false, "1", PATIENCE);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(publish)).collect();
        // Meanwhile those wait: nothing shows from outside when they begin to.
        let impatient = client.publish_timeout("t", QoS::AtLeastOnce, false, "1", 5 * MOMENT);
        assert_eq!(impatient.unwrap_err().kind(), PublishErrorKind::Timeout);
        client.stop();
        for call in waiting {
            let error = call.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), PublishErrorKind::Ended);
            assert_eq!(error.into_message(), ("t".to_owned(), "1".into()));
        }
    });
    client.wait_ended(PATIENCE).unwrap();
    for result in [
        client.publish("t", QoS::AtMostOnce, false, "2"),
        client.try_publish("t", QoS::AtMostOnce, false, "2"),
        client.publish_timeout("t", QoS::AtMostOnce, false, "2", MOMENT),
    ] {
        assert_eq!(result.unwrap_err().kind(), PublishErrorKind::Ended);
    }
    assert_eq!(fleet.stop(STOP).total().published.accepted, 1);
}

/// Fails when a stop in the middle of traffic leaves without DISCONNECT, or after it sends on.
#[test]
fn a_stop_amid_traffic_ends_with_disconnect() {
    let broker = TestBroker::start().unwrap();
    let template = ClientSpec::new("dev-{i}", broker.url()).subscribe("to/{i}", QoS::AtLeastOnce);
    let fleet = subscribed(Fleet::builder().clients(template.times(10)));
    thread::scope(|scope| {
        for (n, client) in fleet.clients().iter().enumerate() {
            let topic = format!("to/{n}");
            let publish = move || client.publish(topic.as_str(), QoS::AtLeastOnce, false, "1");
            scope.spawn(move || while publish().is_ok() {});
        }
        wait_until("all are at it", PATIENCE, || {
            fleet.clients().iter().all(|it| it.stats().received > 10)
        });
        let report = fleet.stop(STOP);
        assert_eq!(report.exit_code(), 0, "{report}");
    });
    for client in fleet.clients().iter() {
        let id = client.client_id();
        broker.wait_disconnected(id, PATIENCE).unwrap();
        let seen = broker.seen();
        let mut from_it = seen
            .iter()
            .filter(|it| it.client == id && it.direction == Direction::In);
        let last = from_it.next_back().unwrap();
        assert_eq!(last.packet, Packet::Disconnect);
    }
}

/// Fails when the size is counted wrong by one byte, or when a packet that is too large comes to
/// rumqttc, which would end the connection for it.
#[test]
fn a_packet_that_is_too_large_is_refused_at_the_door() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).max_packet_size(1_024)));
    let client = fleet.client("plant").unwrap();
    // Fixed header with two bytes of length, topic with its length; a packet identifier above QoS 0.
    for (qos, largest) in [
        (QoS::AtMostOnce, 1_024 - 3 - 3),
        (QoS::AtLeastOnce, 1_024 - 3 - 3 - 2),
        (QoS::ExactlyOnce, 1_024 - 3 - 3 - 2),
    ] {
        let error = client.publish("t", qos, false, vec![b'x'; largest + 1]);
        let error = error.unwrap_err();
        let (size, limit) = (1_025, 1_024);
        assert_eq!(error.kind(), PublishErrorKind::TooLarge { size, limit });
        assert_eq!(error.payload().len(), largest + 1);
        client
            .publish("t", qos, false, vec![b'x'; largest])
            .unwrap();
    }
    wait_for_publishes(&broker, "plant", 3);
    wait_until("they are acknowledged", PATIENCE, || {
        client.stats().published.acknowledged == 2
    });
    assert_eq!(broker.connects("plant"), 1);
    assert_eq!(fleet.stop(STOP).total().published.accepted, 3);
}

/// Fails when an invalid topic comes to the wire, where a broker may end the connection for it.
#[test]
fn an_invalid_topic_is_refused_at_the_door() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker)));
    let client = fleet.client("plant").unwrap();
    let too_long = "x".repeat(65_536);
    for (topic, why) in [
        ("", TopicError::Empty),
        ("a/+", TopicError::Wildcard),
        ("#", TopicError::Wildcard),
        ("a\0b", TopicError::Null),
        (too_long.as_str(), TopicError::TooLong),
    ] {
        let error = client.try_publish(topic, QoS::AtLeastOnce, false, "p");
        let error = error.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Topic(why));
        assert_eq!(error.into_message(), (topic.to_owned(), "p".into()));
    }
    let longest = "x".repeat(65_535);
    client
        .publish(longest, QoS::AtLeastOnce, false, "1")
        .unwrap();
    client
        .publish("$not/é/ ", QoS::AtLeastOnce, false, "2")
        .unwrap();
    wait_for_publishes(&broker, "plant", 2);
    assert_eq!(numbers(&broker), [1, 2]);
    assert_eq!(broker.connects("plant"), 1);
    fleet.stop(STOP);
}

/// Fails when publishes from several threads get lost in the outbox, or when those of one thread are
/// overtaken by each other: the outbox is small, so that all of them wait again and again.
#[test]
fn concurrent_publishers_keep_the_order_of_each() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).outbox_capacity(3)));
    let client = &fleet.client("plant").unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..250 {
                    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][n % 3];
                    let topic = format!("by/{thread}");
                    client.publish(topic, qos, false, numbered(n)).unwrap();
                }
            });
        }
    });
    wait_for_publishes(&broker, "plant", 1_000);
    for thread in 0..4 {
        let payloads = broker.published(&format!("by/{thread}"));
        let numbers: Vec<usize> = payloads.iter().map(|it| number(it)).collect();
        assert_eq!(numbers, (0..250).collect::<Vec<_>>(), "thread {thread}");
    }
    let stats = fleet.stop(STOP).total();
    assert_eq!((stats.published.accepted, stats.connects), (1_000, 1));
}
