//! Workers in several processes that share one subscription: each message is handled once in all.
//!
//! `cargo run --release --example shared -- --help` shows the options.
//!
//! The way to grow past one process or one machine: start the program once more, with the same
//! group and another name. The broker gives each message of `$share/GROUP/jobs/#` to one of the
//! clients that have subscribed to it. MQTT 3.1.1 does not know shared subscriptions; mosquitto and other
//! brokers do, also for clients of 3.1.1. docs/SCALING.md says what becomes of the jobs of a worker
//! that leaves.
//!
//! Without `--broker` the program starts a broker of its own and two processes of itself, publishes
//! 20 jobs, and ends with the higher of their exit codes.

mod support;

use std::{env, error::Error, process::Command, time::Duration};

use mqtt_fleet::{
    ClientSpec, Fleet, QoS, Retry, Session,
    testing::{Packet, Seen, TestBroker},
};

use support::{Arguments, Outcome, say};

const HELP: &str = "\
usage: shared [--broker URL] [--name NAME] [--group GROUP] [--kept] [--seconds N]

  --broker URL    where the jobs come from; else the example brings its own broker,
                  two workers and 20 jobs
  --name NAME     the client's name and id (worker)
  --group GROUP   the group that shares the jobs, one topic level (workers)
  --kept          the broker keeps the session of a worker that is away, with its share
                  of the jobs
  --seconds N     ends after N seconds; Ctrl-C ends it at any time
  --help          prints this";

fn main() {
    support::run(HELP, shared)
}

fn shared(arguments: Arguments) -> Outcome {
    env_logger::init();
    let options = Options::from(arguments)?;
    match &options.broker {
        Some(url) => work(url, &options),
        None => two_processes(),
    }
}

/// One worker.
fn work(url: &str, options: &Options) -> Outcome {
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
        .on_message(&subscription, |job, clients| {
            let line = format!("{} handled {}: {}", job.client(), job.topic(), job.text());
            // Nobody reads any further: this is the end.
            say(line).inspect_err(|_| clients.stop())?;
            Ok(())
        })
        .start()?;
    fleet.stop_on_signal()?;
    fleet.wait_subscribed(Duration::from_secs(10))?;
    say(format_args!("{} is ready", options.name))?;
    // Until its time is over, or a signal has ended it.
    let _ = fleet.wait_ended(options.seconds);
    let report = fleet.stop(Duration::from_secs(5));
    let handled = report.total().handled;
    say(format_args!(
        "{} handled {handled} in all\n\nReport\n{report}",
        options.name
    ))?;
    Ok(report.exit_code())
}

/// A broker, two processes with a worker each, and 20 jobs.
fn two_processes() -> Outcome {
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
    let mut code = 0;
    for mut worker in workers {
        // A worker that a signal has ended has no code.
        code = code.max(worker.wait()?.code().unwrap_or(1));
    }
    Ok(code)
}

struct Options {
    broker: Option<String>,
    name: String,
    group: String,
    session: Session,
    seconds: Duration,
}

impl Options {
    fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            broker: None,
            name: "worker".to_owned(),
            group: "workers".to_owned(),
            session: Session::Clean,
            seconds: Duration::MAX,
        };
        while let Some(option) = arguments.next()? {
            match option.as_str() {
                "--broker" => options.broker = Some(arguments.broker()?),
                "--name" => options.name = arguments.text()?,
                "--group" => options.group = arguments.level()?,
                "--kept" => options.session = Session::Kept,
                "--seconds" => options.seconds = arguments.seconds()?,
                _ => return Ok(arguments.unknown()?),
            }
        }
        Ok(options)
    }
}
