//! Every message comes to its handlers, in order, and a slow one holds up its own lane only.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, QoS};

use crate::support::receiving::{Got, PATIENCE, gate, numbered, subscribed, take};

const STOP: Duration = Duration::from_secs(10);

/// Fails when a message is lost or handled twice, or when the messages of one client and topic go to
/// more than one worker, which would mix them up.
#[test]
fn two_thousand_messages_over_twenty_clients_keep_their_order() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let broker = TestBroker::start().unwrap();
        let (sink, handled) = unbounded();
        let fleet = subscribed(
            Fleet::builder()
                .clients(
                    ClientSpec::new("dev-{i}", broker.url())
                        .subscribe("load/{i}/+", qos)
                        .times(20),
                )
                .workers(4)
                .on_message("load/#", move |message, _clients| {
                    sink.send(Got::of(message))?;
                    Ok(())
                }),
        );
        for n in 0..20 {
            for client in 0..20 {
                for topic in 0..5 {
                    let topic = format!("load/{client}/{topic}");
                    broker.publish(topic, qos, false, numbered(n)).unwrap();
                }
            }
        }
        let mut per_topic: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for got in take(&handled, 2_000) {
            let key = (got.client, got.topic);
            per_topic.entry(key).or_default().push(got.text);
        }
        let in_order: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(per_topic.len(), 100);
        for ((client, topic), texts) in per_topic {
            assert!(topic.starts_with(&client.replace("dev-", "load/")));
            assert_eq!(texts, in_order, "{client} {topic}");
        }
        let total = fleet.stop(STOP).total();
        assert_eq!(
            (total.received, total.handled, total.dropped),
            (2_000, 2_000, 0)
        );
        assert_eq!(handled.len(), 0, "none comes twice");
    }
}

/// Fails when a handler that waits holds up other lanes (one queue behind one worker, or a network
/// thread that waits for the worker), or when a topic changes its lane from message to message.
#[test]
fn a_slow_topic_holds_up_its_own_lane_only() {
    let broker = TestBroker::start().unwrap();
    let (mut gate, door) = gate();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("plant", broker.url()).subscribe("t/+", QoS::AtMostOnce))
            .workers(3)
            .on_message("t/+", move |message, _clients| {
                if message.text() == "slow" {
                    door.pass(message);
                }
                let worker = thread::current().name().unwrap_or_default().to_owned();
                sink.send((message.topic().to_owned(), worker))?;
                Ok(())
            }),
    );
    let topics: Vec<String> = (0..40).map(|n| format!("t/{n}")).collect();
    let publish_all = || {
        for topic in &topics {
            broker
                .publish(topic, QoS::AtMostOnce, false, "quick")
                .unwrap();
        }
    };
    publish_all();
    let lanes: BTreeMap<String, String> = take(&handled, 40).into_iter().collect();
    let workers: BTreeSet<&String> = lanes.values().collect();
    assert_eq!(workers.len(), 3, "forty topics use every lane: {workers:?}");

    broker
        .publish("t/0", QoS::AtMostOnce, false, "slow")
        .unwrap();
    gate.wait_for_one();
    publish_all();
    let held: BTreeSet<&String> = lanes
        .keys()
        .filter(|it| lanes[*it] == lanes["t/0"])
        .collect();
    let others = take(&handled, 40 - held.len());
    for (topic, worker) in &others {
        assert!(!held.contains(topic), "{topic} waits behind the slow one");
        assert_eq!(*worker, lanes[topic], "{topic} stays in its lane");
    }
    assert_eq!(handled.len(), 0, "the held lane waits");
    gate.open();
    take(&handled, held.len() + 1);
    assert_eq!(fleet.stop(STOP).total().handled, 81);
}

