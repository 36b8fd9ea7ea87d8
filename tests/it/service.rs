//! The example `service`: what a service manager sees of it, and the unit that it is run by.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mqtt_fleet::QoS;
use mqtt_fleet::testing::TestBroker;

use crate::support::fleet::PATIENCE;
use crate::support::program::Program;
use crate::support::scratch::scratch;
use crate::support::world::has;
use crate::tidy::source::read;

/// A file of one test, removed with it.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> TempFile {
        let path = scratch(name);
        fs::write(&path, text).unwrap();
        TempFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn service(config: &TempFile) -> Program {
    Program::example_with(
        "service",
        &[config.path()],
        &[("RUST_LOG", "info,rumqttc=off")],
    )
}

/// Fails when the service does not do what its file says, when SIGTERM does not end it with code 0, or when
/// the log lacks the states or the report.
#[test]
fn sigterm_ends_it_in_order() {
    let broker = TestBroker::start().unwrap();
    // As it is, but for its brokers.
    let addr = broker.addr().to_string();
    let text = read("examples/service.toml")
        .replace("plant.example", &addr)
        .replace("cloud.example", &addr);
    let config = TempFile::new("service.toml", &text);
    let program = service(&config);
    let uptime = |_: &[_]| !broker.published("service/plant/uptime").is_empty();
    broker.wait_for(uptime, PATIENCE).unwrap();
    program.wait_for("plant: connected", PATIENCE);
    // Retained, so that it does not matter whether the client was there yet.
    for topic in ["sensors/7", "other", "sensors/a/b"] {
        broker
            .publish(topic, QoS::AtLeastOnce, true, "21.5")
            .unwrap();
    }
    program.wait_for("plant: 4 bytes on sensors/7", PATIENCE);
    program.wait_for("plant: 4 bytes on sensors/a/b", PATIENCE);
    program.wait_for("bytes on service/plant/uptime", PATIENCE);
    let born = |_: &[_]| broker.published("service/state") == ["online"];
    broker.wait_for(born, PATIENCE).unwrap();
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!output.contains("on other"), "{output}");
    let (_, end) = output.split_once("the end\n").expect("a report");
    assert!(end.contains("all 2 clients ended well\n"), "{output}");
    assert!(end.contains(" stopped"), "{output}");
}

/// Fails when a service whose broker is lost for good goes on, or says that all is well.
#[test]
fn a_broker_that_is_lost_for_good_is_code_1() {
    let broker = TestBroker::start().unwrap();
    let text = format!("[[client]]\nname = 'plant'\nbroker = '{}'\n", broker.url());
    let config = TempFile::new("service.toml", &text);
    let program = service(&config);
    program.wait_for("plant: connected", PATIENCE);
    broker.stop();
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains("plant: gave up after 3 attempts"),
        "{output}"
    );
    assert!(
        output.contains("1 of 1 client had problems (1 gave up"),
        "{output}"
    );
}

/// Fails when a wrong file is not told from a failure that another start may mend.
#[test]
fn a_wrong_file_is_code_2_and_says_where() {
    let client = |lines: &str| format!("[[client]]\nname = 'plant'\n{lines}\n");
    let right = client("broker = 'mqtt://127.0.0.1'");
    let wrong = [
        (client(""), ":1:1: client[0].broker: missing field"),
        (
            client("broker = 'http://127.0.0.1'"),
            ":3:10: client[0].broker: its scheme 'http'",
        ),
        (
            right.clone() + "subscribe = ['a/#/b']",
            ":4:14: client[0].subscribe[0]: ",
        ),
        (
            right.clone() + "window = 5\nwindows = 5",
            ":5:1: client[0].windows: unknown field",
        ),
        (
            right.clone() + "will = {topic = 'a', payload = '', qos = 3}",
            ":4:42: client[0].will.qos: ",
        ),
        ("client = []".to_owned(), "no client"),
        (right.clone() + &right, "also that of client \"plant\""),
        (
            right + "credentials = {username = 'a', password_file = 'no-such-file'}",
            "no-such-file",
        ),
    ];
    for (text, said) in wrong {
        let config = TempFile::new("wrong.toml", &text);
        let (status, output) = service(&config).ended(PATIENCE);
        assert_eq!(status.code(), Some(2), "{text}: {output}");
        let said = match said.strip_prefix(':') {
            Some(place) => format!("{}:{place}", config.path()),
            None => said.to_owned(),
        };
        assert!(output.contains(&said), "{said} in {text}: {output}");
    }
    let gone = TempFile::new("gone.toml", "");
    fs::remove_file(&gone.0).unwrap();
    let (status, output) = service(&gone).ended(PATIENCE);
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(output.contains(gone.path()), "{output}");
    assert!(output.contains("No such file"), "{output}");
    let other = TempFile::new("service.conf", "");
    let (status, output) = service(&other).ended(PATIENCE);
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(output.contains("ends in .toml or .json"), "{output}");
}

/// Fails when systemd finds a fault in the unit of docs/OPERATIONS.md: a line that it does not know, or one
/// that keeps it from starting.
#[test]
fn systemd_takes_the_unit() {
    if !has("service::systemd_takes_the_unit", "systemd-analyze") {
        return;
    }
    let operations = read("docs/OPERATIONS.md");
    let (_, unit) = operations.split_once("```ini\n").expect("there is a unit");
    let (unit, _) = unit.split_once("```").expect("it ends");
    // It looks whether the program is there, which it is on a machine that has it installed.
    let installed = "/usr/local/bin/service /etc/service.toml";
    assert!(unit.contains(installed), "{unit}");
    let here = unit.replace(installed, "/bin/true /etc/service.toml");
    let verify = |unit: &str| {
        let file = TempFile::new("unit.service", unit);
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", file.path()])
            .output();
        let output = output.expect("systemd-analyze can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (is_right, said) = verify(&here);
    assert!(is_right && said.trim().is_empty(), "{said}");
    let (_, said) = verify(&here.replace("TimeoutStopSec=15", "TimeoutStop=15"));
    assert!(said.contains("TimeoutStop"), "a wrong unit is seen: {said}");
}
