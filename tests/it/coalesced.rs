//! Writes are put together for speed: everything arrives all the same, whole and in order.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::unbounded;
use mqtt_fleet::testing::{Direction, Packet, Seen, TestBroker};
use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS};

use crate::support::proc::wait_until;
use crate::support::receiving::{PATIENCE, number, numbered, publishes, subscribed, tireless};

const STOP: Duration = Duration::from_secs(10);
/// For many messages on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

/// Waits until so many PUBLISH packets have come. (Their number, not the record: it may be long.)
fn wait_came(broker: &TestBroker, count: usize) {
    broker
        .wait_for(|_| broker.counts().publishes_received >= count as u64, LONG)
        .unwrap();
}

/// Waits until all messages have ended, and asserts that they ended well, on one connection.
fn assert_all_well(broker: &TestBroker, fleet: &Fleet, qos: QoS, count: usize) {
    wait_came(broker, count);
    wait_until("all have ended", LONG, || {
        fleet.stats().published.in_progress == 0
    });
    let ledger = fleet.stop(STOP).total().published;
    let well = match qos {
        QoS::AtMostOnce => ledger.sent,
        _ => ledger.acknowledged,
    };
    let count = count as u64;
    assert_eq!((ledger.accepted, well), (count, count), "{ledger:?}");
    assert_eq!(broker.connects("plant"), 1);
    assert_eq!(broker.counts().publishes_received, count);
}

fn numbers(seen: &[Seen], topic: &str) -> Vec<usize> {
    let sent = publishes(seen, "plant", Direction::In).into_iter();
    sent.filter(|it| it.topic == topic)
        .map(|it| number(&it.payload))
        .collect()
}

/// Fails when a message gets lost, doubled or overtaken where many are written together.
#[test]
fn many_small_ones_from_one_thread() {
    for (qos, count) in ALL.into_iter().zip([20_000, 5_000, 5_000]) {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker)));
        let client = fleet.client("plant").unwrap();
        for n in 0..count {
            client.publish("t", qos, false, numbered(n)).unwrap();
        }
        assert_all_well(&broker, &fleet, qos, count);
        let numbers = numbers(&broker.seen(), "t");
        let wrong = numbers.iter().enumerate().find(|(n, it)| n != *it);
        assert_eq!((wrong, numbers.len()), (None, count), "{qos:?}");
    }
}

/// Fails when threads that publish at once disturb each other's order, or a message is taken and never
/// sent because each thought that the other had woken the network thread.
#[test]
fn several_threads() {
    const COUNT: usize = 2_000;
    for qos in ALL {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker)));
        let client = &fleet.client("plant").unwrap();
        thread::scope(|scope| {
            for topic in ["a", "b", "c", "d"] {
                scope.spawn(move || {
                    for n in 0..COUNT {
                        let receipt = client.publish(topic, qos, false, numbered(n)).unwrap();
                        // Now and then the queue runs empty, and the next one has to wake it.
                        if n % 100 == 0 {
                            receipt.wait_timeout(LONG).unwrap();
                        }
                    }
                });
            }
        });
        assert_all_well(&broker, &fleet, qos, 4 * COUNT);
        let seen = broker.seen();
        for topic in ["a", "b", "c", "d"] {
            let in_order: Vec<usize> = (0..COUNT).collect();
            assert!(numbers(&seen, topic) == in_order, "{qos:?} {topic}");
        }
    }
}

/// A payload of this size that no other number has.
fn sized(n: usize, size: usize) -> Bytes {
    let text = format!("{n}:");
    let bytes = text.bytes().chain((0_u8..=255).cycle());
    bytes.take(size).collect()
}

/// Fails when messages around the bounds of what waits packed (512 bytes with the topic), of what is
/// written together (7,000 bytes) and of what the encoder takes without waiting (8,192), or far above,
/// are cut, lost or change places with small ones.
#[test]
fn large_ones_among_small_ones() {
    let sizes = [
        10,
        510,
        511,
        512,
        10,
        513,
        6_980,
        10,
        6_999,
        7_000,
        7_001,
        10,
        10,
        8_180,
        8_191,
        8_192,
        8_193,
        20,
        200 * 1024,
        10,
        30,
        100 * 1024,
        7_000,
        7_000,
        6_000,
        2_000,
        2_000,
        0,
    ];
    for qos in ALL {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker)));
        let client = fleet.client("plant").unwrap();
        let payloads: Vec<Bytes> = (0..10 * sizes.len())
            .map(|n| sized(n, sizes[n % sizes.len()]))
            .collect();
        for payload in &payloads {
            let receipt = client.publish("t", qos, false, payload.clone());
            drop(receipt.unwrap());
        }
        assert_all_well(&broker, &fleet, qos, payloads.len());
        let came = broker.published("t");
        let wrong = (0..payloads.len()).find(|n| came[*n] != payloads[*n]);
        assert_eq!(wrong, None, "{qos:?}");
    }
}

