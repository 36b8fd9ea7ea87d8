//! One connection of the instrument: what it has sent and seen, and what it may send now.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::Plan;
use crate::wire::{self, Packet, Run};

/// Enough that system calls don't matter, small enough to stay in the cache.
const CHUNK: usize = 64 * 1024;

/// What all connections share.
pub(super) struct Scratch {
    buffer: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; 4 * CHUNK],
        }
    }
}

/// The figures of a connection, and of all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) connects: u64,
    pub(super) subscribed: u64,
    /// PUBLISH packets that were sent, and acknowledged.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// PUBLISH packets that came, and what was wrong with what came.
    pub(super) received: u64,
    pub(super) errors: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.connects += other.connects;
        self.subscribed += other.subscribed;
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.errors += other.errors;
    }
}

/// When the messages of a connection are to be sent, of a source that is paced. One message goes
/// to each connection in turn, in bursts a millisecond apart.
pub(super) struct Schedule {
    /// In nanoseconds since the epoch.
    pub(super) start: u64,
    /// Messages a second, on all connections.
    pub(super) rate: u64,
    pub(super) connections: u64,
    /// Which of them this is, from 0.
    pub(super) position: u64,
    /// How many messages it has sent before.
    pub(super) base: u64,
    /// How many it may have sent by now.
    pub(super) due: u64,
}

impl Schedule {
    /// Every burst up to this one is due.
    pub(super) fn advance(&mut self, burst: u64) {
        let total = ((burst + 1) * self.rate).div_ceil(1_000);
        let turns = (total + self.connections - 1).saturating_sub(self.position);
        self.due = self.base + turns / self.connections;
    }

