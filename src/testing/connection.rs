//! One TCP connection: its socket, its outgoing queue and the thread that writes.
//!
//! Whoever has a packet for a client puts it into that connection's queue, which has no bound, and
//! goes on: a client that does not read its socket stalls its own writer and nobody else. The gate
//! decides whether the two threads of a connection still may touch the socket; its lock is taken
//! last but for the record's, and never held over a socket call that can block.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Condvar, Mutex};

use super::packet::Packet;
use super::record::{Direction, Record, wait_until};
use super::wire;

/// A writer hands this much to the socket at a time, if there is as much.
const BATCH: usize = 64 * 1024;

/// A write to a client that does not read looks at the gate this often. Nothing else could end it:
/// shutting the socket down would send the client a FIN before its reset.
const STALL: Duration = Duration::from_millis(100);

/// How long closing connections may take to write what is queued for them.
const FLUSH: Duration = Duration::from_millis(100);

/// One item of a connection's outgoing queue.
#[derive(Debug)]
pub(super) enum Outgoing {
    Packet(Packet),
    /// Bytes that are written as they are, and not recorded.
    Raw(Bytes),
    /// Close after what came before.
    Close,
    /// Makes the writer look at the gate.
    Wake,
}

/// How a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// With FIN. What is still in the queue is lost: see [`finish`].
    Fin,
    /// With RST, when the last of its threads has let go of the socket.
    Reset,
}

/// A connection, as its threads and the hub share it. Dropping the last clone closes the socket.
#[derive(Debug)]
pub(super) struct Conn {
    /// Counted from 1.
    pub(super) id: u64,
    pub(super) socket: TcpStream,
    /// Set when a CONNECT came.
    pub(super) client: OnceLock<Arc<str>>,
    queue: Sender<Outgoing>,
    gate: Mutex<Gate>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    silent: bool,
    /// Its client is disconnected: what still comes is not read, what is queued still goes out.
    leaving: bool,
    writing: bool,
}

impl Conn {
    pub(super) fn new(id: u64, socket: TcpStream) -> (Arc<Self>, Receiver<Outgoing>) {
        // Both fail only for a connection that is gone already.
        let _ = socket.set_nodelay(true);
        let _ = socket.set_write_timeout(Some(STALL));
        let (queue, outgoing) = crossbeam_channel::unbounded();
        let conn = Self {
            id,
            socket,
            client: OnceLock::new(),
            queue,
            gate: Mutex::new(Gate::default()),
            turned: Condvar::new(),
        };
        (Arc::new(conn), outgoing)
    }

    pub(super) fn client(&self) -> &str {
        self.client.get().map_or("", |client| client)
    }

    /// Never blocks: the queue has no bound.
    pub(super) fn send(&self, outgoing: Outgoing) {
        // The queue is gone only when the writer has ended, and then there is nobody to send to.
        let _ = self.queue.send(outgoing);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.gate.lock().closed
    }

    pub(super) fn is_silent(&self) -> bool {
        self.gate.lock().silent
    }

    /// Whether packets that come are to be left alone.
    pub(super) fn is_deaf(&self) -> bool {
        let gate = self.gate.lock();
        gate.silent || gate.leaving || gate.closed
    }

    pub(super) fn leave(&self) {
        self.gate.lock().leaving = true;
    }

    /// From now on both threads leave the socket alone, until it is closed.
    pub(super) fn silence(&self) {
        self.gate.lock().silent = true;
    }

    /// Lets a write that is under way end, so that nothing more is sent after a silence.
    pub(super) fn settled(&self) {
        let mut gate = self.gate.lock();
        while gate.writing {
            self.turned.wait(&mut gate);
        }
    }

    pub(super) fn wait_closed(&self) {
        let mut gate = self.gate.lock();
        while !gate.closed {
            self.turned.wait(&mut gate);
        }
    }

    /// Waits, at most until the connection is closed.
    pub(super) fn pause(&self, pause: Duration) {
        let deadline = Instant::now().checked_add(pause);
        let mut gate = self.gate.lock();
        while !gate.closed {
            if wait_until(&self.turned, &mut gate, deadline) {
                return;
            }
        }
    }

    /// Closes the connection and wakes its threads. Only the first call counts.
    pub(super) fn close(&self, how: How) {
        {
            let mut gate = self.gate.lock();
            if gate.closed {
                return;
            }
            gate.closed = true;
            self.turned.notify_all();
        }
        // These calls fail only if the peer has ended the connection already.
        let _ = match how {
            How::Fin => self.socket.shutdown(Shutdown::Both),
            How::Reset => {
                let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
                // Wakes the reader, and sends nothing.
                self.socket.shutdown(Shutdown::Read)
            }
        };
        self.send(Outgoing::Wake);
    }

    fn may_write(&self) -> bool {
        let mut gate = self.gate.lock();
        gate.writing = !gate.closed && !gate.silent;
        gate.writing
    }

    fn wrote(&self) {
        self.gate.lock().writing = false;
        self.turned.notify_all();
    }
}

/// Closes connections with FIN after what is queued for them. One that is silent, or whose client
/// does not read, is closed without it.
pub(super) fn finish(conns: &[Arc<Conn>]) {
    for conn in conns {
        conn.send(Outgoing::Close);
    }
    let deadline = Instant::now() + FLUSH;
    for conn in conns {
        let mut gate = conn.gate.lock();
        while !gate.closed && !gate.silent {
            if conn.turned.wait_until(&mut gate, deadline).timed_out() {
                break;
            }
        }
        drop(gate);
        conn.close(How::Fin);
    }
}

/// The body of the writing thread: ends when the connection is closed or silent.
pub(super) fn write(conn: &Conn, queue: &Receiver<Outgoing>, record: &Record) {
    let mut bytes = BytesMut::new();
    while let Ok(first) = queue.recv() {
        bytes.clear();
        let mut packets = Vec::new();
        let mut is_last = false;
        let mut next = Some(first);
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Packet(packet) => match wire::encode(&packet, &mut bytes) {
                    Ok(()) => packets.push(packet),
                    Err(error) => {
                        log::warn!("test broker cannot send to {}: {error}", conn.client());
                        is_last = true;
                    }
                },
                Outgoing::Raw(raw) => bytes.extend_from_slice(&raw),
                Outgoing::Close => is_last = true,
                Outgoing::Wake => {}
            }
            let is_full = is_last || bytes.len() >= BATCH;
            next = if is_full { None } else { queue.try_recv().ok() };
        }
        if !conn.may_write() {
            return;
        }
        // Before the write: else an answer could be in the record before what it answers.
        for packet in &packets {
            record.add(conn.id, conn.client(), Direction::Out, packet);
        }
        let is_written = write_all(conn, &bytes);
        // A silent connection stays open: its reader waits until it is closed.
        if conn.is_silent() {
            return;
        }
        if is_last || !is_written {
            conn.close(How::Fin);
            return;
        }
    }
}

/// Called with leave to write, which it gives back. False if the connection was closed or silenced
/// in between, or the peer is gone.
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
        conn.wrote();
        if !conn.may_write() {
            return left.is_empty();
        }
    }
    conn.wrote();
    left.is_empty()
}
