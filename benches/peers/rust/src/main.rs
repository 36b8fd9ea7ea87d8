//! Other MQTT clients of Rust, measured beside mqtt-fleet. The bench builds and starts it.

#![allow(dead_code)] // Of what it shares with the bench, it needs a part.

#[path = "../../../fleet/arguments.rs"]
mod arguments;
#[path = "../../../fleet/clock.rs"]
mod clock;
mod next;
mod queue;
mod subject;
mod symqtt_v3;
#[path = "../../../fleet/wire.rs"]
mod wire;

use std::{env, error::Error, process::ExitCode};

use arguments::Arguments;
use subject::job::Job;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments = Arguments::new(env::args().skip(1));
    let job = Job::new(&arguments)?;
    match arguments.text("client") {
        Some("symqtt") => symqtt_v3::run(&job, false),
        Some("symqtt-queue") => symqtt_v3::run(&job, true),
        Some("next") => next::run(&job, false),
        Some("next-queue") => next::run(&job, true),
        other => Err(format!("unknown client {other:?}").into()),
    }
}
