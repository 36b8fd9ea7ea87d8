//! The subject that this repository is about.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mqtt_fleet::{Client, ClientSpec, Fleet, QoS, Retry};

use super::{
    check::Check,
    commands,
    job::{Job, KEEP_ALIVE},
};
use crate::{Result, wire};

pub(crate) fn run(job: &Job) -> Result<()> {
    commands::wait_for_connect()?;
    let qos = QoS::try_from(job.qos)?;
    let check = Arc::new(Check::new(job.clients, job.paced));
    let spec = |client: usize| {
        ClientSpec::new(
            format!("c{client}"),
            format!("mqtt://127.0.0.1:{}", job.port),
        )
        .keep_alive(Duration::from_secs(KEEP_ALIVE.into()))
        .subscribe(wire::topic(client), qos)
        .window(job.window)
        .retry(Retry::forever().pause(Duration::ZERO..=Duration::ZERO))
    };
    let mut builder = Fleet::builder().clients((0..job.clients).map(spec));
    if job.workers > 0 {
        let check = Arc::clone(&check);
        builder = builder
            .workers(job.workers)
            .on_message("bench/+", move |message, _| {
                check.take(message.payload());
                Ok(())
            });
    }
    if job.share > 0 {
        // A quarter more than the source sends at most: what is counted still waits to be dropped.
        let capacity = job.share.saturating_mul(job.clients as u64) / 4 * 5;
        builder = builder
            .queue_capacity(usize::try_from(capacity)?.max(job.clients))
            .queue_bytes(usize::MAX);
    }
    let fleet = builder.start()?;
    fleet.wait_subscribed(Duration::from_secs(30))?;
    if job.share > 0 {
        let (port, check) = (job.credit, Arc::clone(&check));
        give_credit(port, check)?;
    }
    serve(job, &check, &fleet, qos)?;
    let start = Instant::now();
    let report = fleet.stop(Duration::from_secs(10));
    commands::stopped_since(start)?;
    if !report.abandoned().is_empty() {
        return Err(format!("abandoned: {:?}", report.abandoned()).into());
    }
    Ok(())
}

fn serve(job: &Job, check: &Check, fleet: &Fleet, qos: QoS) -> Result<()> {
    let clients: Vec<Client> = fleet.clients().iter().collect();
    let topics: Vec<String> = (0..job.clients).map(wire::topic).collect();
    let publish = |client: usize, payload: &[u8]| {
        let payload = Bytes::copy_from_slice(payload);
        clients[client]
            .publish(topics[client].as_str(), qos, false, payload)
            .is_ok()
            .into()
    };
    // Only where no handler takes them.
    let messages = fleet.messages();
    let round_trip = |payload: &[u8]| {
        if publish(0, payload) == 0 {
            return Err("a message was not taken".into());
        }
        let messages = messages.as_ref().map_err(|error| error.to_string())?;
        let echo = messages.recv_timeout(Duration::from_secs(10))?;
        match wire::sequence_of(echo.payload()) == wire::sequence_of(payload) {
            true => Ok(()),
            false => Err("another echo than expected".into()),
        }
    };
    commands::serve(job, check, &publish, &round_trip)
}

#[expect(clippy::disallowed_methods, reason = "it lives until the process ends")]
fn give_credit(port: u16, check: Arc<Check>) -> Result<()> {
    thread::Builder::new().spawn(move || commands::give_credit(port, &check))?;
    Ok(())
}
