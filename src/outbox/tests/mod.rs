//! The outbox without a connection: an engine that records what it carries, and steps as a network thread
//! takes.

mod admission;
mod brief_wait;
mod connection;
mod garbage;
#[cfg(model_check)]
mod parking;
mod random;
mod wake;

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    outbox::{
        Outbox, Patience, Waker,
        entry::Progress,
        network_side::Taken,
        receipt::Receipt,
        send_batch::{Outbound, SendBatch},
    },
    session::packet::{Outgoing, Packet},
    spec::{outbox::OutboxSettings, qos::QoS},
};

/// As many bytes as an engine takes before a flush.
const ROOM: usize = 7_000;

/// An engine that can't be woken without something to send, as `iter`, or one that can.
enum Recorder {
    Carrying(Sender<Packet>),
    Waking(Sender<()>),
}

impl Waker for Recorder {
    fn wake(&self) -> bool {
        match self {
            Self::Carrying(_) => false,
            Self::Waking(woken) => woken.send(()).is_ok(),
        }
    }

    fn wake_with(&self, packet: Packet) -> Result<(), Packet> {
        match self {
            Self::Carrying(carried) => carried.send(packet).map_err(|error| error.0),
            Self::Waking(_) => Err(packet),
        }
    }
}

fn outbox(settings: OutboxSettings) -> (Arc<Outbox>, Receiver<Packet>) {
    let (carries, carried) = unbounded();
    let outbox = Arc::new(Outbox::new(settings));
    outbox.attach(Box::new(Recorder::Carrying(carries)));
    (outbox, carried)
}

fn settings(capacity: usize, window: u16) -> OutboxSettings {
    OutboxSettings {
        capacity,
        window,
        ..OutboxSettings::default()
    }
}

fn message(topic: &str, qos: QoS) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        qos,
        retain: false,
        payload: Bytes::new(),
    }
}

fn offer(outbox: &Outbox, topic: &str, qos: QoS) -> Receipt {
    outbox
        .offer(message(topic, qos).into(), Patience::None)
        .unwrap()
}

fn name(packet: &Packet) -> String {
    match packet {
        Packet::Publish { message, .. } => message.topic.clone(),
        packet => format!("{packet:?}"),
    }
}

/// What was carried with a wake-up.
fn carried(carries: &Receiver<Packet>) -> String {
    let packet = carries.try_recv();
    packet.map_or("silence".to_owned(), |packet| name(&packet))
}

/// The network thread's step: says what was sent, or `None` if it is to end. Its progress is for the next
/// step.
fn step(outbox: &Outbox, progress: &mut Vec<Progress>) -> Option<Vec<String>> {
    let mut sent = Vec::new();
    loop {
        let mut batch = SendBatch::default();
        match outbox.take_or_park(progress, &mut batch, ROOM, None) {
            Taken::Batch => {}
            Taken::Parked { .. } | Taken::Carried(_) => return Some(sent),
            Taken::Closed | Taken::Finished => return None,
            Taken::NextId(_) => panic!("any identifier will do"),
        }
        while let Some(outbound) = batch.pop() {
            sent.push(match outbound {
                Outbound::Packet(packet) => name(&packet),
                Outbound::Publish { packet_id, message } => {
                    let topic = message.topic.clone();
                    let pending = batch.sent().unwrap();
                    progress.push(match packet_id {
                        0 => Progress::SentOnce(pending),
                        _ => Progress::Sent {
                            packet_id,
                            message: Box::new(message),
                            pending,
                        },
                    });
                    topic
                }
            });
        }
    }
}

fn parked(settings: OutboxSettings) -> (Arc<Outbox>, Receiver<Packet>) {
    let (outbox, carries) = outbox(settings);
    outbox.connected(false, [], None);
    assert_eq!(step(&outbox, &mut Vec::new()), Some(vec![]));
    (outbox, carries)
}
