//! All transports side by side in one fleet, and what each of them costs.

use mqtt_fleet::{Broker, BrokerError, ClientSpec, Fleet, QoS, Tls};

use crate::support::certificates::Certificates;
use crate::support::fleet::{PATIENCE, quick_retry, start};
use crate::support::mosquitto::Mosquitto;
use crate::support::proc;
use crate::support::program::Program;

/// A mosquitto that speaks everything, and the URLs of its listeners by client name.
struct Everything {
    _broker: Mosquitto,
    made: Certificates,
    tls: Tls,
    urls: Vec<(&'static str, String)>,
}

fn everything() -> Option<Everything> {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["localhost", "127.0.0.1"]);
    let socket = made.file("mqtt.sock");
    let shown = made.shown("right");
    let broker = Mosquitto::builder()
        .listener(&shown)
        .listener("protocol websockets")
        .listener(&format!("protocol websockets\n{shown}"))
        .setting("listener", &format!("0 {}", socket.display()))
        .start()?;
    let urls = vec![
        ("tcp", broker.url()),
        ("tls", format!("mqtts://127.0.0.1:{}", broker.port_of(0))),
        (
            "tls-name",
            format!("mqtts://localhost:{}", broker.port_of(0)),
        ),
        ("ws", format!("ws://localhost:{}", broker.port_of(1))),
        ("wss", format!("wss://localhost:{}", broker.port_of(2))),
        ("unix", format!("unix://{}", socket.display())),
    ];
    Some(Everything {
        _broker: broker,
        tls: Tls::ca_file(&ca.file),
        made,
        urls,
    })
}

impl Everything {
    fn spec(&self, name: &str, url: &str) -> ClientSpec {
        let spec = ClientSpec::new(name, url).retry(quick_retry(3));
        match url.starts_with("mqtts") || url.starts_with("wss") {
            true => spec.tls(self.tls.clone()),
            false => spec,
        }
    }
}

/// Fails if a transport does harm to another one, or if a message does not find its way over any of them.
#[test]
fn each_reaches_all_others() {
    let Some(all) = everything() else {
        return;
    };
    let fleet = start(
        all.urls
            .iter()
            .map(|(name, url)| all.spec(name, url).subscribe("to-all/+", QoS::AtLeastOnce)),
    );
    fleet.wait_subscribed(PATIENCE).unwrap();
    for (name, _) in &all.urls {
        let client = fleet.client(name).unwrap();
        let topic = format!("to-all/{name}");
        let receipt = client.publish(topic, QoS::AtLeastOnce, false, "1").unwrap();
        receipt.wait_timeout(PATIENCE).unwrap();
    }
    let n = all.urls.len();
    let mut got: Vec<(String, String)> = (0..n * n)
        .map(|_| {
            let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
            (message.client().to_owned(), message.topic().to_owned())
        })
        .collect();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), n * n);
    let report = fleet.stop(PATIENCE);
    assert_eq!(
        (report.exit_code(), report.total().connects),
        (0, n as u64),
        "{report}"
    );
    drop(all.made);
}

/// Fails if a transport takes more threads than docs and bill say: one more, for a while, where rumqttc looks a
/// name up.
#[test]
fn only_tls_with_a_name_takes_another_thread() {
    proc::alone(
        "transports::only_tls_with_a_name_takes_another_thread",
        || {
            let Some(all) = everything() else {
                return;
            };
            for (name, url) in &all.urls {
                let before = proc::thread_count();
                let fleet = start([all.spec(name, url)]);
                fleet.wait_connected(PATIENCE).unwrap();
                let more = proc::thread_count() - before;
                assert_eq!(fleet.threads().total(), 2);
                assert_eq!(more, if *name == "tls-name" { 2 } else { 1 }, "{name}");
                fleet.stop(PATIENCE);
                proc::wait_until("its threads are gone", PATIENCE, || {
                    proc::thread_count() == before
                });
            }
        },
    );
}

/// Fails if a URL of a scheme that there is not gets as far as an attempt.
#[test]
fn other_schemes_are_refused() {
    for url in ["http://h", "mqttss://h", "wsss://h", "file:///h"] {
        let error = Broker::try_from(url).err();
        assert!(matches!(error, Some(BrokerError::Scheme(_))), "{url}");
        assert!(
            Fleet::builder()
                .client(ClientSpec::new("c", url))
                .start()
                .is_err()
        );
    }
}

/// Connects with the stack, URL and authority that the environment names.
fn connect_on_a_stack() -> i32 {
    let given = |name: &str| std::env::var(name).unwrap();
    let url = given("BROKER_URL");
    let spec = ClientSpec::new("c", &*url).retry(quick_retry(1));
    let spec = match url.starts_with("mqtts") || url.starts_with("wss") {
        true => spec.tls(Tls::ca_file(given("CA_FILE"))),
        false => spec,
    };
    let stack = given("STACK_KIB").parse::<usize>().unwrap() * 1024;
    let fleet = Fleet::builder().client(spec).stack_size(stack).start();
    let fleet = fleet.unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    let client = fleet.client("c").unwrap();
    let receipt = client.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    receipt.wait_timeout(PATIENCE).unwrap();
    println!("all is well");
    0
}

/// Fails if a transport needs more than half of the default stack of a client, in a debug build, where frames
/// are largest.
#[test]
fn half_of_the_default_stack_is_enough() {
    let test = "transports::half_of_the_default_stack_is_enough";
    Program::be(connect_on_a_stack);
    let Some(all) = everything() else {
        return;
    };
    let ca = all.made.file("ca.pem");
    for (name, url) in &all.urls {
        let environment = [
            ("BROKER_URL", url.as_ref()),
            ("CA_FILE", ca.as_os_str()),
            ("STACK_KIB", "512".as_ref()),
        ];
        let program = Program::role_in(test, &environment, connect_on_a_stack);
        let (status, output) = program.ended(3 * PATIENCE);
        assert!(
            status.success() && output.contains("all is well"),
            "{name}: {output}"
        );
    }
}
