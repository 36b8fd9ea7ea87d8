//! rumqttc-v4-next, the fork: as the bare loop, with its batching of reads and requests on.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rumqttc::{
    Client, Connection, Event, MqttOptions, NetworkOptions, Outgoing, Packet, PublishOptions, QoS,
};

use crate::{
    Result, clock,
    queue::Sink,
    subject::{
        commands,
        job::{Job, KEEP_ALIVE},
    },
    wire,
};

const CHANNEL: usize = 1_000;
const BATCH: usize = 128;

struct Shared {
    sink: Sink,
    subscribed: AtomicUsize,
    ending: AtomicBool,
    qos: QoS,
}

pub(crate) fn run(job: &Job, queued: bool) -> Result<()> {
    commands::wait_for_connect()?;
    let (sink, echoed) = Sink::new(job, queued)?;
    let shared = Shared {
        sink,
        subscribed: AtomicUsize::new(0),
        ending: AtomicBool::new(false),
        qos: match job.qos {
            0 => QoS::AtMostOnce,
            _ => QoS::AtLeastOnce,
        },
    };
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for number in 0..job.clients {
            let (client, connection) = client(job, number)?;
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
        let topics: Vec<String> = (0..job.clients).map(wire::topic).collect();
        let publish = |client: usize, payload: &[u8]| {
            let options = PublishOptions::new(shared.qos);
            clients[client]
                .publish(topics[client].as_str(), payload, options)
                .is_ok()
                .into()
        };
        let round_trip = |payload: &[u8]| {
            if publish(0, payload) == 0 {
                return Err("a message was not taken".into());
            }
            match Some(echoed.recv_timeout(Duration::from_secs(10))?) == wire::sequence_of(payload)
            {
                true => Ok(()),
                false => Err("another echo than expected".into()),
            }
        };
        let served = commands::serve(job, &shared.sink.check, &publish, &round_trip);
        shared.ending.store(true, Relaxed);
        let start = Instant::now();
        for client in &clients {
            let _ = client.disconnect();
        }
        served.map(|()| start)
    })
    .and_then(commands::stopped_since)
}

fn client(job: &Job, number: usize) -> Result<(Client, Connection)> {
    let mut options = MqttOptions::new(format!("c{number}"), ("127.0.0.1", job.port));
    options.set_keep_alive(KEEP_ALIVE);
    options.set_inflight(job.window);
    options.set_max_packet_size(256 * 1024, 256 * 1024);
    options.set_max_request_batch(BATCH);
    options.set_read_batch_size(BATCH);
    let (client, mut connection) = Client::builder(options).capacity(CHANNEL).try_build()?;
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    Ok((client, connection))
}

fn network(client: &Client, mut connection: Connection, number: usize, shared: &Shared) {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let topic = std::str::from_utf8(publish.topic.as_ref()).unwrap_or_default();
                shared.sink.take(topic, &publish.payload);
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let _ = client.try_subscribe(wire::topic(number), shared.qos);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                shared.subscribed.fetch_add(1, Relaxed);
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Err(_) if shared.ending.load(Relaxed) => return,
            Ok(_) | Err(_) => {}
        }
    }
}
