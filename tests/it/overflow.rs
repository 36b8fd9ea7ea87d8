//! A loud client fills its own share of the queue and nobody else's; QoS 1 is never dropped.

use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, QoS};

use crate::support::proc::wait_until;
use crate::support::receiving::{Got, PATIENCE, gate, numbered, subscribed, take};

const STOP: Duration = Duration::from_secs(20);

/// Fails when the queue is one for all (the flood would take the places of the quiet clients), when
/// the share is not the capacity by the number of clients, and when a message is counted in no bucket
/// or in two.
#[test]
fn a_flood_costs_the_others_nothing() {
    let broker = TestBroker::start().unwrap();
    let (mut gate, door) = gate();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("loud", broker.url()).subscribe("loud/#", QoS::AtMostOnce))
            .clients(
                ClientSpec::new("quiet-{i}", broker.url())
                    .subscribe("quiet/{i}", QoS::AtMostOnce)
                    .times(4),
            )
            .queue_capacity(500)
            .workers(1)
            .on_message("loud/first", move |message, _clients| {
                door.pass(message);
                Ok(())
            })
            .on_message("loud/more", |_message, _clients| Ok(()))
            .on_message("quiet/+", move |message, _clients| {
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    broker
        .publish("loud/first", QoS::AtMostOnce, false, "1")
        .unwrap();
    gate.wait_for_one();
    // Half of it has no handler; the share is the same for both.
    for n in 0..5_000 {
        let topic = ["loud/more", "loud/nobody"][n % 2];
        broker
            .publish(topic, QoS::AtMostOnce, false, numbered(n))
            .unwrap();
    }
    let loud = fleet.client("loud").unwrap();
    wait_until("the flood has come", PATIENCE, || {
        loud.stats().received == 5_001
    });
    // The quiet ones use their whole shares, behind the flood.
    for n in 0..100 {
        for quiet in 0..4 {
            let topic = format!("quiet/{quiet}");
            broker
                .publish(topic, QoS::AtMostOnce, false, numbered(n))
                .unwrap();
        }
    }
    wait_until("the quiet messages have come", PATIENCE, || {
        fleet.stats().received == 5_401
    });
    gate.open();
    let in_order: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let all = take(&handled, 400);
    for quiet in 0..4 {
        let topic = format!("quiet/{quiet}");
        let of = all.iter().filter(|it| it.topic == topic);
        assert_eq!(
            of.map(|it| it.text.clone()).collect::<Vec<_>>(),
            in_order,
            "{topic}"
        );
    }
    let report = fleet.stop(STOP);
    let loud = report.client("loud").unwrap().stats();
    // One was with the worker, a hundred waited.
    assert_eq!(
        (loud.handled, loud.unmatched, loud.dropped),
        (1 + 50, 50, 4_900)
    );
    let total = report.total();
    assert_eq!(
        total.received,
        total.handled + total.dropped + total.unmatched
    );
    assert_eq!(total.dropped, loud.dropped);
}

/// Fails when a flood that nobody holds up loses count, or when a place in the queue is not given back:
/// the workers run, so that places are taken and freed all the time.
#[test]
fn every_message_of_a_flood_is_in_one_bucket() {
    let broker = TestBroker::start().unwrap();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("loud", broker.url()).subscribe("loud/+", QoS::AtMostOnce))
            .client(ClientSpec::new("quiet", broker.url()).subscribe("quiet", QoS::AtMostOnce))
            .queue_capacity(100)
            .workers(3)
            .on_message("loud/a", |_message, _clients| Ok(()))
            .on_message("quiet", move |message, _clients| {
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    for n in 0..10_000 {
        let topic = format!("loud/{}", ["a", "b"][n % 2]);
        broker
            .publish(topic, QoS::AtMostOnce, false, numbered(n))
            .unwrap();
        // Its share is 50, and it never has more than that under way.
        if n % 200 == 0 {
            broker
                .publish("quiet", QoS::AtMostOnce, false, numbered(n / 200))
                .unwrap();
        }
    }
    take(&handled, 50);
    wait_until("the flood has come", PATIENCE, || {
        fleet.stats().received == 10_050
    });
    let report = fleet.stop(STOP);
    let (loud, quiet) = (
        report.client("loud").unwrap().stats(),
        report.client("quiet").unwrap().stats(),
    );
    assert_eq!((quiet.handled, quiet.dropped), (50, 0));
    assert_eq!(
        loud.received,
        loud.handled + loud.unmatched + loud.dropped,
        "{loud:?}"
    );
    assert!(loud.handled + loud.unmatched >= 50, "{loud:?}");
}

/// Fails when a capacity below the number of clients leaves a client without any place.
#[test]
fn each_client_has_at_least_one_place() {
    let broker = TestBroker::start().unwrap();
    let (mut gate, door) = gate();
    let fleet = subscribed(
        Fleet::builder()
            .clients(
                ClientSpec::new("dev-{i}", broker.url())
                    .subscribe("dev/{i}", QoS::AtMostOnce)
                    .times(20),
            )
            .queue_capacity(7)
            .workers(1)
            .on_message("dev/+", move |message, _clients| {
                door.pass(message);
                Ok(())
            }),
    );
    let publish = |client: usize| {
        let topic = format!("dev/{client}");
        broker.publish(topic, QoS::AtMostOnce, false, "1").unwrap();
    };
    publish(0);
    gate.wait_for_one();
    for client in (0..20).chain(0..20) {
        publish(client);
    }
    wait_until("all have come", PATIENCE, || fleet.stats().received == 41);
    gate.open();
    let report = fleet.stop(STOP);
    for client in report.clients() {
        let first = u64::from(client.name() == "dev-0");
        let stats = client.stats();
        assert_eq!(
            (stats.handled, stats.dropped),
            (1 + first, 1),
            "{}",
            client.name()
        );
    }
}

/// Fails when QoS 1 is dropped beyond the share, or when it takes the places of QoS 0.
#[test]
fn qos_1_is_never_dropped() {
    let broker = TestBroker::builder().window(1_000).start().unwrap();
    let (mut gate, door) = gate();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("plant", broker.url()).subscribe("#", QoS::AtLeastOnce))
            .queue_capacity(1)
            .workers(1)
            .on_message("#", move |message, _clients| {
                if message.topic() == "first" {
                    door.pass(message);
                } else {
                    sink.send(Got::of(message))?;
                }
                Ok(())
            }),
    );
    broker
        .publish("first", QoS::AtLeastOnce, false, "1")
        .unwrap();
    gate.wait_for_one();
    for n in 0..999 {
        broker
            .publish("one", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    for n in 0..3 {
        broker
            .publish("zero", QoS::AtMostOnce, false, numbered(n))
            .unwrap();
    }
    wait_until("all have come", PATIENCE, || {
        fleet.stats().received == 1_003
    });
    gate.open();
    let all = take(&handled, 1_000);
    let ones = all.iter().filter(|it| it.topic == "one");
    assert_eq!(
        ones.map(|it| it.text.clone()).collect::<Vec<_>>(),
        (0..999).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let total = fleet.stop(STOP).total();
    assert_eq!((total.handled, total.dropped), (1_001, 2));
}

/// A payload whose message, with its topic, counts as 50,048 bytes.
fn large() -> bytes::Bytes {
    bytes::Bytes::from_static(&[b'x'; 50_000])
}

/// Fails when messages of QoS 0 that wait are bounded by their number only, when bytes that one client fills
/// are missing to another, or when they are not given back.
#[test]
fn a_flood_of_large_messages_fills_bytes() {
    for unordered in [false, true] {
        let broker = TestBroker::start().unwrap();
        broker.record(false);
        let (mut gate, door) = gate();
        let builder = Fleet::builder()
            .client(ClientSpec::new("loud", broker.url()).subscribe("loud/#", QoS::AtMostOnce))
            .client(ClientSpec::new("quiet", broker.url()).subscribe("quiet", QoS::AtMostOnce))
            // A MiB for each: 20 of the messages.
            .queue_bytes(2 * 1024 * 1024)
            .workers(1)
            .on_message("loud/first", move |message, _clients| {
                door.pass(message);
                Ok(())
            })
            .on_message("#", |_message, _clients| Ok(()));
        let fleet = subscribed(match unordered {
            true => builder.unordered(),
            false => builder,
        });
        let stats = |client: &str| fleet.client(client).unwrap().stats();
        let publish = |topic: &str, payload| {
            broker
                .publish(topic, QoS::AtMostOnce, false, payload)
                .unwrap();
        };
        let flood = |round: u64| {
            publish("loud/first", numbered(1));
            gate.wait_for_one();
            for _ in 0..100 {
                publish("loud/more", large());
            }
            let came = || stats("loud").received == round * 101;
            wait_until("the flood has come", PATIENCE, came);
            assert_eq!(stats("loud").dropped, round * 80);
        };
        flood(1);
        for _ in 0..20 {
            publish("quiet", large());
        }
        wait_until("the quiet ones have come", PATIENCE, || {
            stats("quiet").received == 20
        });
        assert_eq!(stats("quiet").dropped, 0);
        gate.let_one_pass();
        wait_until("all are handled", PATIENCE, || {
            stats("loud").handled + stats("quiet").handled == 21 + 20
        });
        flood(2);
        gate.open();
        let report = fleet.stop(STOP);
        let loud = report.client("loud").unwrap().stats();
        assert_eq!((loud.handled, loud.dropped), (42, 160), "{unordered}");
    }
}

/// Fails when a program that takes messages itself has no bound in bytes, or when a message that is larger
/// than the share never finds a place.
#[test]
fn a_message_larger_than_the_share_is_taken_alone() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("pull", broker.url()).subscribe("#", QoS::AtMostOnce);
    let fleet = subscribed(Fleet::builder().client(spec).queue_bytes(1));
    let stats = || fleet.client("pull").unwrap().stats();
    for round in 1..=3 {
        for _ in 0..5 {
            broker
                .publish("t", QoS::AtMostOnce, false, large())
                .unwrap();
        }
        wait_until("all have come", PATIENCE, || stats().received == round * 5);
        assert_eq!(stats().dropped, round * 4);
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.payload(), &large());
        assert!(fleet.messages().unwrap().is_empty());
    }
}
