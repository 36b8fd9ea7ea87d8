//! The tutorial's demo1a: the array of dictionaries, in a file. Several brokers, topics, logins,
//! transports.
//!
//! `cargo run --release --features files --example demo1a -- [--file FILE] [--seconds N]`
//!
//! Without `--file` it takes demo1a.toml, which is beside this source, and since nobody has its
//! brokers, two brokers of the example's own stand in for them: `plant.example`, and `cloud.example`
//! with its standby, are replaced by their addresses in the text, and nothing else is. The plant's broker knows the
//! logins of the file and refuses any other. The file is data; its functions are attached here, by
//! the names of the clients.
//!
//! - `--file FILE`: a file of yours, TOML or JSON, taken as it is; what is received is shown. Brokers
//!   with `mqtts://`, `ws://` and `wss://` take `--features files,tls,websocket`
//! - `--seconds N`: ends after N seconds (4); Ctrl-C ends it at any time

use std::{error::Error, process::exit, time::Duration};

use mqtt_fleet::{Fleet, QoS, SpecFile, testing::TestBroker};

const USAGE: &str = "usage: demo1a [--file FILE] [--seconds N]";

/// The file, as it was when this was compiled.
const OWN_FILE: &str = include_str!("demo1a.toml");

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from_arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}");
        exit(2)
    });
    let plant = TestBroker::builder()
        .login("gateway", "only-for-the-example")
        .login("sensor", "also-for-the-example")
        .start()?;
    let cloud = TestBroker::start()?;
    let clients = match &options.file {
        Some(path) => SpecFile::read(path).map_err(with_source)?,
        None => {
            let text = OWN_FILE
                .replace("plant.example", &plant.addr().to_string())
                .replace("cloud.example:1884", &cloud.addr().to_string())
                .replace("standby.example:1884", &cloud.addr().to_string());
            with_functions(SpecFile::from_toml(&text)?)?
        }
    };
    println!(
        "clients in the file: {}",
        clients.names().collect::<Vec<_>>().join(", ")
    );

    let fleet = Fleet::builder()
        .clients(clients)
        .on_message("#", |message, _clients| {
            println!(
                "{} received {}: {}",
                message.client(),
                message.topic(),
                message.text()
            );
            Ok(())
        })
        .start()?;
    fleet.stop_on_signal()?;
    match fleet.wait_subscribed(Duration::from_secs(5)) {
        Ok(()) => println!("All clients connected"),
        Err(error) => println!("not all clients are connected: {error}"),
    }
    for client in fleet.clients().iter() {
        println!(
            "{} at {}: {}",
            client.name(),
            client.broker(),
            client.state()
        );
    }
    println!("current threads = {}", fleet.threads().total());
    let _running = fleet.wait_ended(options.time);
    let report = fleet.stop(Duration::from_secs(5));
    println!("\nReport\n{report}");
    exit(report.exit_code())
}

/// What the clients of demo1a.toml do. A name that the file does not have is an error.
fn with_functions(file: SpecFile) -> Result<SpecFile, Box<dyn Error>> {
    let file = file
        .attach("plant", |spec| {
            spec.on_message("sensors/+/temp", |message, clients| {
                let topic = format!("plant/{}", message.topic());
                let payload = message.payload().clone();
                clients
                    .get("cloud")?
                    .try_publish(topic, QoS::AtLeastOnce, false, payload)?;
                Ok(())
            })
        })?
        .attach("sensor-{i}", |spec| {
            let mut degrees = 20;
            spec.publish_every(Duration::from_secs(1), move |client| {
                degrees += 1;
                let topic = format!("sensors/{}/temp", client.name());
                client.try_publish(topic, QoS::AtLeastOnce, false, degrees.to_string())?;
                Ok(())
            })
        })?;
    Ok(file)
}

/// An error with its cause: that a file is not there, say.
fn with_source(error: impl Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

struct Options {
    file: Option<String>,
    time: Duration,
}

impl Options {
    fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            file: None,
            time: Duration::from_secs(4),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} needs a value\n{USAGE}");
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--file" => options.file = Some(value()?),
                "--seconds" => {
                    options.time = Duration::from_secs(value()?.parse().map_err(|_| USAGE)?);
                }
                _ => return Err(format!("unknown argument {argument}\n{USAGE}")),
            }
        }
        Ok(options)
    }
}
