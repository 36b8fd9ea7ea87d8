//! A program that runs day and night: a file says which clients, a log what they do, a code how it ended.
//!
//! `cargo run --release --example service -- [FILE]`
//!
//! Each client subscribes to its filter, logs what it receives, and publishes how long it has been
//! up on `service/NAME/uptime` every second. It ends by SIGTERM, Ctrl-C or SIGHUP, or when every
//! client has given up. The unit for systemd is in docs/OPERATIONS.md.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | it was stopped, and nothing had gone wrong |
//! | 1 | anything else: a client gave up, a function failed. To be started again |
//! | 2 | the file can't be read or is wrong. Not to be started again |
//!
//! Each line of the file is a client: its name, its broker, and filters to subscribe to. What
//! follows `#` and a blank, and empty lines, are passed over:
//!
//! ```text
//! # the machine hall
//! plant  mqtt://10.0.0.5:1883  sensors/#
//! ```
//!
//! Without a file it runs for three seconds on a broker of its own. `RUST_LOG` sets what is logged
//! (`info,rumqttc=off`).

use std::{
    env, fs,
    process::exit,
    time::{Duration, Instant},
};

use mqtt_fleet::{ClientSpec, ClientState, Fleet, QoS, Report, StartError, testing::TestBroker};

const WRONG_FILE: i32 = 2;

fn main() {
    // Also the library's lines, which go through the same log.
    let default = env_logger::Env::default().default_filter_or("info,rumqttc=off");
    env_logger::Builder::from_env(default).init();
    let result = match env::args().nth(1) {
        Some(path) => specs(&path).map(|specs| fleet(specs).run()),
        None => demo(),
    };
    let code = match result {
        Err(wrong_file) => {
            log::error!("{wrong_file}");
            WRONG_FILE
        }
        // What a file says wrongly is found at the start too: a filter, or two clients of a name.
        Ok(Err(error @ (StartError::Client { .. } | StartError::NoClient))) => {
            log::error!("{error}");
            WRONG_FILE
        }
        // No thread, too few descriptors: that may be better next time.
        Ok(Err(error)) => {
            log::error!("{error}");
            1
        }
        Ok(Ok(report)) => {
            log::info!("the end\n{report}");
            report.exit_code()
        }
    };
    exit(code)
}

/// The clients, from a file. All that knows what such a file looks like.
fn specs(path: &str) -> Result<Vec<ClientSpec>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut specs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace().take_while(|word| *word != "#");
        let (name, broker) = match (words.next(), words.next()) {
            (None, _) => continue,
            (Some(name), Some(broker)) => (name, broker),
            (Some(name), None) => {
                return Err(format!("{path}:{}: {name} has no broker", index + 1));
            }
        };
        let spec = ClientSpec::new(name, broker);
        specs.push(words.fold(spec, |spec, filter| {
            spec.subscribe(filter, QoS::AtLeastOnce)
        }));
    }
    Ok(specs)
}

/// What the clients do, whoever they are.
fn fleet(specs: Vec<ClientSpec>) -> mqtt_fleet::FleetBuilder {
    let start = Instant::now();
    let clients = specs.into_iter().map(|spec| {
        spec.publish_every(Duration::from_secs(1), move |client| {
            let topic = format!("service/{}/uptime", client.name());
            let uptime = start.elapsed().as_secs().to_string();
            client.try_publish(topic, QoS::AtMostOnce, false, uptime)?;
            Ok(())
        })
    });
    Fleet::builder()
        .clients(clients)
        .on_message("#", |message, _clients| {
            // Where the work of a real service is. An error or a panic here is logged and counted.
            let bytes = message.payload().len();
            log::info!("{}: {bytes} bytes on {}", message.client(), message.topic());
            Ok(())
        })
        .on_state(|change| match change.state() {
            ClientState::Connected { .. } => log::info!("{}: connected", change.client()),
            // The page of whoever is on duty: the library has logged it, and this would ring.
            ClientState::Ended { outcome } => log::info!("{}: over, {outcome}", change.client()),
            _ => {}
        })
        .stop_deadline(Duration::from_secs(5))
}

/// Three seconds on a broker of its own.
fn demo() -> Result<Result<Report, StartError>, String> {
    let broker = TestBroker::start().map_err(|error| error.to_string())?;
    let plant = ClientSpec::new("plant", broker.url()).subscribe("service/#", QoS::AtLeastOnce);
    let fleet = match fleet(vec![plant]).start() {
        Ok(fleet) => fleet,
        Err(error) => return Ok(Err(error)),
    };
    let _ = fleet.wait_ended(Duration::from_secs(3));
    Ok(Ok(fleet.stop(Duration::from_secs(5))))
}
