//! One TCP connection: its socket, its outgoing queue and its gate.
//!
//! Whoever has a packet for a client puts it into that connection's queue, which has no bound, and
//! goes on: a client that does not read its socket stalls its own writer and nobody else. The gate
//! decides whether the two threads of a connection still may touch the socket; its lock is taken
//! last but for the record's, and never held over a socket call that can block.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Condvar, Mutex};

use super::packet::{Packet, WillMessage};
use super::record::wait_until;

/// A write to a client that does not read looks at the gate this often. Nothing else could end it:
/// shutting the socket down would send the client a FIN before its reset.
const STALL: Duration = Duration::from_millis(100);

/// How long closing connections may take to write what is queued for them.
const FLUSH: Duration = Duration::from_millis(100);

/// One item of a connection's outgoing queue.
#[derive(Debug)]
pub(super) enum Outgoing {
    Packet(Packet),
    /// A packet that waits for its time and holds up nothing behind it.
    Late(Instant, Packet),
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
    /// Nothing is read until this is taken back.
    stalled: bool,
    /// How often that changed.
    n_stalls: u64,
    reading: bool,
}

impl Gate {
    fn is_unread(&self) -> bool {
        self.silent || self.stalled
    }
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

    /// Whether it is closed, or will be as soon as what is queued is sent.
    pub(super) fn is_over(&self) -> bool {
        let gate = self.gate.lock();
        gate.leaving || gate.closed
    }

    pub(super) fn leave(&self) {
        self.gate.lock().leaving = true;
    }

    /// From now on both threads leave the socket alone, until it is closed.
    pub(super) fn silence(&self) {
        self.gate.lock().silent = true;
        self.turned.notify_all();
    }

    /// From now on nothing is read, or again.
    pub(super) fn stall(&self, stalled: bool) {
        let mut gate = self.gate.lock();
        gate.stalled = stalled;
        gate.n_stalls += 1;
        self.turned.notify_all();
    }

    /// Lets what is under way end, so that nothing more is sent after a silence, and nothing more
    /// read after a stall.
    pub(super) fn settled(&self) {
        let mut gate = self.gate.lock();
        while (gate.silent && gate.writing) || (gate.is_unread() && gate.reading) {
            self.turned.wait(&mut gate);
        }
    }

    /// Asks for leave to read what is there, which [`Conn::has_read`] gives back. Waits while the
    /// connection is stalled or silent. False if it is closed.
    pub(super) fn may_read(&self) -> bool {
        let mut gate = self.gate.lock();
        while gate.is_unread() && !gate.closed {
            self.turned.wait(&mut gate);
        }
        gate.reading = !gate.closed;
        gate.reading
    }

    pub(super) fn has_read(&self) {
        self.gate.lock().reading = false;
        self.turned.notify_all();
    }

    /// To be given to [`Conn::was_read_since`].
    pub(super) fn n_stalls(&self) -> u64 {
        self.gate.lock().n_stalls
    }

    /// Whether it was read all the time: else a client was not too late.
    pub(super) fn was_read_since(&self, n_stalls: u64) -> bool {
        let gate = self.gate.lock();
        gate.n_stalls == n_stalls && !gate.is_unread()
    }

    pub(super) fn wait_closed(&self) {
        let mut gate = self.gate.lock();
        while !gate.closed {
            self.turned.wait(&mut gate);
        }
    }

    /// Waits, at most until the connection is closed or silent.
    pub(super) fn pause(&self, pause: Duration) {
        let deadline = Instant::now().checked_add(pause);
        let mut gate = self.gate.lock();
        while !gate.closed && !gate.silent {
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

    /// Asks for leave to write, which [`Conn::has_written`] gives back.
    pub(super) fn may_write(&self) -> bool {
        let mut gate = self.gate.lock();
        gate.writing = !gate.closed && !gate.silent;
        gate.writing
    }

    pub(super) fn has_written(&self) {
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

/// A connected client.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: Arc<Conn>,
    pub(super) will: Option<WillMessage>,
    /// Acknowledgements that a test holds back.
    pub(super) held: Vec<Packet>,
}

impl Link {
    pub(super) fn new(conn: &Arc<Conn>, will: Option<WillMessage>) -> Self {
        Self {
            conn: conn.clone(),
            will,
            held: Vec::new(),
        }
    }
}
