//! Everything is checked before any thread is made, and the error names the client and the field.

use std::collections::HashSet;
use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, FleetBuilder, Problem, QoS, Retry, Session, StartError, Will};

use crate::support::fleet::{PATIENCE, start};
use crate::support::proc;

const URL: &str = "mqtt://127.0.0.1:1";

fn spec() -> ClientSpec {
    ClientSpec::new("checked", URL)
}

/// Fails if a rule is missing, blames another field, or is looked at after threads were made.
#[test]
fn a_client_that_cannot_be_is_named_with_its_field() {
    proc::alone(
        "start_checks::a_client_that_cannot_be_is_named_with_its_field",
        || {
            let nothing = "";
            let (zero, day) = (Duration::ZERO, Duration::from_secs(86_400));
            let qos = QoS::AtLeastOnce;
            let long = "x".repeat(70_000);
            let wrong = [
                ("name", ClientSpec::new("", URL)),
                ("name", ClientSpec::new("a\0b", URL)),
                ("broker", ClientSpec::new("checked", "mqtt//typo")),
                ("broker", ClientSpec::new("checked", "http://127.0.0.1")),
                ("broker", ClientSpec::new("checked", "mqtt://")),
                ("broker", ClientSpec::new("checked", "mqtt://h:70000")),
                ("broker", ClientSpec::new("checked", "mqtt://h/path")),
                ("broker", ClientSpec::new("checked", ("h", 0))),
                ("broker", ClientSpec::new("checked", ("mqtt://h", 1883))),
                ("broker", ClientSpec::new("checked", "localhost:1883")),
                ("or_broker", spec().or_broker("localhost:1883")),
                ("client_id", spec().client_id(nothing)),
                ("client_id", spec().client_id("a\0b")),
                ("client_id", spec().client_id(long.clone())),
                ("session", spec().session(Session::Kept)),
                ("subscribe", spec().subscribe(nothing, qos)),
                ("subscribe", spec().subscribe("a/#/b", qos)),
                ("subscribe", spec().subscribe("a+/b", qos)),
                ("subscribe", spec().subscribe(long.clone(), qos)),
                ("will", spec().will(Will::new("a/#", "x"))),
                ("will", spec().will(Will::new(nothing, "x"))),
                ("will", spec().will(Will::new("a", long.clone()))),
                ("birth", spec().birth("a/+", qos, false, "x")),
                ("birth", spec().birth("a", qos, false, long.repeat(4))),
                ("keep_alive", spec().keep_alive(zero)),
                ("keep_alive", spec().keep_alive(Duration::from_millis(999))),
                ("keep_alive", spec().keep_alive(day)),
                ("connect_timeout", spec().connect_timeout(zero)),
                ("max_packet_size", spec().max_packet_size(127)),
                ("max_packet_size", spec().max_packet_size(1 << 28)),
                ("outbox_capacity", spec().outbox_capacity(0)),
                ("window", spec().window(0)),
                ("window", spec().window(10_001)),
                ("retry", spec().retry(Retry::attempts(0))),
                ("retry", spec().retry(Retry::forever().pause(day..=zero))),
                (
                    "retry",
                    spec().retry(Retry::forever().stable_after(Duration::MAX)),
                ),
                (
                    "publish_every",
                    spec().publish_every(zero, |_client| Ok(())),
                ),
                (
                    "on_message",
                    spec().on_message("#/a", |_message, _clients| Ok(())),
                ),
            ];
            let before = proc::thread_count();
            for (expected, spec) in wrong {
                let shown = format!("{spec:.200?}");
                let name = spec.name().to_owned();
                // The client that is in order must not run either.
                let in_order = ClientSpec::new("in order", URL);
                let error = start_error(Fleet::builder().client(in_order).client(spec));
                let StartError::Client { client, field, .. } = &error else {
                    panic!("{error}: {shown}");
                };
                assert_eq!(
                    (client.as_str(), *field),
                    (name.as_str(), expected),
                    "{error}"
                );
                assert!(error.to_string().contains(expected));
                assert_eq!(proc::thread_count(), before, "{error}");
            }
        },
    );
}

