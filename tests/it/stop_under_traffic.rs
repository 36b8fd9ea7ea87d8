//! A gateway under load, stopped again and again at any moment: what it acknowledged to the source has
//! arrived at the other side, and what has not arrived comes again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS, Session};

use crate::support::mosquitto::Mosquitto;
use crate::support::proc::wait_until;
use crate::support::receiving::{PATIENCE, number, numbered, publishes, subscribed, tireless};

const ROUNDS: usize = 20;

/// For each stop: it needs a fraction of it.
const STOP: Duration = Duration::from_secs(30);

/// 4,000 messages a second.
const BURST: usize = 40;
const PAUSE: Duration = Duration::from_millis(10);

/// More than any round waits for.
const MOST_IN_A_ROUND: usize = 1_000;

/// The names of the gateway's clients are their client ids.
const FIELD: &str = "field";
const CLOUD: &str = "cloud";

/// A gateway: what it receives from one broker it passes on to the other, by handlers of whose errors
/// nobody can tell what was behind them.
fn gateway(field: &str, cloud: &str, qos: QoS, unordered: bool) -> Fleet {
    let client = |name: &str, url: &str| {
        ClientSpec::new(name, url)
            .client_id(name)
            .session(Session::Kept)
            .retry(tireless())
    };
    let builder = Fleet::builder()
        .client(client(FIELD, field).subscribe("up/+", qos))
        .client(client(CLOUD, cloud).outbox_capacity(50))
        .workers(3);
    let builder = match unordered {
        true => builder.unordered(),
        false => builder,
    };
    subscribed(builder.on_message("up/+", move |message, clients| {
        let cloud = clients.get(CLOUD)?;
        let payload = message.payload().clone();
        let published = cloud.publish("down", qos, false, payload);
        published
            .map(drop)
            .map_err(|error| error.to_string().into())
    }))
}

/// Publishes messages with ascending numbers at an even pace until the sender is dropped; says how many. Never
/// more than `MOST_IN_A_ROUND` for each round, so that a slow machine has no more to handle in the end.
fn traffic(over: &Receiver<()>, rounds: &AtomicUsize, publish: impl Fn(usize)) -> usize {
    let mut n = 0;
    while over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        if n < (1 + rounds.load(Ordering::Relaxed)) * MOST_IN_A_ROUND {
            (n..n + BURST).for_each(&publish);
            n += BURST;
        }
    }
    n
}

/// Starts and stops the gateway again and again while `publish` brings messages, and at last lets it
/// finish. Returns how many messages there were.
fn stop_again_and_again(
    start: impl Fn() -> Fleet,
    publish: impl Fn(usize) + Send,
    check: impl Fn(),
    has_arrived: impl Fn(usize) -> bool,
) {
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (test, over) = bounded::<()>(0);
        let rounds = &rounds;
        let source = scope.spawn(move || traffic(&over, rounds, publish));
        for round in 0..ROUNDS {
            rounds.store(round, Ordering::Relaxed);
            let fleet = start();
            // Not at one moment of a burst, but at many.
            let enough = 1 + round as u64 * 37;
            wait_until("traffic", PATIENCE, || fleet.stats().received >= enough);
            let report = fleet.stop(STOP);
            assert_eq!(report.exit_code(), 0, "round {round}: {report}");
            let total = report.total();
            assert_eq!(total.handled, total.received, "round {round}: {report}");
            let out = total.published;
            assert_eq!(out.accepted, out.acknowledged, "round {round}: {report}");
            check();
        }
        drop(test);
        let n = source.join().unwrap();
        let fleet = start();
        wait_until("everything has arrived", 3 * PATIENCE, || has_arrived(n));
        assert_eq!(fleet.stop(STOP).exit_code(), 0);
        check();
    });
}

/// The numbers of the messages that the source has the gateway's acknowledgement of.
fn acknowledged(field: &TestBroker) -> HashSet<usize> {
    let mut under_way = HashMap::new();
    let mut done = HashSet::new();
    for seen in field.seen().iter().filter(|it| it.client == FIELD) {
        match (&seen.packet, seen.direction) {
            (
                Packet::Publish {
                    packet_id, payload, ..
                },
                Direction::Out,
            ) => {
                under_way.insert(*packet_id, number(payload));
            }
            (Packet::Puback { packet_id } | Packet::Pubrec { packet_id }, Direction::In) => {
                done.extend(under_way.get(packet_id));
            }
            _ => {}
        }
    }
    done
}

fn arrived(cloud: &TestBroker) -> HashSet<usize> {
    let seen = cloud.seen();
    let publishes = publishes(&seen, CLOUD, Direction::In);
    publishes.iter().map(|it| number(&it.payload)).collect()
}

fn on_test_brokers(qos: QoS, unordered: bool) {
    let (field, cloud) = (
        TestBroker::builder().window(100).start().unwrap(),
        TestBroker::start().unwrap(),
    );
    // The session, so that the broker keeps what comes before the first round.
    drop(gateway(&field.url(), &cloud.url(), qos, unordered));
    stop_again_and_again(
        || gateway(&field.url(), &cloud.url(), qos, unordered),
        |n| {
            let topic = format!("up/{}", n % 7);
            field.publish(topic, qos, false, numbered(n)).unwrap();
        },
        || {
            let lost: Vec<_> = acknowledged(&field)
                .difference(&arrived(&cloud))
                .copied()
                .collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        },
        |n| arrived(&cloud).len() == n,
    );
}

