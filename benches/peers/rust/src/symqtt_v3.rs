//! symqtt: blocking, two threads for each client, the handler on its reading thread.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use symqtt::v3::{
    Client, ConnectOptions, Error, InboundHandler, Publish, PublishMessage, QoS, Session, Token,
};
use symqtt_transport::tcp::TcpTransport;

use crate::{
    Result,
    queue::Sink,
    subject::{
        commands,
        job::{Job, KEEP_ALIVE},
    },
    wire,
};

struct Handler(Sink);

impl InboundHandler for Handler {
    fn on_publish(&self, publish: &Publish) {
        self.0.take(&publish.topic, &publish.payload);
    }
}

type Connected = Client<Handler, TcpTransport>;

pub(crate) fn run(job: &Job, queued: bool) -> Result<()> {
    commands::wait_for_connect()?;
    let (sink, echoed) = Sink::new(job, queued)?;
    let mut clients = Vec::new();
    for number in 0..job.clients {
        clients.push(connect(job, number, sink.clone())?);
    }
    let qos = qos(job);
    let topics: Vec<String> = (0..job.clients).map(wire::topic).collect();
    let waiting: Vec<Mutex<VecDeque<Token<()>>>> =
        (0..job.clients).map(|_| Mutex::default()).collect();
    let publish = |client: usize, payload: &[u8]| {
        let payload = Bytes::copy_from_slice(payload);
        let message = PublishMessage::new(&topics[client], payload).qos(qos);
        let Ok(mut waiting) = waiting[client].lock() else {
            return 0;
        };
        loop {
            match clients[client].publish(&message) {
                Ok(token) => {
                    waiting.extend(token);
                    return 1;
                }
                // It refuses where others wait: wait for the oldest.
                Err(Error::WindowFull) => match waiting.pop_front() {
                    Some(oldest) => drop(oldest.wait()),
                    None => return 0,
                },
                Err(_) => return 0,
            }
        }
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
    commands::serve(job, &sink.check, &publish, &round_trip)?;
    let start = Instant::now();
    for client in &clients {
        client.disconnect(Some(Duration::from_secs(5)));
    }
    commands::stopped_since(start)
}

fn qos(job: &Job) -> QoS {
    match job.qos {
        0 => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    }
}

fn connect(job: &Job, number: usize, sink: Sink) -> Result<Connected> {
    let options = ConnectOptions {
        client_id: format!("c{number}"),
        clean_session: true,
        keep_alive: Duration::from_secs(KEEP_ALIVE.into()),
        will: None,
        username: None,
        password: None,
        connect_timeout: Some(Duration::from_secs(5)),
        ping_timeout: None,
    };
    let transport = TcpTransport::builder(("127.0.0.1", job.port))
        .nodelay(true)
        .connect()?;
    let session = Session::with_max_inflight(job.window);
    let client = Client::connect(options, Handler(sink), session, transport)?;
    let topic = wire::topic(number);
    client
        .subscribe(&[(&topic, qos(job))], None)?
        .wait_timeout(Duration::from_secs(10))?;
    Ok(client)
}
