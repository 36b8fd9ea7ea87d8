//! The example demo1a: clients of several brokers from a file, TOML or JSON, with functions by name.

use std::fs;

use mqtt_fleet::testing::TestBroker;

use crate::support::certificates::Certificates;
use crate::support::fleet::PATIENCE;
use crate::support::mosquitto::Mosquitto;
use crate::support::program::Program;
use crate::support::scratch::scratch;
use crate::tidy::source::read;

/// Fails if a client of the file is missing, is at another broker, can't log in, or has not its function.
#[test]
fn its_own_file_becomes_a_fleet() {
    let program = Program::example("demo1a", &["--seconds", "60"]);
    program.wait_for("clients in the file: plant, cloud, sensor-{i}", PATIENCE);
    program.wait_for("All clients connected", PATIENCE);
    for i in 0..3 {
        // The first of each, from a sensor to the plant's broker, and on to the cloud's.
        program.wait_for(
            &format!("plant received sensors/sensor-{i}/temp: 21"),
            PATIENCE,
        );
        program.wait_for(
            &format!("cloud received plant/sensors/sensor-{i}/temp: 21"),
            PATIENCE,
        );
        // The birth message of the plant's client.
        program.wait_for(
            &format!("sensor-{i} received gateway/state: online"),
            PATIENCE,
        );
    }
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    let broker_of = |name: &str| {
        let line = output
            .lines()
            .find(|line| line.starts_with(&format!("{name} at ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in:\n{output}"));
        line.split(' ').nth(2).unwrap().to_owned()
    };
    assert_ne!(broker_of("plant"), broker_of("cloud"));
    for i in 0..3 {
        assert_eq!(broker_of(&format!("sensor-{i}")), broker_of("plant"));
    }
    assert!(
        output.contains("all 5 clients ended well\nreceived "),
        "{output}"
    );
}

/// Fails if a JSON file does not do, or two real brokers of a file are mixed up.
#[test]
fn a_json_file_on_two_brokers() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let other = TestBroker::start().unwrap();
    let path = scratch("demo1a.json");
    let text = format!(
        r#"{{"client": [
            {{"name": "left", "broker": "{}", "subscribe": ["house/#"]}},
            {{"name": "right", "broker": "{}", "subscribe": [{{"filter": "house/#", "qos": 1}}]}}
        ]}}"#,
        mosquitto.url(),
        other.url()
    );
    fs::write(&path, text).unwrap();
    let program = Program::example(
        "demo1a",
        &["--file", path.to_str().unwrap(), "--seconds", "60"],
    );
    program.wait_for("All clients connected", PATIENCE);
    fs::remove_file(&path).unwrap();
    mosquitto.publish("house/door", "open", 1, false);
    other
        .publish("house/window", mqtt_fleet::QoS::AtLeastOnce, false, "shut")
        .unwrap();
    program.wait_for("left received house/door: open", PATIENCE);
    program.wait_for("right received house/window: shut", PATIENCE);
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!output.contains("left received house/window"), "{output}");
}

/// Fails if a transport of a file is not spoken, if a file of `tls` is not looked for beside it, if a list is not
/// tried in turn, or if the comment in the file of the example would not do what it says.
#[test]
fn every_transport_in_one_file() {
    let made = Certificates::new();
    let ca = made.authority("branch-ca");
    made.issue(&ca, "right", &["localhost"]);
    let socket = made.file("mqtt.sock");
    let shown = made.shown("right");
    let builder = Mosquitto::builder()
        .listener(&shown)
        .listener("protocol websockets")
        .listener(&format!("protocol websockets\n{shown}"))
        .setting("listener", &format!("0 {}", socket.display()));
    let Some(mosquitto) = builder.start() else {
        return;
    };
    let away = TestBroker::start().unwrap();
    away.stop();
    let at = |scheme: &str, n: usize| format!("{scheme}://localhost:{}", mosquitto.port_of(n));
    let own = read("examples/demo1a.toml");
    let (_, comment) = own.split_once("has all of them:\n").unwrap();
    let lines = comment.lines().map(|line| line.strip_prefix('#').unwrap());
    let clients = lines.collect::<Vec<_>>().join("\n");
    let clients = clients
        .replace("mqtts://branch.example", &at("mqtts", 0))
        .replace("\"ws://branch.example", &format!("\"{}", at("ws", 1)))
        .replace("wss://branch.example", &at("wss", 2))
        .replace("/run/mosquitto.sock", &socket.display().to_string());
    let more = format!(
        "\n[[client]]\nname = 'plain'\nbroker = '{}'\nsubscribe = ['house/#']\n\
         [[client]]\nname = 'moved'\nbroker = ['{}', '{}']\nsubscribe = ['house/#']\n\
         tls = {{ca_file = 'branch-ca.pem'}}\n",
        mosquitto.url(),
        away.url(),
        at("wss", 2),
    );
    let file = made.write("fleet.toml", clients + &more);
    let program = Program::example(
        "demo1a",
        &["--file", file.to_str().unwrap(), "--seconds", "60"],
    );
    program.wait_for("All clients connected", PATIENCE);
    mosquitto.publish("house/door", "open", 1, false);
    let brokers = [
        ("branch", at("mqtts", 0)),
        ("dashboard", at("ws", 1) + "/mqtt"),
        ("same-machine", format!("unix://{}", socket.display())),
        ("plain", format!("127.0.0.1:{}", mosquitto.port())),
        ("moved", at("wss", 2) + "/mqtt"),
    ];
    for (name, broker) in brokers {
        program.wait_for(&format!("{name} received house/door: open"), PATIENCE);
        program.wait_for(&format!("{name} at {broker}: connected"), PATIENCE);
    }
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
}

/// Fails if a file that can't be used ends in anything but its place on stderr.
#[test]
fn a_file_that_is_wrong_is_told_with_its_place() {
    let path = scratch("demo1a.toml");
    fs::write(&path, "[[client]]\nname = 'a'\nbrokers = 'mqtt://h'\n").unwrap();
    let path = path.to_str().unwrap();
    let (status, output) = Program::example("demo1a", &["--file", path]).ended(PATIENCE);
    fs::remove_file(path).unwrap();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains(&format!("{path}:3:1: client[0].brokers: unknown field")),
        "{output}"
    );
}
