//! The example demo1: twenty clients of one template, each with its own client id, topics and messages.

use std::collections::HashSet;
use std::time::Duration;

use mqtt_fleet::testing::{Packet, TestBroker};

use crate::support::fleet::PATIENCE;
use crate::support::program::Program;

/// Fails if clients share a client id, a topic or a message, if one of them does not receive what it publishes,
/// or if there are other threads than the program says.
#[test]
fn twenty_clients_of_one_template() {
    let broker = TestBroker::start().unwrap();
    let program = Program::example("demo1", &["--broker", &broker.url(), "--seconds", "4"]);
    program.wait_for("All clients connected", PATIENCE);
    for i in 0..20 {
        program.wait_for(
            &format!("client{i} received house/client{i}/bulb: message 2"),
            PATIENCE,
        );
    }
    // And the thread of the crate ctrlc, which belongs to the process.
    assert_eq!(program.threads(), 22 + 1);
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(
        output.contains("current threads = 22: 20 clients, 1 publisher, this one"),
        "{output}"
    );
    let mut told = HashSet::new();
    let (life, _report) = output.split_once("Report").unwrap();
    for line in life.lines() {
        if let Some((name, id)) = line.split_once(" has the client id ") {
            assert!(id.starts_with(name), "{line}");
            told.insert(id.to_owned());
        }
        if let Some((client, message)) = line.split_once(" received ") {
            assert!(
                message.starts_with(&format!("house/{client}/bulb: message ")),
                "{line}"
            );
            assert!(message.ends_with(" (current threads = 22)"), "{line}");
        }
    }
    assert_eq!(told.len(), 20, "{output}");
    let seen = broker.seen();
    let connects = seen
        .iter()
        .filter(|it| matches!(it.packet, Packet::Connect { .. }));
    let ids: HashSet<String> = connects.map(|it| it.client.clone()).collect();
    assert_eq!(ids, told);
    assert!(
        output.contains("all 20 clients ended well\nreceived "),
        "{output}"
    );
}

/// Fails if the program can't be run as the tutorial runs it, or its number of clients can't be chosen.
#[test]
fn it_brings_its_own_broker_and_ends_by_ctrl_c() {
    let program = Program::example("demo1", &["--clients", "3", "--seconds", "60"]);
    program.wait_for("current threads = 5: 3 clients", PATIENCE);
    program.wait_for("client2 received house/client2/bulb: message 1 ", PATIENCE);
    program.signal("INT");
    let (status, output) = program.ended(Duration::from_secs(60));
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!output.contains("client3"), "{output}");
}
