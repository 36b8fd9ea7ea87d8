//! The tutorial's demo1a: the array of dictionaries, in a file. Several brokers, topics, logins,
//! transports.
//!
//! `cargo run --release --features files --example demo1a -- --help` shows the options.
//!
//! Without `--file` it takes demo1a.toml, which is beside this source, and since nobody has its
//! brokers, two brokers of the example's own stand in for them: `plant.example`, and `cloud.example`
//! with its standby, are replaced by their addresses in the text, and nothing else is. The plant's broker knows the
//! logins of the file and refuses any other. The file is data; its functions are attached here, by
//! the names of the clients. With `--file` what is received is shown, and nothing is published.

mod support;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mqtt_fleet::{Fleet, QoS, SpecFile, testing::TestBroker};

use support::{Arguments, Outcome, say};

const HELP: &str = "\
usage: demo1a [--file FILE] [--seconds N]

  --file FILE   a file of yours, TOML or JSON, taken as it is; brokers with mqtts://,
                ws:// and wss:// need --features files,tls,websocket
  --seconds N   ends after N seconds (4); Ctrl-C ends it at any time
  --help        prints this";

/// The file, as it was when this was compiled.
const OWN_FILE: &str = include_str!("demo1a.toml");

fn main() {
    support::run(HELP, demo)
}

fn demo(arguments: Arguments) -> Outcome {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from(arguments)?;
    let plant = TestBroker::builder()
        .login("gateway", "only-for-the-example")
        .login("sensor", "also-for-the-example")
        .start()?;
    let cloud = TestBroker::start()?;
    // What a sensor publishes before the plant's client has subscribed is lost: they wait for this.
    let subscribed = Arc::new(AtomicBool::new(false));
    let clients = match &options.file {
        Some(path) => SpecFile::read(path)?,
        None => {
            let text = OWN_FILE
                .replace("plant.example", &plant.addr().to_string())
                .replace("cloud.example:1884", &cloud.addr().to_string())
                .replace("standby.example:1884", &cloud.addr().to_string());
            with_functions(SpecFile::from_toml(&text)?, &subscribed)?
        }
    };
    let names = clients.names().collect::<Vec<_>>().join(", ");
    say(format_args!("clients in the file: {names}"))?;

    let fleet = Fleet::builder()
        .clients(clients)
        .on_message("#", |message, clients| {
            let line = format!(
                "{} received {}: {}",
                message.client(),
                message.topic(),
                message.text()
            );
            // Nobody reads any further: this is the end.
            say(line).inspect_err(|_| clients.stop())?;
            Ok(())
        })
        .start()?;
    fleet.stop_on_signal()?;
    match fleet.wait_subscribed(Duration::from_secs(5)) {
        Ok(()) => say("All clients connected")?,
        Err(error) => say(format_args!("not all clients are connected: {error}"))?,
    }
    subscribed.store(true, Ordering::Relaxed);
    for client in fleet.clients().iter() {
        say(format_args!(
            "{} at {}: {}",
            client.name(),
            client.broker(),
            client.state()
        ))?;
    }
    say(format_args!(
        "current threads = {}",
        fleet.threads().total()
    ))?;
    let _running = fleet.wait_ended(options.time);
    let report = fleet.stop(Duration::from_secs(5));
    say(format_args!("\nReport\n{report}"))?;
    Ok(report.exit_code())
}

/// What the clients of demo1a.toml do. A name that the file does not have is an error.
fn with_functions(
    file: SpecFile,
    subscribed: &Arc<AtomicBool>,
) -> Result<SpecFile, Box<dyn Error>> {
    let file = file
        .attach("plant", |spec| {
            spec.on_message("sensors/+/temp", |message, clients| {
                let topic = format!("plant/{}", message.topic());
                let cloud = clients.get("cloud")?;
                cloud.try_publish(topic, QoS::AtLeastOnce, false, message.payload())?;
                Ok(())
            })
        })?
        .attach("sensor-{i}", |spec| {
            let mut degrees = 20;
            let subscribed = Arc::clone(subscribed);
            spec.publish_every(Duration::from_secs(1), move |client| {
                if !subscribed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                degrees += 1;
                let topic = format!("sensors/{}/temp", client.name());
                client.try_publish(topic, QoS::AtLeastOnce, false, degrees.to_string())?;
                Ok(())
            })
        })?;
    Ok(file)
}

struct Options {
    file: Option<String>,
    time: Duration,
}

impl Options {
    fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            file: None,
            time: Duration::from_secs(4),
        };
        while let Some(option) = arguments.next()? {
            match option.as_str() {
                "--file" => options.file = Some(arguments.file()?),
                "--seconds" => options.time = arguments.seconds()?,
                _ => return Ok(arguments.unknown()?),
            }
        }
        Ok(options)
    }
}
