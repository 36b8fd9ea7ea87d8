//! A thousand simulated devices in one process: a template, pub functions on a schedule, commands.
//!
//! `cargo run --release --example devices -- --help` shows the options.
//!
//! Each device publishes a reading every interval, at a phase of its own; it answers commands; it
//! is announced by a retained birth message and missed by its will. Once a second there is a line
//! on all of them, and at the end a report. Without `--broker` it runs on a broker of its own,
//! with an operator that sends the first device a command each second. Device I has the client id
//! `dev-I` and these topics:
//!
//! | topic | published by | payload |
//! |---|---|---|
//! | `devices/dev-I/state` | device, retained | `online` after each connect, `offline` by its will |
//! | `devices/dev-I/reading` | device, QoS 0 | the number of the reading, from 1 |
//! | `devices/dev-I/command` | operator | any text |
//! | `devices/dev-I/answer` | device, QoS 1 | `done: ` and that text |
//!
//! A reading that is due while its device is away is missed and counted, never sent later: what
//! is published after an outage is what is measured after it.

mod support;

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use mqtt_fleet::{
    Client, ClientSpec, Fleet, FleetBuilder, Lateness, QoS, Retry, Stats, Will, testing::TestBroker,
};

use support::{Arguments, Outcome, Unwritten, say};

const HELP: &str = "\
usage: devices [--clients N] [--interval D] [--seconds N] [--broker URL]

  --clients N    how many devices (1000); one thread each
  --interval D   how often each publishes, such as 250ms, 1s (the default) or 2m
  --seconds N    ends after N seconds (10); Ctrl-C ends it at any time
  --broker URL   a broker of yours; else the example brings its own, and an operator
  --help         prints this";

/// How many devices connect in a second: a broker that comes back is not run over.
const CONNECTS_PER_SECOND: u32 = 500;

fn main() {
    support::run(HELP, demo)
}

fn demo(arguments: Arguments) -> Outcome {
    env_logger::init();
    let options = Options::from(arguments)?;
    let mut own_broker = None;
    let url = match &options.broker {
        Some(url) => url.clone(),
        None => own_broker.insert(TestBroker::start()?).url(),
    };
    if let Some(broker) = &own_broker {
        // Millions of packets would be kept for a test that is none.
        broker.record(false);
    }

    let commanded = own_broker.is_some().then(Commanded::default);
    let fleet = fleet(&url, &options, commanded.clone()).start()?;
    if let Some(commanded) = commanded {
        let _ = commanded.set(fleet.client("dev-0")?);
    }
    fleet.stop_on_signal()?;
    say(format_args!(
        "{} devices, {} threads, a reading every {:?} from each",
        options.clients,
        fleet.threads().total(),
        options.interval
    ))?;
    watch(&fleet, &options)?;
    let report = fleet.stop(Duration::from_secs(10));
    say(format_args!("\nReport\n{report}"))?;
    Ok(report.exit_code())
}

/// The device that the operator commands, once the fleet has started.
type Commanded = Arc<OnceLock<Client>>;