/// Fails when something is dropped because the broker does not read as fast as it is published.
#[test]
fn a_broker_that_reads_slowly() {
    for qos in ALL {
        let broker = TestBroker::start().unwrap();
        broker.read_slowly("plant", Duration::from_millis(1));
        let patient = plant(&broker).connect_timeout(LONG);
        let fleet = subscribed(Fleet::builder().client(patient));
        let client = fleet.client("plant").unwrap();
        let payloads: Vec<Bytes> = (0..2_000).map(|n| sized(n, 5_000)).collect();
        for payload in &payloads {
            let receipt = client.publish("t", qos, false, payload.clone());
            drop(receipt.unwrap());
        }
        assert_all_well(&broker, &fleet, qos, payloads.len());
        assert!(broker.published("t") == payloads, "{qos:?}");
    }
}

/// How many messages were unacknowledged at once, at most, as the broker saw it.
fn most_unacknowledged(seen: &[Seen]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for it in seen {
        match (&it.packet, it.direction) {
            (Packet::Publish { .. }, Direction::In) => now += 1,
            (Packet::Puback { .. } | Packet::Pubcomp { .. }, Direction::Out) => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// Fails when a window of one lets two messages out, or stops with what waits behind it.
#[test]
fn a_window_of_one() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker).window(1)));
        let client = fleet.client("plant").unwrap();
        for n in 0..500 {
            client.publish("t", qos, false, numbered(n)).unwrap();
        }
        assert_all_well(&broker, &fleet, qos, 500);
        assert_eq!(numbers(&broker.seen(), "t"), (0..500).collect::<Vec<_>>());
        assert_eq!(most_unacknowledged(&broker.seen()), 1);
    }
}

/// Fails when the widest window is not used, is exceeded, or runs out of identifiers.
#[test]
fn a_window_of_ten_thousand() {
    const WINDOW: u16 = 10_000;
    const COUNT: usize = 2 * WINDOW as usize + 500;
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker).window(WINDOW).outbox_capacity(COUNT);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    broker.hold_acks(true);
    let publish = |n| client.publish("t", QoS::AtLeastOnce, false, numbered(n));
    let receipts: Vec<_> = (0..COUNT).map(|n| publish(n).unwrap()).collect();
    wait_came(&broker, WINDOW.into());
    // Nothing is behind the last of the window: a SUBSCRIBE is taken, and it is alone.
    client.subscribe("in", QoS::AtMostOnce).unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    assert_eq!(broker.counts().publishes_received, u64::from(WINDOW));
    assert_eq!(client.ledger().acknowledged, 0);
    broker.hold_acks(false);
    for receipt in receipts {
        assert_eq!(receipt.wait_timeout(LONG), Ok(Delivery::Acknowledged));
    }
    assert_all_well(&broker, &fleet, QoS::AtLeastOnce, COUNT);
    let numbers = numbers(&broker.seen(), "t");
    assert!(numbers == (0..COUNT).collect::<Vec<_>>());
}

/// Fails when what is written together, and received together, comes with another content, topic or
/// quality of service, or in another order. Two workers: each topic has its lane. Of each quality of
/// service, because the broker hands on QoS 2 only at PUBREL.
#[test]
fn they_are_handled_as_they_were_published() {
    const COUNT: usize = 3_000;
    let topics = ["t", "plant/line/7/temperature", "wärme/kälte", "€"];
    let sizes = [0, 1, 64, 300, 485, 486, 510, 511, 512, 600, 5_000];
    let broker = TestBroker::start().unwrap();
    let (handled, got) = unbounded();
    let sink = ClientSpec::new("sink", broker.url()).subscribe("#", QoS::ExactlyOnce);
    let fleet = Fleet::builder().client(plant(&broker)).client(sink);
    let fleet = subscribed(fleet.workers(2).on_message("#", move |message, _| {
        let topic = message.topic().to_owned();
        handled.send((topic, message.qos(), message.payload().clone()))?;
        Ok(())
    }));
    let client = fleet.client("plant").unwrap();
    let wanted: Vec<(String, QoS, Bytes)> = (0..COUNT)
        .map(|n| {
            let topic = topics[n % topics.len()].to_owned();
            (topic, ALL[n / 7 % 3], sized(n, sizes[n % sizes.len()]))
        })
        .collect();
    for (topic, qos, payload) in &wanted {
        let receipt = client.publish(topic, *qos, false, payload.clone());
        drop(receipt.unwrap());
    }
    let got: Vec<_> = (0..COUNT)
        .map(|_| got.recv_timeout(LONG).unwrap())
        .collect();
    for (topic, qos) in topics
        .into_iter()
        .flat_map(|topic| ALL.map(|qos| (topic, qos)))
    {
        let alike = |all: &[(String, QoS, Bytes)]| {
            let alike = all
                .iter()
                .filter(|it| (it.0.as_str(), it.1) == (topic, qos));
            alike.cloned().collect::<Vec<_>>()
        };
        let (got, wanted) = (alike(&got), alike(&wanted));
        let wrong = (0..wanted.len()).find(|n| got.get(*n) != wanted.get(*n));
        assert_eq!((wrong, got.len()), (None, wanted.len()), "{topic} {qos:?}");
    }
    fleet.stop(STOP);
}
