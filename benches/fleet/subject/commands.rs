//! What every subject does on command, once its clients are connected.

use std::{
    io::{self, BufRead, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{
    check::Check,
    histogram::Histogram,
    job::Job,
    publishers::{Publish, Publishing},
};
use crate::{Result, clock, wire};

/// How often credit is given.
const CREDIT: Duration = Duration::from_millis(1);

/// Waits for the command to connect.
pub(crate) fn wait_for_connect() -> Result<()> {
    say("started")?;
    match command()?.as_str() {
        "connect" => Ok(()),
        other => Err(format!("expected connect, not {other}").into()),
    }
}

/// Obeys until it is told to quit. `round_trip` publishes a payload and waits for its echo.
pub(crate) fn serve(
    job: &Job,
    check: &Check,
    publish: &Publish<'_>,
    round_trip: &dyn Fn(&[u8]) -> Result<()>,
) -> Result<()> {
    say("ready")?;
    let publishing = Publishing::default();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        loop {
            let command = command()?;
            match command.split_once(' ').unwrap_or((&command, "")) {
                ("counts", _) => {
                    let (count, errors) = check.counts();
                    say(&format!("{count} {errors}"))?;
                }
                ("go", _) => {
                    threads = publishing.start(scope, job.clients, job.payload, publish)?;
                    say("ok")?;
                }
                ("halt", _) => {
                    let published = publishing.halt(std::mem::take(&mut threads))?;
                    say(&published.to_string())?;
                }
                ("echo", milliseconds) => {
                    let duration = Duration::from_millis(milliseconds.parse()?);
                    say(&round_trips(job, duration, round_trip)?.summary())?;
                }
                ("clear", _) => {
                    if let Some(latencies) = check.latencies() {
                        latencies.clear();
                    }
                    say("ok")?;
                }
                ("latency", _) => {
                    let latencies = check.latencies().map(Histogram::summary);
                    say(&latencies.unwrap_or_default())?;
                }
                ("quit", _) => return Ok(()),
                (other, _) => return Err(format!("unknown command {other}").into()),
            }
        }
    })
}

/// Says how long the clients took to stop.
pub(crate) fn stopped_since(start: Instant) -> Result<()> {
    say(&start.elapsed().as_micros().to_string())
}

/// Tells the instrument how far the clients are, until it is gone.
pub(crate) fn give_credit(port: u16, check: &Check) {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return;
    };
    let (mut frame, mut before) = (Vec::new(), Vec::new());
    loop {
        check.credit(&mut frame);
        if frame != before && stream.write_all(&frame).is_err() {
            return;
        }
        std::mem::swap(&mut frame, &mut before);
        clock::pause(CREDIT);
    }
}

fn round_trips(
    job: &Job,
    duration: Duration,
    round_trip: &dyn Fn(&[u8]) -> Result<()>,
) -> Result<Histogram> {
    let times = Histogram::new();
    let mut payload = wire::payload(job.payload, 0);
    let end = Instant::now() + duration;
    for sequence in 0_u64.. {
        let start = Instant::now();
        if start >= end {
            break;
        }
        payload[..8].copy_from_slice(&sequence.to_le_bytes());
        round_trip(&payload)?;
        times.record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(times)
}

fn command() -> Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err("the runner is gone".into());
    }
    Ok(line.trim_end().to_owned())
}

fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
