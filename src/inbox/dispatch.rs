//! From a network thread into the queue. Never waits.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::Arc,
    time::Instant,
};

use crossbeam_channel::Sender;

use crate::{
    inbox::{
        lane::{Collected, LaneBatch},
        message::{Message, Source},
        share::{Load, Room},
    },
    session::{
        ack_order::{Acknowledgement, Reception},
        packet::{Publication, Received},
    },
    spec::{
        qos::QoS,
        topic::{TopicError, check_topic},
    },
};

/// The broker broke a rule, so that its connection has to end.
#[derive(PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolViolation {
    #[error("more unacknowledged messages than packet identifiers")]
    OutOfIdentifiers,
    #[error("a message whose topic is not valid: {0}")]
    Topic(TopicError),
    #[error("a message of QoS 0 that says it is a repetition")]
    Repetition,
}

crate::spec::readable::debug_is_text!(ProtocolViolation);

/// Who takes the messages.
#[derive(Debug, Clone)]
pub(crate) enum Lanes {
    /// The application, from one queue.
    Pull(Sender<Message>),
    /// All workers, from one queue: no order is kept, so that each message goes to whoever is free.
    Shared(Sender<LaneBatch>),
    /// Each worker from its own. Messages of one client and topic share a lane, so that one worker
    /// handles them in order.
    Ordered(Vec<Sender<LaneBatch>>),
}

/// One network thread's way into the queue.
#[derive(Debug)]
pub(crate) struct Dispatch {
    source: Arc<Source>,
    lanes: Lanes,
    /// What this wake-up has brought for each lane.
    collected: Vec<Collected>,
    /// When this wake-up began to bring something.
    now: Option<Instant>,
    /// How many messages of this wake-up will be acknowledged.
    to_acknowledge: usize,
    /// Whether this wake-up has brought a QoS 0 message that found no place.
    has_dropped: bool,
    tally: Tally,
    /// This wake-up has passed the intake, which a stop waits for when it closes that.
    is_inside: bool,
    /// For what of QoS 0 there is room at the least. Workers make room all the time: looking for each message
    /// would cost both sides more than anything else here.
    room: Room,
}

/// What was collected and is not yet counted.
#[derive(Debug, Default)]
struct Tally {
    received: u64,
    at_most_once: Load,
    acknowledged: usize,
}

impl Dispatch {
    pub(crate) fn new(source: Arc<Source>, lanes: Lanes) -> Self {
        let lanes_with_batches = match &lanes {
            Lanes::Pull(_) | Lanes::Shared(_) => 0,
            Lanes::Ordered(lanes) => lanes.len(),
        };
        Self {
            source,
            lanes,
            collected: (0..lanes_with_batches)
                .map(|_| Collected::default())
                .collect(),
            now: None,
            to_acknowledge: 0,
            has_dropped: false,
            tally: Tally::default(),
            is_inside: false,
            room: Room::default(),
        }
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Takes a message until the client is told to stop: QoS 0 as long as its client's share has
    /// room, QoS 1 and 2 always. It
    /// reaches the queue with the next `flush`, at the latest.
    pub(crate) fn deliver(&mut self, received: Received) -> Result<(), ProtocolViolation> {
        let Received { packet_id, content } = received;
        // A topic name without wildcards, of a character at least [MQTT-3.3.2-2] [MQTT-4.7.3-1].
        check_topic(&content.topic).map_err(ProtocolViolation::Topic)?;
        // [MQTT-3.3.1-2].
        if content.duplicate && content.qos == QoS::AtMostOnce {
            return Err(ProtocolViolation::Repetition);
        }
        let source = &self.source;
        self.is_inside = self.is_inside || source.intake.enter();
        if !self.is_inside {
            // At QoS 1 and 2 the broker still has it, and sends it again to a session that it keeps.
            source.counters.after_stop.increment();
            return Ok(());
        }
        let ticket = match content.qos {
            QoS::AtMostOnce => {
                let load = Load::of(content.len());
                if !self.room.take(load) {
                    self.room = source.waiting.room(self.tally.at_most_once, load);
                    if !self.room.take(load) {
                        source.dropped();
                        self.has_dropped = true;
                        return Ok(());
                    }
                }
                self.tally.at_most_once.add(load);
                None
            }
            qos => {
                let acknowledgement = Acknowledgement { packet_id, qos };
                let has_place = source.waiting.has_identifiers(self.tally.acknowledged);
                match source.acks.received(acknowledgement, has_place) {
                    Reception::New(ticket) => {
                        self.tally.acknowledged += 1;
                        self.to_acknowledge += 1;
                        Some(ticket)
                    }
                    Reception::Repeated => {
                        source.counters.received.increment();
                        source.counters.repeated.increment();
                        return Ok(());
                    }
                    Reception::OutOfIdentifiers => {
                        return Err(ProtocolViolation::OutOfIdentifiers);
                    }
                }
            }
        };
        self.tally.received += 1;
        let now = *self.now.get_or_insert_with(Instant::now);
        let message = |content: Publication| {
            Message::new(content.detached(), Arc::clone(source), ticket, now)
        };
        match &self.lanes {
            Lanes::Ordered(lanes) => {
                let lane = lane_of(source.number, &content.topic, lanes.len());
                if let Some(collected) = self.collected.get_mut(lane) {
                    collected.push(content, ticket);
                }
            }
            // Whoever waits for one message shall not wait for others. Sending fails when nobody
            // will take messages any more, at the end of the fleet: see `flush`.
            Lanes::Pull(queue) => {
                self.tally.count(source);
                let _ = queue.send(message(content));
            }
            Lanes::Shared(queue) => {
                self.tally.count(source);
                let _ = queue.send(LaneBatch::One(message(content)));
            }
        }
        Ok(())
    }

    /// The wake-up is over: what it brought goes into the queue. Says how many of its messages will be
    /// acknowledged.
    pub(crate) fn flush(&mut self) -> usize {
        let handed_over = self.hand_over_collected();
        if mem::take(&mut self.is_inside) {
            self.source.intake.leave();
        }
        handed_over
    }

    fn hand_over_collected(&mut self) -> usize {
        if mem::take(&mut self.has_dropped) {
            self.source.tell_dropped();
        }
        let Some(now) = self.now.take() else {
            return 0;
        };
        // Before a worker can take it out: no count falls below zero.
        self.tally.count(&self.source);
        if let Lanes::Ordered(lanes) = &self.lanes {
            for (lane, collected) in lanes.iter().zip(&mut self.collected) {
                if let Some(batch) = collected.take(&self.source, now) {
                    // Fails when nobody will take messages any more, at the end of the fleet. What
                    // is dropped inside the queue is not acknowledged.
                    let _ = lane.send(batch);
                }
            }
        }
        mem::take(&mut self.to_acknowledge)
    }
}

impl Tally {
    fn count(&mut self, source: &Source) {
        source.counters.received.add(self.received);
        source.waiting.reserve(self.at_most_once, self.acknowledged);
        *self = Self::default();
    }
}

fn lane_of(client: u64, topic: &str, lanes: usize) -> usize {
    if lanes == 1 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    topic.hash(&mut hasher);
    // The remainder is below the number of lanes, which is a usize.
    (hasher.finish() % lanes as u64) as usize
}
