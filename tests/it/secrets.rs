//! A password goes to the broker and nowhere else: not into any log, error, `Debug` or report.

use mqtt_fleet::testing::{ConnectReply, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS};

use crate::support::fleet::{PATIENCE, ended, quick_retry, spec, wait_connects};
use crate::support::program::Program;

const RIGHT: &str = "s3cret-of-the-spec";
const WRONG: &str = "s3cret-that-is-wrong";
const ASKED: &str = "s3cret-of-the-vault";

/// Everything is logged, of every crate.
fn log_all() {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Trace)
        .init();
}

/// A whole life with losses, refusals and errors, everything of it printed.
fn print_all() -> i32 {
    log_all();
    let logins = TestBroker::builder().login("user", RIGHT);
    let broker = logins.login("asked", ASKED).start().unwrap();
    let at = broker.addr();
    let by_url = |name: &str, password: &str| {
        ClientSpec::new(name, format!("mqtt://user:{password}@{at}"))
            .client_id(name)
            .retry(quick_retry(3))
    };
    let specs = vec![
        spec("spec", &broker)
            .credentials("user", RIGHT)
            .subscribe("in", QoS::ExactlyOnce),
        by_url("url", RIGHT),
        spec("asked", &broker).credentials_with(|| Ok(("asked".to_owned(), ASKED.to_owned()))),
        by_url("refused", WRONG),
        by_url("lost", RIGHT),
    ];
    let builder = Fleet::builder()
        .clients(specs.clone())
        .on_message("in", |_message, _clients| Err("not today".into()));
    println!("{builder:?} {specs:?}");
    broker.on_connect_of("lost", ConnectReply::Close);
    let fleet = builder.start().unwrap();
    println!("{:?}", ended(&fleet, "refused"));
    println!("{:?}", ended(&fleet, "lost"));
    for name in ["spec", "url", "asked"] {
        let client = fleet.client(name).unwrap();
        client.wait_subscribed(PATIENCE).unwrap();
        let receipt = client.publish("in", QoS::AtLeastOnce, false, "hello");
        receipt.unwrap().wait_timeout(PATIENCE).unwrap();
        assert!(broker.cut(name));
        wait_connects(&broker, name, 2);
        println!("{client:?} {:?} {:?}", client.state(), client.stats());
    }
    let typo = ClientSpec::new("typo", format!("mqtt:/user:{WRONG}@{at}"));
    let error = Fleet::builder().client(typo).start().unwrap_err();
    println!("{error} {error:?}");
    println!("{fleet:?} {:?}", fleet.clients());
    while let Ok(change) = fleet.states().try_recv() {
        println!("{change:?} {}", change.state());
    }
    let report = fleet.stop(PATIENCE);
    println!("{report} {report:?}");
    println!("all is said");
    0
}

/// Fails if a password gets into a log line of this crate, of rumqttc or of anything below, at any level,
/// or into what can be printed: specs, builder, fleet, clients, states, errors, report.
#[test]
fn a_password_is_never_printed() {
    let test = "secrets::a_password_is_never_printed";
    let (status, output) = Program::role(test, print_all).ended(3 * PATIENCE);
    assert!(status.success(), "{status}\n{output}");
    assert!(output.contains("all is said"), "{output}");
    // What is looked for would have been there.
    for target in [" mqtt_fleet::", " rumqttc::state]"] {
        assert!(output.contains(target), "nothing of {target}: {output}");
    }
    let shown: Vec<&str> = output.lines().filter(|it| it.contains("s3cret")).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}

/// A broker that sends a client its own CONNECT, with its password.
fn print_echo() -> i32 {
    log_all();
    let broker = TestBroker::builder().login("user", RIGHT).start().unwrap();
    let spec = spec("echoed", &broker).credentials("user", RIGHT);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let client = fleet.client("echoed").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    let mut body = b"\0\x04MQTT\x04\xc2\0\x1e".to_vec();
    for text in ["echoed", "user", RIGHT] {
        body.extend([0, text.len() as u8]);
        body.extend(text.as_bytes());
    }
    let mut connect = vec![0x10, body.len() as u8];
    connect.extend(body);
    assert!(broker.send_raw("echoed", connect));
    wait_connects(&broker, "echoed", 2);
    let report = fleet.stop(PATIENCE);
    println!("{report} {report:?}");
    println!("all is said");
    0
}

/// Fails if a log line or the report of this crate repeats what a hostile broker sends. rumqttc's own lines
/// do, at the level of errors: docs/OPERATIONS.md says how to switch them off.
#[test]
fn a_password_that_a_broker_sends_back_is_not_repeated() {
    let test = "secrets::a_password_that_a_broker_sends_back_is_not_repeated";
    let (status, output) = Program::role(test, print_echo).ended(3 * PATIENCE);
    assert!(status.success(), "{status}\n{output}");
    assert!(output.contains("all is said"), "{output}");
    let mut shown = output.lines().filter(|it| it.contains("s3cret"));
    let ours = shown.find(|it| !it.contains(" rumqttc::"));
    assert_eq!(ours, None);
}
