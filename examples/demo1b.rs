//! The tutorial's demo1b: one thread of yours serves many clients by turns, through reconnects.
//!
//! `cargo run --release --example demo1b -- --help` shows the options.
//!
//! The tutorial's `multi_loop` goes through a list of clients and gives each a turn. Here that is
//! the main thread: it publishes for each client that is connected and takes what all of them have
//! received, without handlers or workers. What the original lacks is shown too: the broker goes away
//! after two seconds and comes back a second later, the clients connect and subscribe again by
//! themselves, and the turns go on all the while. The exit code is the report's: 0.
//!
//! The connections have a thread each, as everywhere in this crate: clients + 1 threads. Driving
//! several connections on one thread, as the original does, is a later and separate piece of work.

mod support;

use std::{
    error::Error,
    time::{Duration, Instant},
};

use mqtt_fleet::{
    ClientSpec, ClientState, Fleet, QoS, Retry,
    testing::{Sessions, TestBroker},
};

use support::{Arguments, Outcome, Unwritten, say};

const HELP: &str = "\
usage: demo1b [--clients N] [--broker URL] [--seconds N]

  --clients N    how many clients (10)
  --broker URL   a broker of yours, which stays; else the example brings its own
  --seconds N    ends after N seconds (6); Ctrl-C ends it at any time
  --help         prints this";

/// When our own broker goes away, and when it comes back.
const AWAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3));

/// How often each client publishes.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a turn waits for a message.
const TURN: Duration = Duration::from_millis(20);

fn main() {
    support::run(HELP, demo)
}

fn demo(arguments: Arguments) -> Outcome {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from(arguments)?;
    let mut own_broker = None;
    let url = match &options.broker {
        Some(url) => url.clone(),
        None => own_broker.insert(TestBroker::start()?).url(),
    };
    let clients = ClientSpec::new("client{i}", url)
        .subscribe("house/{name}/#", QoS::AtLeastOnce)
        .retry(Retry::forever().pause(Duration::from_millis(100)..=Duration::from_millis(500)))
        .times(options.clients);
    let fleet = Fleet::builder().clients(clients).start()?;
    fleet.stop_on_signal()?;
    match fleet.wait_subscribed(Duration::from_secs(5)) {
        Ok(()) => say("All clients connected")?,
        Err(error) => say(format_args!("not all clients are connected: {error}"))?,
    }
    say(format_args!(
        "current threads = {}",
        fleet.threads().total()
    ))?;

    multi_loop(&fleet, &options, own_broker.as_ref())?;

    say(format_args!(
        "current threads = {}",
        fleet.threads().total()
    ))?;
    let report = fleet.stop(Duration::from_secs(5));
    say(format_args!("\nReport\n{report}"))?;
    Ok(report.exit_code())
}

/// Serves all clients by turns until the time is over or every client has ended.
fn multi_loop(
    fleet: &Fleet,
    options: &Options,
    own_broker: Option<&TestBroker>,
) -> Result<(), Box<dyn Error>> {
    let messages = fleet.messages()?;
    let start = Instant::now();
    let (mut next_publish, mut count, mut restarts) = (start, 0, 0);
    while start.elapsed() < options.time {
        match (own_broker, restarts) {
            (Some(broker), 0) if start.elapsed() >= AWAY.0 => {
                broker.stop();
                restarts = 1;
                say("the broker is away")?;
            }
            (Some(broker), 1) if start.elapsed() >= AWAY.1 => {
                broker.restart(Sessions::Lost)?;
                restarts = 2;
                let threads = fleet.threads().total();
                say(format_args!(
                    "the broker is back, current threads = {threads}"
                ))?;
            }
            _ => {}
        }
        let is_due = Instant::now() >= next_publish;
        if is_due {
            next_publish += INTERVAL;
            count += 1;
        }
        for client in fleet.clients().iter() {
            if is_due && client.is_connected() {
                let (topic, text) = (
                    format!("house/{}/bulb", client.name()),
                    format!("turn {count}"),
                );
                if let Err(error) = client.try_publish(topic, QoS::AtLeastOnce, false, text) {
                    say(error)?;
                }
            }
        }
        show_changes(fleet)?;
        // What has come, of whichever client; a turn with nothing to do waits a little.
        let mut wait = TURN;
        while let Ok(message) = messages.recv_timeout(wait) {
            say(format_args!(
                "{} received {}: {}",
                message.client(),
                message.topic(),
                message.text()
            ))?;
            wait = Duration::ZERO;
        }
        if fleet.threads().clients() == 0 {
            return Ok(());
        }
    }
    Ok(())
}

fn show_changes(fleet: &Fleet) -> Result<(), Unwritten> {
    while let Ok(change) = fleet.states().try_recv() {
        let client = change.client();
        match change.state() {
            ClientState::Connected { .. } => say(format_args!("{client} is connected"))?,
            ClientState::Lost { cause } => {
                say(format_args!("{client} is disconnected: {cause}"))?;
            }
            ClientState::Ended { outcome } => {
                say(format_args!("the thread of {client} ended: {outcome}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

struct Options {
    clients: usize,
    broker: Option<String>,
    time: Duration,
}

impl Options {
    fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            clients: 10,
            broker: None,
            time: Duration::from_secs(6),
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
