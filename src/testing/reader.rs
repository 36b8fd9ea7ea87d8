//! The reading thread of one connection: bytes in, packets to the hub.
//!
//! It owns the connection's life: it starts the writer, and when it ends, for whatever reason, the
//! connection is closed, the hub told, and the writer joined. Time counts in two places, both as
//! the time limit of a read: the keep alive, and a CONNACK that is to be late. It looks at what has
//! come before it takes it, because a test may stop the reading at any moment.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use crossbeam_channel::Receiver;

use super::connection::{Conn, How, Outgoing};
use super::hub::{Hub, Next, refuse};
use super::opening::Opening;
use super::thread;
use super::wire::{self, WireError};
use super::writer::Writer;
use crate::supervise::log;

/// How much is read at once; it lies on the small stack of the thread.
const CHUNK: usize = 16 * 1024;

/// The state of a reading thread.
#[derive(Debug)]
pub(super) struct Reader {
    hub: Arc<Hub>,
    conn: Arc<Conn>,
    /// What was read and is not decoded yet.
    buffer: BytesMut,
    /// One and a half times the keep alive [MQTT-3.1.2-24]; none before CONNECT.
    patience: Option<Duration>,
    /// The last byte before a cut is in the buffer.
    is_cut: bool,
}

enum Input {
    Bytes,
    Timeout,
    End,
}

impl Reader {
    pub(super) fn new(hub: Arc<Hub>, conn: Arc<Conn>) -> Self {
        Self {
            hub,
            conn,
            buffer: BytesMut::new(),
            patience: None,
            is_cut: false,
        }
    }

    /// The body of the thread.
    pub(super) fn run(mut self, queue: Receiver<Outgoing>) {
        let writer = Writer::new(self.hub.clone(), self.conn.clone(), queue);
        let role = format!("out-{}", self.conn.id);
        let writer = thread::start(&role, move || writer.run());
        let how = match &writer {
            Ok(_) => self.serve(),
            Err(error) => {
                log::warn!("test broker has no thread for a connection: {error}");
                How::Fin
            }
        };
        self.hub.ended(&self.conn);
        self.conn.close(how);
        if let Ok(writer) = writer {
            // The writer does not panic; if it did, its message is on stderr already.
            let _ = writer.join();
        }
    }

    fn serve(&mut self) -> How {
        loop {
            loop {
                match wire::decode(&mut self.buffer, self.hub.settings.max_packet_size) {
                    Ok(None) if self.is_cut => return How::Reset,
                    Ok(None) => break,
                    Ok(Some(decoded)) => match self.handle(decoded) {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(how) => return how,
                    },
                    Err(WireError::Version) if self.conn.client.get().is_none() => {
                        refuse(&self.conn, 1);
                        self.conn.wait_closed();
                        return How::Fin;
                    }
                    Err(error) => {
                        log::debug!("test broker closes {}: {error}", self.conn.client());
                        return How::Fin;
                    }
                }
            }
            if let Some(pause) = self.hub.read_pause(&self.conn) {
                self.conn.pause(pause);
            }
            match self.read(self.patience) {
                Input::Bytes => {}
                Input::Timeout | Input::End if self.conn.is_silent() => {
                    self.conn.wait_closed();
                    return How::Fin;
                }
                Input::Timeout | Input::End => return How::Fin,
            }
        }
    }

    fn handle(&mut self, decoded: wire::Decoded) -> ControlFlow<How> {
        let is_first = self.conn.client.get().is_none();
        let opening = Opening::new(&self.conn, &decoded.packet, decoded.password);
        let next = match opening {
            Some(opening) if is_first => {
                let mut next = self.hub.connect(&self.conn, &opening, &decoded.packet);
                // What came behind the CONNECT: until now nobody knew whose it was.
                self.count(0);
                if let Next::Delay(delay) = next {
                    next = self.admit_after(delay, &opening);
                }
                if next == Next::Connected && opening.keep_alive > 0 {
                    let seconds = f64::from(opening.keep_alive);
                    self.patience = Some(Duration::from_secs_f64(1.5 * seconds));
                }
                next
            }
            _ => self.hub.receive(&self.conn, decoded.packet),
        };
        match next {
            Next::AwaitEnd => {
                self.conn.wait_closed();
                ControlFlow::Break(How::Fin)
            }
            Next::Close(how) => ControlFlow::Break(how),
            Next::Read | Next::Connected | Next::Delay(_) => ControlFlow::Continue(()),
        }
    }

    /// Reads on while it waits, to notice that the client gave up.
    fn admit_after(&mut self, delay: Duration, opening: &Opening) -> Next {
        let deadline = Instant::now().checked_add(delay);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return self.hub.admit(&self.conn, opening);
            }
            match self.read(left) {
                _ if self.is_cut => return Next::Close(How::Reset),
                Input::End => return Next::Close(How::Fin),
                Input::Bytes if self.buffer.len() > self.hub.settings.max_packet_size => {
                    return Next::Close(How::Fin);
                }
                Input::Bytes | Input::Timeout => {}
            }
        }
    }

    /// Counts the bytes in the buffer from this one on towards a cut. What came behind the last
    /// byte before it is forgotten.
    fn count(&mut self, first: usize) {
        let n_bytes = self.buffer.len() - first;
        if let Some(n_left) = self.hub.count_received(&self.conn, n_bytes) {
            self.buffer.truncate(first + n_left);
            self.is_cut = true;
        }
    }

    fn read(&mut self, limit: Option<Duration>) -> Input {
        // A limit of zero would be an error; none of our callers has one.
        if self.conn.socket.set_read_timeout(limit).is_err() {
            return Input::End;
        }
        loop {
            let n_stalls = self.conn.n_stalls();
            let is_timeout = matches!(self.await_input(), Input::Timeout);
            if is_timeout && self.conn.was_read_since(n_stalls) {
                return Input::Timeout;
            }
            if !self.conn.may_read() {
                return Input::End;
            }
            // Where nobody looked, a client cannot be late: its time begins again.
            let input = (!is_timeout).then(|| self.take());
            self.conn.has_read();
            if let Some(input) = input {
                return input;
            }
        }
    }

    /// Waits until something can be read, be it the end, and leaves it there.
    fn await_input(&self) -> Input {
        loop {
            match self.conn.socket.peek(&mut [0]) {
                Ok(_) => return Input::Bytes,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Input::Timeout,
                    _ => return Input::End,
                },
            }
        }
    }

    /// Takes what is there.
    fn take(&mut self) -> Input {
        let mut chunk = [0; CHUNK];
        loop {
            match (&self.conn.socket).read(&mut chunk) {
                Ok(0) => return Input::End,
                Ok(n_read) => {
                    let first = self.buffer.len();
                    self.buffer.extend_from_slice(&chunk[..n_read]);
                    self.count(first);
                    return Input::Bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Input::End,
            }
        }
    }
}