    /// What the sink measures from: a message that is late was due at its own time nevertheless.
    fn intended(&self, number: u64) -> u64 {
        let turn = number - self.base;
        let burst = (turn * self.connections + self.position) * 1_000 / self.rate;
        self.start + burst * 1_000_000
    }
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) counts: Counts,
    /// The client's number, known from its subscription.
    pub(super) client: Option<usize>,
    /// It is in the list of those that have something to do.
    pub(super) listed: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) closed: bool,
    /// With credit: how many messages may have been sent at most.
    pub(super) limit: u64,
    pub(super) schedule: Option<Schedule>,
    run: Option<Run>,
    /// The beginning of a packet that is not complete.
    carry: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            counts: Counts::default(),
            client: None,
            listed: false,
            readable: false,
            writable: true,
            closed: false,
            limit: 0,
            schedule: None,
            run: None,
            carry: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Reads once, answers, sends a chunk. Returns whether it has more to do at once.
    pub(super) fn turn(&mut self, plan: &Plan, going: bool, scratch: &mut Scratch) -> bool {
        if self.readable && self.read(plan, scratch).is_err() {
            self.closed = true;
        }
        if self.writable && !self.closed && self.write(plan, going).is_err() {
            self.closed = true;
        }
        !self.closed
            && (self.readable
                || (self.writable
                    && (!self.output.is_empty() || (going && self.allowance(plan) > 0))))
    }

    fn read(&mut self, plan: &Plan, scratch: &mut Scratch) -> io::Result<()> {
        let kept = self.carry.len();
        if scratch.buffer.len() < kept + CHUNK {
            scratch.buffer.resize(kept + CHUNK, 0);
        }
        scratch.buffer[..kept].copy_from_slice(&self.carry);
        let room = scratch.buffer.len();
        let count = match self.stream.read(&mut scratch.buffer[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        // A short read means that the socket is empty; what comes later raises a new event.
        self.readable = kept + count == room;
        let bytes = &scratch.buffer[..kept + count];
        let mut at = 0;
        while let Some(packet) = wire::packet(&bytes[at..]) {
            self.take(&packet, plan)?;
            at += packet.length;
        }
        self.carry.clear();
        self.carry.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    #[inline]
    fn take(&mut self, packet: &Packet<'_>, plan: &Plan) -> io::Result<()> {
        match packet.kind {
            wire::PUBLISH => {
                let Some((_, id, payload)) = wire::publish_of(packet) else {
                    self.counts.errors += 1;
                    return Ok(());
                };
                if plan.echo {
                    self.echo(payload);
                } else if wire::sequence_of(payload) != Some(self.counts.received) {
                    self.counts.errors += 1;
                }
                self.counts.received += 1;
                if let Some(id) = id {
                    self.output.extend([wire::PUBACK << 4, 2]);
                    self.output.extend(id.to_be_bytes());
                }
            }
            wire::PUBACK => {
                // Acknowledgements come in the order of the messages [MQTT-4.6.0-2].
                let expected = wire::id_of(self.counts.acknowledged).to_be_bytes();
                if packet.body != expected {
                    self.counts.errors += 1;
                }
                self.counts.acknowledged += 1;
            }
            wire::CONNECT => {
                self.counts.connects += 1;
                self.output.extend(wire::CONNACK_PACKET);
            }
            wire::SUBSCRIBE => {
                let Some((filters, answer)) = wire::subscription(packet) else {
                    return Err(ErrorKind::InvalidData.into());
                };
                if let Some(topic) = filters.first() {
                    self.subscribe(topic, plan);
                }
                self.output.extend(answer);
            }
            wire::PINGREQ => self.output.extend(wire::PINGRESP_PACKET),
            wire::DISCONNECT => return Err(ErrorKind::UnexpectedEof.into()),
            _ => self.counts.errors += 1,
        }
        Ok(())
    }

    fn subscribe(&mut self, topic: &[u8], plan: &Plan) {
        self.counts.subscribed += 1;
        self.client = wire::client_of(topic);
        let payload = wire::payload(plan.payload, self.client.unwrap_or(0));
        let room = if plan.echo { 1 } else { plan.chunk };
        self.run = Some(Run::new(topic, plan.qos, &payload, room));
        self.limit = plan.share;
    }

    fn echo(&mut self, payload: &[u8]) {
        let (Some(run), Some(sequence)) = (&mut self.run, wire::sequence_of(payload)) else {
            self.counts.errors += 1;
            return;
        };
        self.counts.sent += 1;
        let intended = wire::intended_of(payload).unwrap_or(0);
        self.output
            .extend_from_slice(run.numbered(sequence, 1, |_| intended));
    }

    /// How many messages may be sent now.
    fn allowance(&self, plan: &Plan) -> u64 {
        let Some(run) = &self.run else {
            return 0;
        };
        let sent = self.counts.sent;
        let mut allowance = run.capacity();
        if plan.echo {
            return 0;
        }
        if plan.qos > 0 {
            let in_flight = sent - self.counts.acknowledged.min(sent);
            allowance = allowance.min(plan.window.saturating_sub(in_flight));
        } else if plan.share > 0 {
            allowance = allowance.min(self.limit.saturating_sub(sent));
        }
        if let Some(schedule) = &self.schedule {
            allowance = allowance.min(schedule.due.saturating_sub(sent));
        }
        allowance
    }

    fn write(&mut self, plan: &Plan, going: bool) -> io::Result<()> {
        if !self.output.is_empty() {
            let count = match self.stream.write(&self.output) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.output.drain(..count);
            if !self.output.is_empty() {
                self.writable = false;
                return Ok(());
            }
        }
        let allowance = if going { self.allowance(plan) } else { 0 };
        let Some(run) = self.run.as_mut().filter(|_| allowance > 0) else {
            return Ok(());
        };
        let schedule = self.schedule.as_ref();
        let intended = |number| schedule.map_or(0, |schedule| schedule.intended(number));
        let bytes = run.numbered(self.counts.sent, allowance, intended);
        let count = match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        // What was begun is sent: the rest of the chunk waits in `output`, whole.
        self.counts.sent += allowance;
        if count < bytes.len() {
            self.output.extend_from_slice(&bytes[count..]);
            self.writable = false;
        }
        Ok(())
    }
}