fn fleet(url: &str, options: &Options, commanded: Option<Commanded>) -> FleetBuilder {
    let mut n = 0_u64;
    let devices = ClientSpec::new("dev-{i}", url)
        .client_id("{name}")
        .retry(Retry::forever().pause(Duration::from_millis(200)..=Duration::from_secs(2)))
        .will(Will::new("devices/{name}/state", "offline").retain(true))
        .birth("devices/{name}/state", QoS::AtLeastOnce, true, "online")
        .subscribe("devices/{name}/command", QoS::AtLeastOnce)
        // Each device has its own clone of the function, and so its own `n`.
        .publish_every(options.interval, move |device| {
            n += 1;
            let topic = format!("devices/{}/reading", device.name());
            device.try_publish(topic, QoS::AtMostOnce, false, n.to_string())?;
            Ok(())
        })
        .times(options.clients);
    let fleet = Fleet::builder()
        .clients(devices)
        .connect_rate(CONNECTS_PER_SECOND)
        .workers(2)
        .on_message("devices/+/command", |command, clients| {
            let device = clients.get(command.client())?;
            let topic = format!("devices/{}/answer", device.name());
            let answer = format!("done: {}", command.text());
            // Handed to the outbox: the worker goes on with the next command.
            device.try_publish(topic, QoS::AtLeastOnce, false, answer)?;
            Ok(())
        });
    let Some(commanded) = commanded else {
        return fleet;
    };
    let operator = ClientSpec::new("operator", url)
        .subscribe("devices/dev-0/answer", QoS::AtLeastOnce)
        .publish_every(Duration::from_secs(1), move |operator| {
            // What is published before the device has subscribed is lost to it.
            let is_heard = |device: &Client| device.wait_subscribed(Duration::ZERO).is_ok();
            if commanded.get().is_some_and(is_heard) {
                let topic = "devices/dev-0/command";
                operator.try_publish(topic, QoS::AtLeastOnce, false, "blink")?;
            }
            Ok(())
        })
        .on_message("devices/dev-0/answer", |answer, clients| {
            let line = format!("{}: {}", answer.topic(), answer.text());
            // Nobody reads any further: this is the end.
            say(line).inspect_err(|_| clients.stop())?;
            Ok(())
        });
    fleet.client(operator)
}

/// Prints a line a second, until the time is over or every client has ended.
fn watch(fleet: &Fleet, options: &Options) -> Result<(), Unwritten> {
    let start = Instant::now();
    let mut last = Look::at(fleet);
    for second in 1..=options.seconds {
        let next = start + Duration::from_secs(second);
        // Also ends when a signal has stopped them all.
        let left = next.saturating_duration_since(Instant::now());
        if fleet.wait_ended(left).is_ok() {
            return Ok(());
        }
        let now = Look::at(fleet);
        say(format_args!("{second:>4} s: {}", now.line(&last)))?;
        last = now;
    }
    Ok(())
}

/// The figures of one moment.
struct Look {
    at: Instant,
    connected: usize,
    queued: usize,
    stats: Stats,
    lateness: Lateness,
}

impl Look {
    fn at(fleet: &Fleet) -> Self {
        let clients = || fleet.clients().iter();
        Self {
            at: Instant::now(),
            connected: clients().filter(|client| client.is_connected()).count(),
            queued: clients().map(|client| client.queued()).sum(),
            stats: fleet.stats(),
            lateness: fleet.lateness(),
        }
    }

    /// What it was in the time since `last`.
    fn line(&self, last: &Self) -> String {
        let seconds = (self.at - last.at).as_secs_f64();
        let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
        let (stats, before) = (&self.stats, &last.stats);
        let sent = |stats: &Stats| stats.published.sent + stats.published.acknowledged;
        let lateness = self.lateness.since(&last.lateness);
        let ms = |part| lateness.quantile(part).as_secs_f64() * 1e3;
        format!(
            "{} connected, {:.0} out/s, {:.0} in/s, late by {:.1} ms (p50) {:.1} ms (p99) {:.1} ms \
             (max), {} missed, {} queued",
            self.connected,
            rate(sent(stats), sent(before)),
            rate(stats.received, before.received),
            ms(0.5),
            ms(0.99),
            ms(1.0),
            self.lateness.missed(),
            self.queued,
        )
    }
}

struct Options {
    clients: usize,
    interval: Duration,
    seconds: u64,
    broker: Option<String>,
}

impl Options {
    fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            clients: 1_000,
            interval: Duration::from_secs(1),
            seconds: 10,
            broker: None,
        };
        while let Some(option) = arguments.next()? {
            match option.as_str() {
                "--clients" => options.clients = arguments.count()?,
                "--interval" => options.interval = arguments.interval()?,
                "--seconds" => options.seconds = arguments.seconds()?.as_secs(),
                "--broker" => options.broker = Some(arguments.broker()?),
                _ => return Ok(arguments.unknown()?),
            }
        }
        Ok(options)
    }
}