/// Fails if a setting of the whole fleet is not looked at.
#[test]
fn so_is_a_setting_of_the_fleet() {
    let handler = || builder().on_message("a", |_message, _clients| Ok(()));
    let wrong = [
        ("workers", handler().workers(0)),
        ("workers", builder().workers(2)),
        ("workers", handler().workers(1_000_000)),
        (
            "on_message",
            builder().on_message("a/#/b", |_message, _clients| Ok(())),
        ),
        ("queue_capacity", builder().queue_capacity(0)),
        ("queue_bytes", builder().queue_bytes(0)),
        ("connect_rate", builder().connect_rate(0)),
        ("publishers", builder().publishers(0)),
        ("stack_size", builder().stack_size(64 << 10)),
        ("worker_stack_size", builder().worker_stack_size(64 << 10)),
    ];
    for (expected, builder) in wrong {
        let error = start_error(builder);
        let StartError::Fleet { field, .. } = error else {
            panic!("{expected}: {error}");
        };
        assert_eq!(field, expected);
    }
    assert!(matches!(
        start_error(Fleet::builder()),
        StartError::NoClient
    ));
}

fn builder() -> FleetBuilder {
    Fleet::builder().client(spec())
}

fn start_error(builder: FleetBuilder) -> StartError {
    builder.start().expect_err("it must not start")
}

/// Fails if two clients may share what tells them apart: a broker ends the one when the other connects.
#[test]
fn names_and_client_ids_are_unique() {
    let duplicate = |specs: [ClientSpec; 2]| {
        let error = start_error(Fleet::builder().clients(specs));
        let StartError::Client { field, problem, .. } = error else {
            panic!("{error}");
        };
        let Problem::Duplicate { value, other } = problem else {
            panic!("{problem}");
        };
        (field, value, other)
    };
    let same_name = duplicate([spec(), ClientSpec::new("checked", "mqtt://127.0.0.1:2")]);
    let checked = || "checked".to_owned();
    assert_eq!(same_name, ("name", checked(), checked()));
    let mut copies = spec().times(2).into_iter();
    let copies = duplicate([copies.next().unwrap(), copies.next().unwrap()]);
    assert_eq!(copies.0, "name");
    let with_id = |name: &str, url: &str| ClientSpec::new(name, url).client_id("same");
    let same_id = duplicate([
        with_id("a", "mqtt://Broker:1883"),
        with_id("b", "mqtt://broker"),
    ]);
    assert_eq!(same_id, ("client_id", "same".to_owned(), "a".to_owned()));
}

/// Fails if the same client id on two brokers, which do not know each other, is refused.
#[test]
fn one_client_id_serves_two_brokers() {
    let brokers = [TestBroker::start().unwrap(), TestBroker::start().unwrap()];
    let [a, b] = &brokers;
    let fleet = start([
        ClientSpec::new("a", a.url()).client_id("same"),
        ClientSpec::new("b", b.url()).client_id("same"),
    ]);
    fleet.wait_connected(PATIENCE).unwrap();
    for broker in &brokers {
        broker.wait_connected(1, PATIENCE).unwrap();
        assert_eq!(broker.connected(), ["same"]);
    }
}