/// Fails when a stop refuses what a handler publishes and acknowledges the message all the same, when
/// clients take messages while the handlers are to end, or when outboxes are not emptied.
#[test]
fn acknowledged_at_qos_1_has_arrived() {
    on_test_brokers(QoS::AtLeastOnce, false);
}

/// Fails when that holds only at QoS 1, or only where each worker has a lane of its own.
#[test]
fn so_it_has_at_qos_2_without_order() {
    on_test_brokers(QoS::ExactlyOnce, true);
}

/// Fails when that holds only on a broker that is made for tests.
#[test]
fn so_it_has_on_mosquitto() {
    let broker = || Mosquitto::builder().max_queued_messages(0).start();
    let (Some(field), Some(cloud)) = (broker(), broker()) else {
        return;
    };
    let (sink, arriving) = unbounded();
    let other_side = Fleet::builder()
        .client(ClientSpec::new("other-side", cloud.url()).subscribe("down", QoS::AtLeastOnce))
        .on_message("down", move |message, _clients| {
            sink.send(number(message.payload()))?;
            Ok(())
        });
    let other_side = subscribed(other_side);
    let source = subscribed(Fleet::builder().client(ClientSpec::new("source", field.url())));
    // The session, so that the broker keeps what comes before the first round.
    drop(gateway(&field.url(), &cloud.url(), QoS::AtLeastOnce, false));
    let client = source.client("source").unwrap();
    let numbers = RefCell::new(HashSet::new());
    stop_again_and_again(
        || gateway(&field.url(), &cloud.url(), QoS::AtLeastOnce, false),
        move |n| {
            let topic = format!("up/{}", n % 7);
            let receipt = client.publish(topic, QoS::AtLeastOnce, false, numbered(n));
            drop(receipt.unwrap());
        },
        || {},
        |n| {
            let mut numbers = numbers.borrow_mut();
            numbers.extend(arriving.try_iter());
            numbers.len() == n
        },
    );
    assert_eq!(source.stop(STOP).exit_code(), 0);
    assert_eq!(other_side.stop(STOP).exit_code(), 0);
}

/// A gateway that loses nothing whatever the stop: a handler ends when the cloud has its message.
fn careful_gateway(field: &TestBroker, cloud: &TestBroker, qos: QoS) -> Fleet {
    let client = |name: &str, url: String| {
        ClientSpec::new(name, url)
            .client_id(name)
            .session(Session::Kept)
            .retry(tireless())
    };
    let builder = Fleet::builder()
        // It is told to stop before the other one.
        .client(client(CLOUD, cloud.url()))
        .client(client(FIELD, field.url()).subscribe("up/+", qos))
        .workers(4)
        .on_message("up/+", move |message, clients| {
            let cloud = clients.get(CLOUD)?;
            let receipt = cloud.publish("down", qos, false, message.payload().clone())?;
            receipt.wait()?;
            Ok(())
        });
    subscribed(builder)
}

/// Fails when one of the ways to stop acknowledges a message whose handler has not ended well, or takes a
/// handler that the stop has cut off for one that failed.
#[test]
fn a_handler_that_waits_for_its_receipts_loses_nothing_by_any_stop() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (field, cloud) = (
            TestBroker::builder().window(100).start().unwrap(),
            TestBroker::start().unwrap(),
        );
        drop(careful_gateway(&field, &cloud, qos));
        let rounds = AtomicUsize::new(0);
        thread::scope(|scope| {
            let (test, over) = bounded::<()>(0);
            let publish = |n: usize| {
                let topic = format!("up/{}", n % 7);
                field.publish(topic, qos, false, numbered(n)).unwrap();
            };
            let rounds = &rounds;
            let source = scope.spawn(move || traffic(&over, rounds, publish));
            for round in 0..ROUNDS {
                rounds.store(round, Ordering::Relaxed);
                let fleet = careful_gateway(&field, &cloud, qos);
                let enough = 1 + round as u64 * 11;
                wait_until("traffic", PATIENCE, || fleet.stats().received >= enough);
                let report = match round % 5 {
                    0 => Some(fleet.stop_now(STOP)),
                    1 => Some(fleet.stop_draining(STOP)),
                    2 => {
                        fleet.stop_handle().stop();
                        Some(fleet.join())
                    }
                    3 => {
                        fleet.client(FIELD).unwrap().stop();
                        Some(fleet.stop_now(STOP))
                    }
                    _ => {
                        drop(fleet);
                        None
                    }
                };
                if let Some(report) = report {
                    assert_eq!(report.total().handler_errors, 0, "round {round}: {report}");
                }
                let (done, there) = (acknowledged(&field), arrived(&cloud));
                let lost: Vec<_> = done.difference(&there).collect();
                assert!(
                    lost.is_empty(),
                    "round {round}: acknowledged and lost: {lost:?}"
                );
            }
            drop(test);
            let n = source.join().unwrap();
            let fleet = careful_gateway(&field, &cloud, qos);
            wait_until("everything has arrived", 3 * PATIENCE, || {
                arrived(&cloud).len() == n
            });
            assert_eq!(fleet.stop(STOP).exit_code(), 0);
        });
    }
}
