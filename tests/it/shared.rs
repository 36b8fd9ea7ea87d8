//! Shared subscriptions: `$share/group/filter` in handlers, and the example `shared` as two processes on mosquitto.

use std::collections::BTreeMap;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, Message, QoS, Session};

use crate::support::fleet::PATIENCE;
use crate::support::mosquitto::Mosquitto;
use crate::support::proc::wait_until;
use crate::support::program::Program;
use crate::support::receiving::{number, numbered, subscribed, take};

/// Fails when a message of a shared subscription finds no handler: by the name that was subscribed with, by
/// the filter in it, by another one that matches; or when it finds that of another filter.
#[test]
fn handlers_match_by_the_filter_of_a_shared_subscription() {
    let broker = TestBroker::start().unwrap();
    let (called, calls) = unbounded();
    let mut builder = Fleet::builder()
        .client(
            ClientSpec::new("plant", broker.url())
                .subscribe("$share/g/temp/#", QoS::AtLeastOnce)
                .refused_subscription(mqtt_fleet::RefusedSubscription::EndClient),
        )
        .workers(1);
    for filter in [
        "$share/g/temp/#",
        "$share/other/+/7",
        "temp/+",
        "#",
        "$share/g/+",
        "other/#",
    ] {
        let called = called.clone();
        builder = builder.on_message(filter, move |message, _clients| {
            called.send((filter, message.topic().to_owned()))?;
            Ok(())
        });
    }
    let fleet = subscribed(builder);
    broker
        .publish("temp/7", QoS::AtLeastOnce, false, "21.5")
        .unwrap();
    for filter in ["$share/g/temp/#", "$share/other/+/7", "temp/+", "#"] {
        let (by, topic) = calls.recv_timeout(PATIENCE).unwrap();
        assert_eq!((by, topic.as_str()), (filter, "temp/7"));
    }
    let report = fleet.stop(PATIENCE);
    assert!(calls.is_empty());
    assert_eq!((report.total().handled, report.exit_code()), (1, 0));
}

/// Fails when the test broker gives a message of a group to more than one of it, to none, or always to the
/// same one, or takes notice of a group where another subscription is concerned.
#[test]
fn the_test_broker_gives_each_message_to_one_of_a_group() {
    let broker = TestBroker::start().unwrap();
    let group = ClientSpec::new("worker-{i}", broker.url())
        .subscribe("$share/g/jobs/#", QoS::AtLeastOnce)
        .times(3);
    let all = ClientSpec::new("all", broker.url()).subscribe("jobs/#", QoS::AtLeastOnce);
    let (called, calls) = unbounded();
    let fleet = subscribed(Fleet::builder().clients(group).client(all).on_message(
        "jobs/#",
        move |message, _clients| {
            called.send((message.client().to_owned(), number(message.payload())))?;
            Ok(())
        },
    ));
    for n in 1..=30 {
        broker
            .publish("jobs/x", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    let mut by: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (client, n) in take(&calls, 60) {
        by.entry(client).or_default().push(n);
    }
    fleet.stop(PATIENCE);
    assert_eq!(by["all"], (1..=30).collect::<Vec<_>>());
    for i in 0..3 {
        assert_eq!(by[&format!("worker-{i}")].len(), 10, "{by:?}");
    }
}

/// The numbers of the jobs that a worker says it has handled.
fn handled(output: &str) -> Vec<usize> {
    let lines = output
        .lines()
        .filter(|line| line.contains(" handled jobs/"));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    numbers.collect()
}

/// Fails when a message is handled by both processes or by none, when one of them gets nothing, or when one
/// that has left is still given something.
#[test]
fn two_processes_share_a_subscription_on_mosquitto() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let url = mosquitto.url();
    let worker = |name: &str| {
        let program = Program::example("shared", &["--broker", &url, "--name", name]);
        program.wait_for(&format!("{name} is ready"), PATIENCE);
        program
    };
    let (a, b) = (worker("worker-a"), worker("worker-b"));
    let source = subscribed(Fleet::builder().client(ClientSpec::new("source", &url)));
    let publish = |n: usize| {
        let job = format!("job {n}");
        let source = source.client("source").unwrap();
        source
            .publish(format!("jobs/{n}"), QoS::AtLeastOnce, false, job)
            .unwrap();
    };
    (1..=100).for_each(publish);
    let both = || [handled(&a.output()), handled(&b.output())];
    wait_until("100 are handled", PATIENCE, || both().concat().len() >= 100);
    a.signal("TERM");
    let (status, of_a) = a.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{of_a}");
    let left = || mosquitto.log().contains("Client worker-a disconnected");
    wait_until("it has left", PATIENCE, left);
    (101..=120).for_each(publish);
    wait_until("the other one goes on", PATIENCE, || {
        handled(&of_a).len() + handled(&b.output()).len() >= 120
    });
    b.signal("TERM");
    let (status, of_b) = b.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{of_b}");
    let (in_a, in_b) = (handled(&of_a), handled(&of_b));
    assert!(in_a.len() >= 10 && in_b.len() >= 30, "{in_a:?} {in_b:?}");
    assert!(
        of_a.contains(&format!("worker-a handled {} in all", in_a.len())),
        "{of_a}"
    );
    let mut all = [in_a, in_b].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=120).collect::<Vec<_>>());
}

/// What docs/SCALING.md says of a worker that leaves with jobs in hand. Fails when mosquitto does otherwise:
/// then that page is wrong.
#[test]
fn what_a_worker_had_in_hand_waits_for_its_session_on_mosquitto() {
    for session in [Session::Clean, Session::Kept] {
        let Some(mosquitto) = Mosquitto::start() else {
            return;
        };
        let url = mosquitto.url();
        let worker = |name: &str| {
            let spec = ClientSpec::new(name, &url).client_id(name).session(session);
            subscribed(Fleet::builder().client(spec.subscribe("$share/g/jobs/#", QoS::AtLeastOnce)))
        };
        let (a, b) = (worker("worker-a"), worker("worker-b"));
        let source = subscribed(Fleet::builder().client(ClientSpec::new("source", &url)));
        let publish = |numbers: std::ops::RangeInclusive<usize>| {
            for n in numbers {
                let source = source.client("source").unwrap();
                let receipt = source.publish("jobs/x", QoS::AtLeastOnce, false, numbered(n));
                receipt.unwrap().wait_timeout(PATIENCE).unwrap();
            }
        };
        let next = |fleet: &Fleet| fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        let numbers = |fleet: &Fleet, n: usize| -> Vec<usize> {
            (0..n).map(|_| number(next(fleet).payload())).collect()
        };
        publish(1..=10);
        // In turns. What the one has is not acknowledged before it leaves.
        let in_hand: Vec<Message> = (0..5).map(|_| next(&a)).collect();
        assert_eq!(numbers(&b, 5), [2, 4, 6, 8, 10]);
        a.stop(PATIENCE);
        drop(in_hand);
        publish(11..=20);
        if session == Session::Clean {
            // Nobody gets what it had; the other one gets all that is new.
            assert_eq!(numbers(&b, 10), (11..=20).collect::<Vec<_>>());
            let a = worker("worker-a");
            publish(21..=22);
            let first = numbers(&a, 1)[0];
            assert!(first > 20, "{first}");
        } else {
            // It is waited for, and its share of what is new waits too.
            assert_eq!(numbers(&b, 5), [12, 14, 16, 18, 20]);
            let a = worker("worker-a");
            assert_eq!(numbers(&a, 10), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
        }
    }
}