/// Fails when two brokers behind one host and port, told apart by the path of a WebSocket, may not share a
/// client id; or when two spellings of one may.
#[cfg(feature = "websocket")]
#[test]
fn the_path_of_a_websocket_tells_brokers_apart() {
    let with_id = |name: &str, url: &str| ClientSpec::new(name, url).client_id("same");
    let start = |urls: [&str; 2]| {
        let [a, b] = urls;
        let specs = [with_id("a", a), with_id("b", b)];
        Fleet::builder().clients(specs).start()
    };
    for differ in [
        ["ws://127.0.0.1:1/plant", "ws://127.0.0.1:1/cloud"],
        ["ws://127.0.0.1:1/mqtt?of=a", "ws://127.0.0.1:1/mqtt?of=b"],
        ["unix:///no/such/a", "unix:///no/such/b"],
    ] {
        assert!(start(differ).is_ok(), "{differ:?}");
    }
    for same in [
        ["ws://127.0.0.1:1", "ws://127.0.0.1:1/mqtt"],
        ["mqtt://[::1]", "tcp://[0:0:0:0:0:0:0:1]:1883"],
        ["unix:///no/such/a", "unix:///no//such/./a"],
    ] {
        let error = start(same).unwrap_err();
        assert!(
            matches!(
                error,
                StartError::Client {
                    field: "client_id",
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// Fails if a password, from the URL or from the spec, can be printed with what it is part of.
#[test]
fn nothing_shows_a_password() {
    let fixed = ClientSpec::new("fixed", URL).credentials("user-a", "hunter2");
    let in_url = ClientSpec::new("in-url", "mqtt://user-b:hunter2@127.0.0.1:1");
    let asked = ClientSpec::new("asked", URL)
        .credentials_with(|| Ok(("user-c".to_owned(), "hunter2".to_owned())));
    let broken = ClientSpec::new("broken", "mqtt://user-d:hunter2@host:port");
    let spec = format!("{fixed:?} {in_url:#?} {asked:?} {broken:?}");
    assert!(spec.contains("user-a") && spec.contains("user-b"), "{spec}");
    let good = Fleet::builder().clients([fixed, in_url, asked]);
    let builder = format!("{good:#?}");
    let fleet = good.start().unwrap();
    let running = format!("{fleet:?} {:?}", fleet.clients().iter().collect::<Vec<_>>());
    let report = format!("{0:?} {0}", fleet.stop(PATIENCE));
    let error = start_error(Fleet::builder().client(broken));
    assert!(matches!(
        &error,
        StartError::Client {
            field: "broker",
            ..
        }
    ));
    let error = format!("{error} {error:?}");
    for text in [spec, builder, running, report, error] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Fails if a placeholder is left as it is, or filled with another copy's number.
#[test]
fn a_template_fills_what_the_broker_sees() {
    let broker = TestBroker::start().unwrap();
    let devices = ClientSpec::new("dev-{i}", broker.url())
        .client_id("id-{i}")
        .will(Will::new("gone/{name}", "x"))
        .birth("here/{name}", QoS::AtMostOnce, false, "x")
        .subscribe("cmd/{i}/{name}", QoS::AtLeastOnce)
        .times(3);
    let fleet = start(devices);
    fleet.wait_subscribed(PATIENCE).unwrap();
    let born = broker.wait_for(|_| broker.counts().publishes_received == 3, PATIENCE);
    born.unwrap();
    let seen = broker.seen();
    for i in 0..3 {
        let id = format!("id-{i}");
        let from = seen
            .iter()
            .filter(|seen| seen.direction == Direction::In && seen.client == id);
        let mut texts = Vec::new();
        for seen in from {
            match &seen.packet {
                Packet::Connect { will, .. } => texts.push(will.as_ref().unwrap().topic.clone()),
                Packet::Subscribe { filters, .. } => texts.push(filters[0].0.clone()),
                Packet::Publish { topic, .. } => texts.push(topic.clone()),
                _ => {}
            }
        }
        let expected = [
            format!("gone/dev-{i}"),
            format!("cmd/{i}/dev-{i}"),
            format!("here/dev-{i}"),
        ];
        assert_eq!(texts, expected);
        assert_eq!(fleet.client(&format!("dev-{i}")).unwrap().client_id(), id);
    }
}

/// Fails if two clients are given one client id, or a name is lost in it: the clients would end each other.
#[test]
fn made_up_client_ids_are_unique_and_readable() {
    let broker = TestBroker::start().unwrap();
    let specs = || ClientSpec::new("a-long-device-name-{i}", broker.url()).times(50);
    let (first, second) = (start(specs()), start(specs()));
    first.wait_connected(PATIENCE).unwrap();
    second.wait_connected(PATIENCE).unwrap();
    broker.wait_connected(100, PATIENCE).unwrap();
    let ids: HashSet<_> = broker.connected().into_iter().collect();
    assert_eq!(ids.len(), 100);
    assert!(
        ids.iter()
            .all(|id| id.len() <= 23 && id.starts_with("alongdevice"))
    );
    // Client 4 or client 44?
    let fleet = start(ClientSpec::new("client{i}", broker.url()).times(45));
    fleet.wait_connected(PATIENCE).unwrap();
    for i in [4, 44] {
        let name = format!("client{i}");
        let id = fleet.client(&name).unwrap().client_id().to_owned();
        assert!(id.starts_with(&format!("{name}-")), "{id}");
    }
}

/// Fails if the text of a connect timeout that is too long names only the least one, which it exceeds.
#[test]
fn a_connect_timeout_that_is_too_long_is_told_the_longest() {
    for timeout in [Duration::MAX, Duration::from_secs(1 << 40)] {
        let refused = Fleet::builder()
            .client(spec().connect_timeout(timeout))
            .start()
            .expect_err("longer than a year");
        let text = refused.to_string();
        assert!(text.contains("connect_timeout"), "{text}");
        assert!(text.ends_with("1 s to a year"), "{text}");
    }
}
