//! For tests of what comes in and what goes out: fleets that are ready, handlers that wait at a gate,
//! and questions to the record of a test broker.

use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mqtt_fleet::testing::{Direction, Packet, Seen, TestBroker};
use mqtt_fleet::{Client, Fleet, FleetBuilder, Message, QoS, Retry};

/// How long a test waits for what must happen, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a fleet and waits until it is connected and has all its subscriptions.
pub(crate) fn subscribed(builder: FleetBuilder) -> Fleet {
    let fleet = builder.start().expect("the fleet starts");
    fleet
        .wait_subscribed(PATIENCE)
        .expect("every subscription is answered");
    fleet
}

/// Attempts without end and with hardly a pause, for tests that cut connections.
pub(crate) fn tireless() -> Retry {
    Retry::forever().pause(Duration::from_millis(1)..=Duration::from_millis(20))
}

/// The number that a message carries.
pub(crate) fn number(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).expect("a number is text");
    text.parse().expect("the payload is a number")
}

/// The payload that carries a number.
pub(crate) fn numbered(n: usize) -> Bytes {
    Bytes::from(n.to_string())
}

/// Where the handlers of a test wait. A gate that is dropped is open.
#[derive(Debug)]
pub(crate) struct Gate {
    arrived: Receiver<String>,
    pass: Option<Sender<()>>,
}

/// A handler's side of a gate.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    arrive: Sender<String>,
    passes: Receiver<()>,
}

pub(crate) fn gate() -> (Gate, Door) {
    let (arrive, arrived) = unbounded();
    let (pass, passes) = bounded(1_000);
    let gate = Gate {
        arrived,
        pass: Some(pass),
    };
    (gate, Door { arrive, passes })
}

impl Gate {
    /// Waits until a handler stands at the gate; returns the text of its message.
    pub(crate) fn wait_for_one(&self) -> String {
        let arrived = self.arrived.recv_timeout(PATIENCE);
        arrived.expect("a handler comes to the gate")
    }

    /// Lets one handler through, now or when it comes.
    pub(crate) fn let_one_pass(&self) {
        if let Some(pass) = &self.pass {
            pass.send(()).expect("there is a door");
        }
    }

    /// Lets all through from now on.
    pub(crate) fn open(&mut self) {
        self.pass = None;
    }
}

impl Door {
    /// Waits until the gate lets this handler through.
    pub(crate) fn pass(&self, message: &Message) {
        // Fails when the gate is gone, which is as good as open.
        let _ = self.arrive.send(message.text().into_owned());
        let _ = self.passes.recv();
    }
}

/// What a handler saw of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Got {
    pub(crate) client: String,
    pub(crate) topic: String,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn of(message: &Message) -> Got {
        Got {
            client: message.client().to_owned(),
            topic: message.topic().to_owned(),
            text: message.text().into_owned(),
        }
    }
}

/// Takes so many items from a channel; panics when they do not come.
pub(crate) fn take<T>(items: &Receiver<T>, count: usize) -> Vec<T> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        match items.recv_timeout(PATIENCE) {
            Ok(item) => taken.push(item),
            Err(_) => panic!("{} of {count} came", taken.len()),
        }
    }
    taken
}

/// A PUBLISH in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) connection: u64,
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
    pub(crate) payload: Bytes,
}

/// The PUBLISH packets of a record that went one way between the broker and a client.
pub(crate) fn publishes(seen: &[Seen], client: &str, direction: Direction) -> Vec<Publish> {
    let between = seen
        .iter()
        .filter(|seen| seen.client == client && seen.direction == direction);
    between
        .filter_map(|seen| match seen.packet.clone() {
            Packet::Publish {
                topic,
                qos,
                retain,
                dup,
                packet_id,
                payload,
            } => Some(Publish {
                connection: seen.connection,
                topic,
                qos,
                retain,
                dup,
                packet_id,
                payload,
            }),
            _ => None,
        })
        .collect()
}

/// How many packets of a record came from a client and are as asked for.
pub(crate) fn count_in(seen: &[Seen], client: &str, is_meant: impl Fn(&Packet) -> bool) -> usize {
    seen.iter()
        .filter(|seen| seen.client == client && seen.direction == Direction::In)
        .filter(|seen| is_meant(&seen.packet))
        .count()
}

/// Waits until so many packets that are as asked for came from a client.
pub(crate) fn wait_for_in(
    broker: &TestBroker,
    client: &str,
    count: usize,
    is_meant: impl Fn(&Packet) -> bool,
) {
    broker
        .wait_for(|seen| count_in(seen, client, &is_meant) >= count, PATIENCE)
        .expect("the client sends them");
}

/// The identifiers of a client's PUBACKs on one connection, in order.
pub(crate) fn pubacks(seen: &[Seen], client: &str, connection: u64) -> Vec<u16> {
    seen.iter()
        .filter(|seen| {
            seen.client == client
                && seen.direction == Direction::In
                && seen.connection == connection
        })
        .filter_map(|seen| match seen.packet {
            Packet::Puback { packet_id } => Some(packet_id),
            _ => None,
        })
        .collect()
}

/// Waits until so many PUBLISH packets came from a client, repetitions included.
pub(crate) fn wait_for_publishes(broker: &TestBroker, client: &str, count: usize) {
    wait_for_in(broker, client, count, |packet| {
        matches!(packet, Packet::Publish { .. })
    });
}

/// Ends a client's connection and waits until it is connected again. (Waiting for the loss would miss it
/// when the client is quick.)
pub(crate) fn reconnect(broker: &TestBroker, client: &Client, end: impl FnOnce(&str) -> bool) {
    let id = client.client_id();
    let before = broker.connects(id);
    assert!(end(id), "{id} was connected");
    broker
        .wait_for(|_| broker.connects(id) > before, PATIENCE)
        .expect("the client connects again");
    client
        .wait_connected(PATIENCE)
        .expect("the client is connected again");
}
