//! Without handlers the application takes the messages itself, as from a crossbeam channel.

use std::thread;
use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, QoS};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};

use crate::support::proc::{self, wait_until};
use crate::support::receiving::{PATIENCE, number, numbered, subscribed};

const STOP: Duration = Duration::from_secs(10);

fn pulling(broker: &TestBroker, clients: usize) -> Fleet {
    let template =
        ClientSpec::new("pull-{i}", broker.url()).subscribe("{name}/+", QoS::AtLeastOnce);
    subscribed(Fleet::builder().clients(template.times(clients)))
}

fn publish(broker: &TestBroker, topic: &str, n: usize) {
    broker
        .publish(topic, QoS::AtLeastOnce, false, numbered(n))
        .unwrap();
}

/// Fails when one of the receiving calls waits where it should not, or returns what it should not.
#[test]
fn the_receiving_calls_mean_what_crossbeam_means() {
    let broker = TestBroker::start().unwrap();
    let fleet = pulling(&broker, 1);
    let messages = fleet.messages().unwrap();
    assert!(matches!(messages.try_recv(), Err(TryRecvError::Empty)));
    let timed_out = messages.recv_timeout(Duration::from_millis(10));
    assert!(matches!(timed_out, Err(RecvTimeoutError::Timeout)));
    assert!(messages.is_empty());
    for n in 0..5 {
        publish(&broker, "pull-0/a", n);
    }
    wait_until("all have come", PATIENCE, || messages.len() == 5);
    assert_eq!(number(messages.recv().unwrap().payload()), 0);
    assert_eq!(number(messages.try_recv().unwrap().payload()), 1);
    let third = messages.recv_timeout(PATIENCE).unwrap();
    assert_eq!(number(third.payload()), 2);
    assert_eq!((third.client(), third.topic()), ("pull-0", "pull-0/a"));
    assert_eq!((third.qos(), third.retain()), (QoS::AtLeastOnce, false));
    // Another receiver of the same queue.
    let fourth = fleet.messages().unwrap().iter().next().unwrap();
    assert_eq!(number(fourth.payload()), 3);
    let fifth = fleet.messages().unwrap().into_iter().next().unwrap();
    assert_eq!(number(fifth.payload()), 4);
    fleet.stop(STOP);
}

/// Fails when the stream ends while a client runs, when it ends before what came is taken, or when it
/// never ends: a loop over it would hang, or lose the last messages.
#[test]
fn the_stream_ends_when_all_clients_have_and_the_queue_is_empty() {
    let broker = TestBroker::start().unwrap();
    let fleet = pulling(&broker, 2);
    let messages = fleet.messages().unwrap();
    let first = fleet.client("pull-0").unwrap();
    first.stop();
    first.wait_ended(PATIENCE).unwrap();
    assert!(matches!(messages.try_recv(), Err(TryRecvError::Empty)));
    for n in 0..5 {
        publish(&broker, "pull-1/a", n);
    }
    wait_until("all have come", PATIENCE, || messages.len() == 5);
    fleet.stop(STOP);
    let left: Vec<usize> = messages.iter().map(|it| number(it.payload())).collect();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    assert!(messages.recv().is_err());
    let disconnected = messages.try_recv();
    assert!(matches!(disconnected, Err(TryRecvError::Disconnected)));
    let disconnected = messages.recv_timeout(PATIENCE);
    assert!(matches!(disconnected, Err(RecvTimeoutError::Disconnected)));
    assert_eq!(messages.into_iter().count(), 0);
    assert_eq!(fleet.stats().handled, 5);
}

/// Fails when a waiting loop does not notice the end, when a message goes to two receivers, or when the
/// messages of a client come out of order.
#[test]
fn several_threads_share_the_queue_and_each_sees_a_client_in_order() {
    let broker = TestBroker::start().unwrap();
    let fleet = pulling(&broker, 5);
    let mut all: Vec<(String, usize)> = thread::scope(|scope| {
        let loops: Vec<_> = (0..3)
            .map(|_| {
                let messages = fleet.messages().unwrap();
                scope.spawn(move || {
                    let mut taken = Vec::new();
                    for message in messages {
                        taken.push((message.topic().to_owned(), number(message.payload())));
                    }
                    taken
                })
            })
            .collect();
        for n in 0..100 {
            for client in 0..5 {
                publish(&broker, &format!("pull-{client}/{}", n % 2), n);
            }
        }
        wait_until("all are taken", PATIENCE, || fleet.stats().handled == 500);
        fleet.stop(STOP);
        let mut all = Vec::new();
        for taken in loops {
            let taken = taken.join().unwrap();
            for client in 0..5 {
                let prefix = format!("pull-{client}/");
                let of = taken.iter().filter(|(topic, _)| topic.starts_with(&prefix));
                let numbers: Vec<usize> = of.map(|(_, n)| *n).collect();
                assert!(numbers.is_sorted(), "{prefix}: {numbers:?}");
            }
            all.extend(taken);
        }
        all
    });
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 500);
}

/// Fails when a fleet with handlers gives out a stream: a program that reads it would wait for ever, or
/// take it for ended.
#[test]
fn with_handlers_there_is_no_stream() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("plant", broker.url()).subscribe("#", QoS::AtMostOnce))
            .on_message("#", |_message, _clients| Ok(())),
    );
    let error = fleet.messages().unwrap_err();
    assert!(error.to_string().contains("handlers"), "{error}");
    fleet.stop(STOP);
}

/// Fails when pull mode has a thread besides the clients' own.
#[test]
fn pull_mode_costs_a_thread_per_client_and_no_other() {
    let test = "pull::pull_mode_costs_a_thread_per_client_and_no_other";
    proc::alone(test, || {
        let broker = TestBroker::start().unwrap();
        let before = proc::thread_count();
        let fleet = pulling(&broker, 7);
        assert_eq!(fleet.threads().total(), 7 + 1);
        assert_eq!(proc::threads_named("pull-"), 7);
        // The broker is in this process, and has two threads for each connection.
        assert_eq!(proc::thread_count(), before + 7 + 2 * 7);
        fleet.stop(STOP);
        assert_eq!(fleet.threads().total(), 1);
        wait_until("the threads are gone", PATIENCE, || {
            proc::thread_count() == before
        });
    });
}