/// Fails when a worker has messages of its own that no other takes: three workers are held, and the
/// fourth must get at everything.
#[test]
fn unordered_leaves_everything_to_the_workers_that_are_free() {
    let broker = TestBroker::start().unwrap();
    let (mut gate, door) = gate();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(ClientSpec::new("plant", broker.url()).subscribe("t/+", QoS::AtMostOnce))
            .workers(4)
            .unordered()
            .on_message("t/+", move |message, _clients| {
                if message.text() == "slow" {
                    door.pass(message);
                }
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    for _ in 0..3 {
        broker
            .publish("t/0", QoS::AtMostOnce, false, "slow")
            .unwrap();
        gate.wait_for_one();
    }
    for n in 0..200 {
        let topic = format!("t/{}", n % 10);
        broker
            .publish(topic, QoS::AtMostOnce, false, numbered(n))
            .unwrap();
    }
    let mut texts: Vec<String> = take(&handled, 200).into_iter().map(|it| it.text).collect();
    // With one worker left, even the order is that of receipt.
    assert_eq!(texts, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    gate.open();
    texts = take(&handled, 3).into_iter().map(|it| it.text).collect();
    assert_eq!(texts, ["slow"; 3]);
    assert_eq!(fleet.stop(STOP).total().handled, 203);
}

/// Fails when a matching handler is left out or called for a foreign client, when the order is another
/// one, or when a placeholder in a handler's filter is not filled.
#[test]
fn all_matching_handlers_run_in_order_and_own_ones_for_their_client() {
    let broker = TestBroker::start().unwrap();
    let (sink, calls) = unbounded();
    let labeled = |label: &'static str| {
        let sink = sink.clone();
        move |message: &mqtt_fleet::Message, _: &mqtt_fleet::Clients| {
            let call = (
                label,
                message.client().to_owned(),
                message.text().into_owned(),
            );
            sink.send(call)?;
            Ok(())
        }
    };
    let template = ClientSpec::new("dev-{i}", broker.url())
        .subscribe("#", QoS::AtLeastOnce)
        .on_message("cmd/{name}", labeled("own by name"))
        .on_message("cmd/#", labeled("own"))
        .on_message("cmd/dev-{i}", labeled("own by number"));
    let single = ClientSpec::new("other", broker.url())
        .subscribe("#", QoS::AtLeastOnce)
        .on_message("cmd/{name}", labeled("never"));
    let fleet = subscribed(
        Fleet::builder()
            .clients(template.times(2))
            .client(single)
            .workers(3)
            .on_message("cmd/+", labeled("fleet 1"))
            .on_message("#", labeled("fleet 2"))
            .on_message("cmd/dev-0/", labeled("never")),
    );
    broker
        .publish("cmd/dev-1", QoS::AtLeastOnce, false, "go")
        .unwrap();
    let calls_of = |client: &str, calls: &[(&'static str, String, String)]| -> Vec<&'static str> {
        let of = calls.iter().filter(|(_, by, _)| by == client);
        of.map(|(label, _, _)| *label).collect()
    };
    let all = take(&calls, 3 + 5 + 2);
    assert_eq!(calls_of("dev-0", &all), ["fleet 1", "fleet 2", "own"]);
    assert_eq!(
        calls_of("dev-1", &all),
        ["fleet 1", "fleet 2", "own by name", "own", "own by number"]
    );
    assert_eq!(calls_of("other", &all), ["fleet 1", "fleet 2"]);
    let report = fleet.stop(STOP);
    assert_eq!(calls.len(), 0);
    // One message each, however many handlers it had.
    assert_eq!((report.total().received, report.total().handled), (3, 3));
}

/// Fails when a message that no filter matches is counted as handled or not at all, and when a
/// wildcard at the front matches a topic that begins with `$`, in the broker or in the dispatch.
#[test]
fn unmatched_messages_are_counted_and_wildcards_leave_dollar_topics_alone() {
    let broker = TestBroker::start().unwrap();
    let (sink, calls) = unbounded();
    let labeled = |label: &'static str| {
        let sink = sink.clone();
        move |message: &mqtt_fleet::Message, _: &mqtt_fleet::Clients| {
            sink.send((label, message.topic().to_owned()))?;
            Ok(())
        }
    };
    let fleet = subscribed(
        Fleet::builder()
            .client(
                ClientSpec::new("all", broker.url())
                    .subscribe("#", QoS::AtMostOnce)
                    .subscribe("$SYS/#", QoS::AtMostOnce)
                    .on_message("+/uptime", labeled("plus"))
                    .on_message("$SYS/+", labeled("dollar"))
                    .on_message("end", labeled("end")),
            )
            .client(
                ClientSpec::new("wild", broker.url())
                    .subscribe("#", QoS::AtMostOnce)
                    .on_message("end", labeled("end")),
            )
            .workers(1),
    );
    for topic in [
        "$SYS/uptime",
        "plant/uptime",
        "$SYS/a/b",
        "x",
        "x",
        "/uptime",
        "end",
    ] {
        broker.publish(topic, QoS::AtMostOnce, false, "1").unwrap();
    }
    let seen = take(&calls, 5);
    let of = |label| -> Vec<&str> {
        let calls = seen.iter().filter(|(by, _)| *by == label);
        calls.map(|(_, topic)| topic.as_str()).collect()
    };
    assert_eq!(of("dollar"), ["$SYS/uptime"]);
    assert_eq!(of("plus"), ["plant/uptime", "/uptime"]);
    assert_eq!(of("end").len(), 2);
    let report = fleet.stop(STOP);
    let counts = |name| {
        let stats = report.client(name).unwrap().stats();
        (stats.received, stats.handled, stats.unmatched)
    };
    assert_eq!(counts("all"), (7, 4, 3));
    // The broker sent it none of the two `$SYS` topics.
    assert_eq!(counts("wild"), (5, 1, 4));
    assert_eq!(calls.len(), 0);
    assert!(fleet.wait_ended(PATIENCE).is_ok());
}
