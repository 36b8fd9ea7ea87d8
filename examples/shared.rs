//! Workers in several processes that share one subscription: each message is handled once in all.
//!
//! `cargo run --release --example shared -- [--broker URL] [--name NAME] [--group GROUP] [--kept]
//! [--seconds N]`
//!
//! The way to grow past one process or one machine: start the program once more, with the same
//! group and another name. The broker gives each message of `$share/GROUP/jobs/#` to one of those
//! who have subscribed to it. MQTT 3.1.1 does not know shared subscriptions; mosquitto and other
//! brokers do, also for clients of 3.1.1. docs/SCALING.md says what becomes of the jobs of a worker
//! that leaves.
//!
//! - `--broker URL`: where the jobs come from. Without it the program starts a broker of its own
//!   and two processes of itself, and publishes 20 jobs
//! - `--name NAME`: the client's name and id (`worker`)
//! - `--group GROUP`: who shares (`workers`)
//! - `--kept`: the broker keeps the session of a worker that is away, with its share of the jobs
//! - `--seconds N`: ends after N seconds; Ctrl-C ends it at any time

use std::{
    env,
    error::Error,
    process::{Command, exit},
    time::Duration,
};

use mqtt_fleet::{
    ClientSpec, Fleet, QoS, Retry, Session,
    testing::{Packet, Seen, TestBroker},
};

const USAGE: &str = "usage: shared [--broker URL] [--name NAME] [--group GROUP] [--kept] \
                     [--seconds N]";

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let options = Options::from_arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}");
        exit(2)
    });
    match &options.broker {
        Some(url) => work(url, &options),
        None => two_processes(),
    }
}

/// One worker.
fn work(url: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    // A handler may name the subscription as it is made, or its filter, `jobs/#`.
    let subscription = format!("$share/{}/jobs/#", options.group);
    let worker = ClientSpec::new(&options.name, url)
        .client_id("{name}")
        .session(options.session)
        .subscribe(&subscription, QoS::AtLeastOnce)
        .retry(Retry::forever());
    let fleet = Fleet::builder()
        .client(worker)
        .workers(1)
        .on_message(&subscription, |job, _clients| {
            println!("{} handled {}: {}", job.client(), job.topic(), job.text());
            Ok(())
        })
        .start()?;
    fleet.stop_on_signal()?;
    fleet.wait_subscribed(Duration::from_secs(10))?;
    println!("{} is ready", options.name);
    // Until its time is over, or a signal has ended it.
    let _ = fleet.wait_ended(options.seconds);
    let report = fleet.stop(Duration::from_secs(5));
    println!("{} handled {} in all", options.name, report.total().handled);
    exit(report.exit_code())
}

/// A broker, two processes with a worker each, and 20 jobs.
fn two_processes() -> Result<(), Box<dyn Error>> {
    let broker = TestBroker::start()?;
    let mut workers = Vec::new();
    for name in ["worker-a", "worker-b"] {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--broker", &broker.url(), "--name", name, "--seconds", "3"]);
        workers.push(command.spawn()?);
    }
    // A job that is published before anybody has subscribed is lost.
    let has_subscribed = |seen: &[Seen], name: &str| {
        let is_suback = |it: &&Seen| matches!(it.packet, Packet::Suback { .. });
        seen.iter().filter(is_suback).any(|it| it.client == name)
    };
    broker.wait_for(
        |seen| {
            ["worker-a", "worker-b"]
                .iter()
                .all(|name| has_subscribed(seen, name))
        },
        Duration::from_secs(10),
    )?;
    for n in 1..=20 {
        let job = format!("job {n}");
        broker.publish(format!("jobs/{n}"), QoS::AtLeastOnce, false, job)?;
    }
    for mut worker in workers {
        worker.wait()?;
    }
    Ok(())
}

struct Options {
    broker: Option<String>,
    name: String,
    group: String,
    session: Session,
    seconds: Duration,
}

impl Options {
    fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            broker: None,
            name: "worker".to_owned(),
            group: "workers".to_owned(),
            session: Session::Clean,
            seconds: Duration::MAX,
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} needs a value\n{USAGE}");
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--broker" => options.broker = Some(value()?),
                "--name" => options.name = value()?,
                "--group" => options.group = value()?,
                "--kept" => options.session = Session::Kept,
                "--seconds" => {
                    let seconds = value()?.parse().map_err(|_| USAGE)?;
                    options.seconds = Duration::from_secs(seconds);
                }
                _ => return Err(format!("unknown argument {argument}\n{USAGE}")),
            }
        }
        Ok(options)
    }
}
