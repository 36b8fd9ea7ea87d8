//! The tutorial's demo1: many clients of one kind on one broker, each with topics of its own.
//!
//! `cargo run --release --example demo1 -- [--clients N] [--broker URL] [--seconds N]`
//!
//! One template makes them all. Each has a client id that was made up for it, subscribes to topics
//! with its name in them, and publishes to one of those once a second; the calls are spread over the
//! second. What is received is shown with the number of threads: one for each client, one publisher
//! thread for all of them, and the main thread. The exit code is the report's: 0, unless a client
//! could not connect.
//!
//! - `--clients N`: so many clients (20)
//! - `--broker URL`: a broker of yours; else the example brings its own
//! - `--seconds N`: ends after N seconds (5); Ctrl-C ends it at any time

use std::{
    error::Error,
    process::exit,
    time::{Duration, Instant},
};

use crossbeam_channel::RecvTimeoutError;
use mqtt_fleet::{ClientSpec, Fleet, QoS, testing::TestBroker};

const USAGE: &str = "usage: demo1 [--clients N] [--broker URL] [--seconds N]";

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from_arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}");
        exit(2)
    });
    let mut own_broker = None;
    let url = match options.broker {
        Some(url) => url,
        None => own_broker.insert(TestBroker::start()?).url(),
    };

    println!("Creating Connections");
    let mut count = 0; // Each client has its own.
    let clients = ClientSpec::new("client{i}", url)
        .subscribe("house/{name}/#", QoS::AtLeastOnce)
        .publish_every(Duration::from_secs(1), move |client| {
            count += 1;
            let (name, text) = (client.name(), format!("message {count}"));
            client.try_publish(format!("house/{name}/bulb"), QoS::AtLeastOnce, false, text)?;
            Ok(())
        })
        .times(options.clients);
    let fleet = Fleet::builder().clients(clients).start()?;
    fleet.stop_on_signal()?;
    for client in fleet.clients().iter() {
        println!("{} has the client id {}", client.name(), client.client_id());
    }
    match fleet.wait_subscribed(Duration::from_secs(5)) {
        Ok(()) => println!("All clients connected"),
        Err(error) => println!("not all clients are connected: {error}"),
    }
    let threads = fleet.threads();
    println!(
        "current threads = {}: {} clients, {} publisher, this one",
        threads.total(),
        threads.clients(),
        threads.publishers()
    );

    let end = Instant::now() + options.time;
    let messages = fleet.messages();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match messages.recv_timeout(left) {
            Ok(message) => println!(
                "{} received {}: {} (current threads = {})",
                message.client(),
                message.topic(),
                message.text(),
                fleet.threads().total()
            ),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        if Instant::now() >= end {
            break; // Messages come as long as there are clients.
        }
    }
    let report = fleet.stop(Duration::from_secs(5));
    println!("\nReport\n{report}");
    exit(report.exit_code())
}

struct Options {
    clients: usize,
    broker: Option<String>,
    time: Duration,
}

impl Options {
    fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            clients: 20,
            broker: None,
            time: Duration::from_secs(5),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} needs a value\n{USAGE}");
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--clients" => options.clients = value()?.parse().map_err(|_| USAGE)?,
                "--broker" => options.broker = Some(value()?),
                "--seconds" => {
                    options.time = Duration::from_secs(value()?.parse().map_err(|_| USAGE)?);
                }
                _ => return Err(format!("unknown argument {argument}\n{USAGE}")),
            }
        }
        Ok(options)
    }
}
