//! The physical limit: blocking sockets, packets encoded beforehand, headers read and counted.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    thread,
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    check::Check,
    commands,
    job::{Job, KEEP_ALIVE, Kind},
};
use crate::{Result, wire};

/// The bytes of a write.
const CHUNK: usize = 8 * 1024;

/// The sending side of a connection.
struct Sender {
    stream: TcpStream,
    run: wire::Run,
    sent: u64,
    /// The bytes of PUBACKs that have come; there are four in each.
    acknowledged: u64,
}

pub(crate) fn run(job: &Job) -> Result<()> {
    commands::wait_for_connect()?;
    let check = Check::new(job.clients, job.paced);
    let mut streams = Vec::new();
    for client in 0..job.clients {
        streams.push(connect(job, client)?);
    }
    let mut senders = Vec::new();
    for (client, stream) in streams.iter().enumerate() {
        let payload = wire::payload(job.payload, client);
        let room = if job.kind == Kind::Echo { 1 } else { CHUNK };
        senders.push(Mutex::new(Sender {
            stream: stream.try_clone()?,
            run: wire::Run::new(wire::topic(client).as_bytes(), job.qos, &payload, room),
            sent: 0,
            acknowledged: 0,
        }));
    }
    thread::scope(|scope| {
        if job.kind == Kind::Receive {
            for stream in &streams {
                let stream = stream.try_clone()?;
                let check = &check;
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn_scoped(scope, move || receive(stream, check))?;
            }
        }
        let publish = |client: usize, _: &[u8]| publish(&senders[client], job).unwrap_or(0);
        let round_trip = |payload: &[u8]| round_trip(&senders[0], payload);
        let served = commands::serve(job, &check, &publish, &round_trip);
        let start = Instant::now();
        for mut stream in &streams {
            let _ = stream.write_all(&wire::DISCONNECT_PACKET);
            let _ = stream.shutdown(Shutdown::Both);
        }
        served.map(|()| start)
    })
    .and_then(commands::stopped_since)
}

fn connect(job: &Job, client: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, job.port))?;
    stream.set_nodelay(true)?;
    stream.write_all(&wire::connect(&format!("c{client}"), KEEP_ALIVE))?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer[..4])?;
    stream.write_all(&wire::subscribe(&wire::topic(client), job.qos))?;
    stream.read_exact(&mut answer)?;
    Ok(stream)
}

/// Until the connection ends.
fn receive(mut stream: TcpStream, check: &Check) {
    let mut buffer = vec![0; 64 * 1024];
    let mut kept = 0;
    let mut answer = Vec::new();
    loop {
        let count = match stream.read(&mut buffer[kept..]) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let end = kept + count;
        let mut at = 0;
        while let Some(packet) = wire::packet(&buffer[at..end]) {
            if packet.kind == wire::PUBLISH {
                if let Some((_, id, payload)) = wire::publish_of(&packet) {
                    check.take(payload);
                    if let Some(id) = id {
                        answer.extend([wire::PUBACK << 4, 2]);
                        answer.extend(id.to_be_bytes());
                    }
                }
            }
            at += packet.length;
        }
        buffer.copy_within(at..end, 0);
        kept = end - at;
        if !answer.is_empty() {
            if stream.write_all(&answer).is_err() {
                return;
            }
            answer.clear();
        }
    }
}

/// Sends as many messages as a write and the window take; waits for the window.
fn publish(sender: &Mutex<Sender>, job: &Job) -> Result<u64> {
    let mut sender = sender.lock();
    let Sender {
        stream,
        run,
        sent,
        acknowledged,
    } = &mut *sender;
    let mut allowance = run.capacity();
    if job.qos > 0 {
        let window = u64::from(job.window);
        let mut buffer = [0; 4 * 1024];
        while *sent - *acknowledged / 4 >= window {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err("the connection ended".into());
            }
            *acknowledged += count as u64;
        }
        allowance = allowance.min(window - (*sent - *acknowledged / 4));
    }
    stream.write_all(run.numbered(*sent, allowance, |_| 0))?;
    *sent += allowance;
    Ok(allowance)
}

fn round_trip(sender: &Mutex<Sender>, payload: &[u8]) -> Result<()> {
    let mut sender = sender.lock();
    let Sender { stream, run, .. } = &mut *sender;
    let sequence = wire::sequence_of(payload).unwrap_or(0);
    let bytes = run.numbered(sequence, 1, |_| 0);
    stream.write_all(bytes)?;
    let mut echo = vec![0; bytes.len()];
    stream.read_exact(&mut echo)?;
    Ok(())
}
