//! From a network thread into the queue. Never waits.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crossbeam_channel::Sender;

use crate::{
    receive::{
        ack::{Acknowledgement, Admission},
        message::{Message, Received},
        source::Source,
    },
    spec::{
        qos::QoS,
        topic::{TopicError, check_topic},
    },
};

/// The broker broke a rule, so that its connection has to end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Offense {
    #[error("more unacknowledged messages than packet identifiers")]
    OutOfIdentifiers,
    #[error("a message whose topic is not valid: {0}")]
    Topic(TopicError),
}

/// The lanes of the queue. Messages of one client and topic share a lane, so that one worker
/// handles them in order; with a single lane all workers share it (unordered, or pull mode).
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    lanes: Vec<Sender<Message>>,
}

impl Dispatch {
    /// At least one lane.
    pub(crate) fn new(lanes: Vec<Sender<Message>>) -> Self {
        Self { lanes }
    }

    /// Queues a message: QoS 0 as long as its client's share has room, QoS 1 and 2 always.
    pub(crate) fn deliver(&self, received: Received, source: &Arc<Source>) -> Result<(), Offense> {
        // A topic name without wildcards, of a character at least [MQTT-3.3.2-2] [MQTT-4.7.3-1].
        check_topic(&received.topic).map_err(Offense::Topic)?;
        let ticket = match received.qos {
            QoS::AtMostOnce if source.reserve() => None,
            QoS::AtMostOnce => {
                source.counters.received.increment();
                let dropped = &source.counters.dropped;
                dropped.increment();
                if dropped.get() % 1_000 == 1 {
                    log::warn!(
                        "client {}: its share of the queue is full, {} QoS 0 messages dropped",
                        source.name,
                        dropped.get(),
                    );
                }
                return Ok(());
            }
            qos => {
                let acknowledgement = Acknowledgement {
                    packet_id: received.packet_id,
                    qos,
                };
                match source.acks.received(acknowledgement) {
                    Admission::New(ticket) if source.reserve_acknowledged() => Some(ticket),
                    Admission::Repeated => {
                        source.counters.received.increment();
                        source.counters.repeated.increment();
                        return Ok(());
                    }
                    Admission::New(_) | Admission::OutOfIdentifiers => {
                        return Err(Offense::OutOfIdentifiers);
                    }
                }
            }
        };
        source.counters.received.increment();
        let lane = self.lane(source.index, &received.topic);
        if let Some(lane) = self.lanes.get(lane) {
            // Fails when nobody will take messages any more, at the end of the fleet. The message
            // is dropped inside the queue then, so it is not acknowledged.
            let _ = lane.send(Message::new(received, Arc::clone(source), ticket));
        }
        Ok(())
    }

    fn lane(&self, client: usize, topic: &str) -> usize {
        if self.lanes.len() == 1 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        topic.hash(&mut hasher);
        // The remainder is below the number of lanes, which is a usize.
        (hasher.finish() % self.lanes.len() as u64) as usize
    }
}
