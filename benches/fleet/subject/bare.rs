//! The peer that all ratios refer to: rumqttc as its README shows it, a thread for each client
//! with `for event in connection.iter()`, acknowledging by itself, counting in that thread.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rumqttc::{Client, Connection, Event, MqttOptions, NetworkOptions, Outgoing, Packet, QoS};

use super::{
    check::Check,
    commands,
    job::{Job, KEEP_ALIVE, Kind},
};
use crate::{Result, clock, wire};

/// rumqttc's channel from the publishers to the loop.
const CHANNEL: usize = 1_000;

struct Shared {
    check: Check,
    subscribed: AtomicUsize,
    ending: AtomicBool,
    /// Of a round trip: what came back.
    echoes: Sender<u64>,
    echo: bool,
    qos: QoS,
}

pub(crate) fn run(job: &Job) -> Result<()> {
    commands::wait_for_connect()?;
    let (echoes, echoed) = bounded(16);
    let shared = Shared {
        check: Check::new(job.clients, job.paced),
        subscribed: AtomicUsize::new(0),
        ending: AtomicBool::new(false),
        echoes,
        echo: job.kind == Kind::Echo,
        qos: if job.qos == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        },
    };
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for number in 0..job.clients {
            let (client, connection) = client(job, number);
            clients.push(client.clone());
            let shared = &shared;
            thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn_scoped(scope, move || network(&client, connection, number, shared))?;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while shared.subscribed.load(Relaxed) < job.clients {
            if Instant::now() > deadline {
                return Err("not all clients were subscribed".into());
            }
            clock::pause(Duration::from_micros(500));
        }
        let served = serve(job, &shared, &clients, &echoed);
        shared.ending.store(true, Relaxed);
        let start = Instant::now();
        for client in &clients {
            // Fails for a client whose loop has ended.
            let _ = client.disconnect();
        }
        served.map(|()| start)
    })
    .and_then(commands::stopped_since)
}

fn client(job: &Job, number: usize) -> (Client, Connection) {
    let mut options = MqttOptions::new(format!("c{number}"), "127.0.0.1", job.port);
    options.set_keep_alive(Duration::from_secs(KEEP_ALIVE.into()));
    options.set_inflight(job.window);
    options.set_max_packet_size(256 * 1024, 256 * 1024);
    let (client, mut connection) = Client::new(options, CHANNEL);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    (client, connection)
}

fn network(client: &Client, mut connection: Connection, number: usize, shared: &Shared) {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if shared.echo {
                    let _ = shared
                        .echoes
                        .send(wire::sequence_of(&publish.payload).unwrap_or(u64::MAX));
                } else {
                    shared.check.take(&publish.payload);
                }
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // The channel is empty at a connect.
                let _ = client.try_subscribe(wire::topic(number), shared.qos);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                shared.subscribed.fetch_add(1, Relaxed);
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Err(_) if shared.ending.load(Relaxed) => return,
            // The next call connects again, at once.
            Ok(_) | Err(_) => {}
        }
    }
}

fn serve(job: &Job, shared: &Shared, clients: &[Client], echoed: &Receiver<u64>) -> Result<()> {
    let topics: Vec<String> = (0..job.clients).map(wire::topic).collect();
    let publish = |client: usize, payload: &[u8]| {
        clients[client]
            .publish(topics[client].as_str(), shared.qos, false, payload)
            .is_ok()
            .into()
    };
    let round_trip = |payload: &[u8]| {
        if publish(0, payload) == 0 {
            return Err("a message was not taken".into());
        }
        match Some(echoed.recv_timeout(Duration::from_secs(10))?) == wire::sequence_of(payload) {
            true => Ok(()),
            false => Err("another echo than expected".into()),
        }
    };
    commands::serve(job, &shared.check, &publish, &round_trip)
}
