//! The tutorial's demo1: many clients of one kind on one broker, each with topics of its own.
//!
//! `cargo run --release --example demo1 -- --help` shows the options.
//!
//! One template makes them all. Each has a client id that was made up for it, subscribes to topics
//! with its name in them, and publishes to one of those once a second; the calls are spread over the
//! second. What is received is shown with the number of threads: one for each client, one publisher
//! thread for all of them, and the main thread. The exit code is the report's: 0, unless a client
//! could not connect.

mod support;

use std::{
    error::Error,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use mqtt_fleet::{ClientSpec, Fleet, QoS, testing::TestBroker};

use support::{Arguments, Outcome, say};

const HELP: &str = "\
usage: demo1 [--clients N] [--broker URL] [--seconds N]

  --clients N    how many clients (20)
  --broker URL   a broker of yours; else the example brings its own
  --seconds N    ends after N seconds (5); Ctrl-C ends it at any time
  --help         prints this";

fn main() {
    support::run(HELP, demo)
}

fn demo(arguments: Arguments) -> Outcome {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from(arguments)?;
    let mut own_broker = None;
    let url = match options.broker {
        Some(url) => url,
        None => own_broker.insert(TestBroker::start()?).url(),
    };

    say("Creating Connections")?;
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
        let (name, id) = (client.name(), client.client_id());
        say(format_args!("{name} has the client id {id}"))?;
    }
    match fleet.wait_subscribed(Duration::from_secs(5)) {
        Ok(()) => say("All clients connected")?,
        Err(error) => say(format_args!("not all clients are connected: {error}"))?,
    }
    let threads = fleet.threads();
    say(format_args!(
        "current threads = {}: {} clients, {} publisher, this one",
        threads.total(),
        threads.clients(),
        threads.publishers()
    ))?;

    let end = Instant::now() + options.time;
    let messages = fleet.messages()?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match messages.recv_timeout(left) {
            Ok(message) => say(format_args!(
                "{} received {}: {} (current threads = {})",
                message.client(),
                message.topic(),
                message.text(),
                fleet.threads().total()
            ))?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        if Instant::now() >= end {
            break; // Messages come as long as there are clients.
        }
    }
    let report = fleet.stop(Duration::from_secs(5));
    say(format_args!("\nReport\n{report}"))?;
    Ok(report.exit_code())
}

struct Options {
    clients: usize,
    broker: Option<String>,
    time: Duration,
}

impl Options {
    fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            clients: 20,
            broker: None,
            time: Duration::from_secs(5),
        };
        while let Some(option) = arguments.next()? {
            match option.as_str() {
                "--clients" => options.clients = arguments.count()?,
                "--broker" => options.broker = Some(arguments.broker()?),
                "--seconds" => options.time = arguments.seconds()?,
                _ => return Ok(arguments.unknown()?),
            }
        }
        Ok(options)
    }
}
