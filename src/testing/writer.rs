//! The writing thread of one connection: packets from its queue to its socket.
//!
//! What waits in the queue is written together, unless the faults ask for pieces. A packet is in
//! the record before its first byte is written, and not at all if a cut comes before that.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::connection::{Conn, How, Outgoing};
use super::delivery::Delivery;
use super::encode::encode;
use super::hub::Hub;
use super::packet::Packet;
use super::record::Direction;
use crate::supervise::log;

/// A writer hands this much to the socket at a time, if there is as much.
const BATCH: usize = 64 * 1024;

/// The state of a writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    hub: Arc<Hub>,
    conn: Arc<Conn>,
    queue: Receiver<Outgoing>,
    /// What is written next.
    bytes: BytesMut,
    /// What waits for its time.
    late: Vec<(Instant, Packet)>,
    delivery: Delivery,
    /// Of the faults that `delivery` was made of.
    faults_version: u64,
    /// How many pieces were written since their sizes were set.
    n_pieces: usize,
    /// When the last piece was written.
    last_piece: Option<Instant>,
}

/// What is written together, but for its bytes.
#[derive(Debug, Default)]
struct Batch {
    /// Each with the position of its first byte.
    packets: Vec<(usize, Packet)>,
    /// The connection is closed after it.
    is_last: bool,
}

impl Writer {
    pub(super) fn new(hub: Arc<Hub>, conn: Arc<Conn>, queue: Receiver<Outgoing>) -> Self {
        Self {
            hub,
            conn,
            queue,
            bytes: BytesMut::new(),
            late: Vec::new(),
            delivery: Delivery::default(),
            faults_version: 0,
            n_pieces: 0,
            last_piece: None,
        }
    }

    /// The body of the thread: ends when the connection is closed or silent.
    pub(super) fn run(mut self) {
        while let Some(first) = self.next() {
            let batch = self.gather(first);
            let cut = match self.delivery.is_counted {
                true => self.hub.count_sent(&self.conn, self.bytes.len()),
                false => None,
            };
            self.bytes.truncate(cut.unwrap_or(usize::MAX));
            if !self.bytes.is_empty() {
                self.rest();
            }
            if !self.conn.may_write() {
                return;
            }
            // Before the write: else an answer could be in the record before what it answers.
            for (first_byte, packet) in &batch.packets {
                if *first_byte < self.bytes.len() {
                    let (id, client) = (self.conn.id, self.conn.client());
                    self.hub.record.add(id, client, Direction::Out, packet);
                }
            }
            let is_written = self.write();
            // A silent connection stays open: its reader waits until it is closed.
            if self.conn.is_silent() {
                return;
            }
            if cut.is_some() && is_written {
                self.hub.cut(&self.conn);
                return;
            }
            if batch.is_last || !is_written {
                self.conn.close(How::Fin);
                return;
            }
        }
    }

    /// Waits for what is to be sent, or for the time of what is late.
    fn next(&mut self) -> Option<Outgoing> {
        let times = self.late.iter().map(|(due, _)| *due).enumerate();
        let Some((at, due)) = times.min_by_key(|(_, due)| *due) else {
            return self.queue.recv().ok();
        };
        if due > Instant::now() {
            match self.queue.recv_deadline(due) {
                Ok(outgoing) => return Some(outgoing),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        Some(Outgoing::Packet(self.late.swap_remove(at).1))
    }

    /// Encodes what waits in the queue.
    fn gather(&mut self, first: Outgoing) -> Batch {
        self.bytes.clear();
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Packet(packet) => {
                    self.ask();
                    let again = self.delivery.repeated(&packet);
                    for packet in [Some(packet), again].into_iter().flatten() {
                        self.put(packet, &mut batch);
                    }
                }
                Outgoing::Late(due, packet) => self.late.push((due, packet)),
                Outgoing::Raw(raw) => {
                    self.ask();
                    self.bytes.extend_from_slice(&raw);
                }
                Outgoing::Close => batch.is_last = true,
                Outgoing::Wake => {}
            }
            let is_full = batch.is_last || self.bytes.len() >= BATCH;
            next = if is_full {
                None
            } else {
                self.queue.try_recv().ok()
            };
        }
        batch
    }

    /// Asks for the faults if they have changed. After taking something out of the queue: so what
    /// was set before it was put in holds for it.
    fn ask(&mut self) {
        let version = self.hub.faults_version();
        if self.faults_version != version {
            self.faults_version = version;
            let delivery = self.hub.delivery(&self.conn);
            if !delivery.pieces.is(&self.delivery.pieces) {
                self.n_pieces = 0;
            }
            self.delivery = delivery;
        }
    }

    fn put(&mut self, packet: Packet, batch: &mut Batch) {
        let first_byte = self.bytes.len();
        match encode(&packet, &mut self.bytes) {
            Ok(()) => batch.packets.push((first_byte, packet)),
            Err(error) => {
                log::warn!("test broker closes {}: {error}", self.conn.client());
                batch.is_last = true;
            }
        }
    }

    /// Keeps the pause between two pieces.
    fn rest(&self) {
        let pause = self.delivery.pieces.pause_after(self.last_piece);
        if !pause.is_zero() {
            self.conn.pause(pause);
        }
    }

    /// Writes the bytes in pieces. Called with leave to write, which it gives back. False if the
    /// connection was closed or silenced in between, or the peer is gone.
    fn write(&mut self) -> bool {
        let mut n_written = 0;
        loop {
            let left = &self.bytes[n_written..];
            let size = self.delivery.pieces.size(self.n_pieces, left.len());
            if !write_all(&self.conn, &left[..size]) {
                return false;
            }
            if size > 0 {
                n_written += size;
                self.n_pieces += 1;
                self.last_piece = Some(Instant::now());
            }
            if n_written == self.bytes.len() {
                return true;
            }
            self.rest();
            if !self.conn.may_write() {
                return false;
            }
        }
    }
}

/// Called with leave to write, which it gives back.
fn write_all(conn: &Conn, bytes: &[u8]) -> bool {
    let mut left = bytes;
    let mut is_gone = false;
    while !left.is_empty() && !is_gone {
        match (&conn.socket).write(left) {
            Ok(n_written) => left = &left[n_written..],
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => is_gone = true,
            },
        }
        conn.has_written();
        if !conn.may_write() {
            return left.is_empty();
        }
    }
    conn.has_written();
    left.is_empty()
}
