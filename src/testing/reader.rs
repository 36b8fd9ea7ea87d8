//! The reading thread of one connection: bytes in, packets to the hub.
//!
//! It owns the connection's life: it starts the writer, and when it ends, for whatever reason, the
//! connection is closed, the hub told, and the writer joined. Time counts in two places, both as
//! the time limit of a read: the keep alive, and a CONNACK that is to be late.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use crossbeam_channel::Receiver;

use super::connection::{Conn, How, Outgoing, write};
use super::hub::{Hub, Next, refuse};
use super::opening::Opening;
use super::thread;
use super::wire::{self, WireError};

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
        }
    }

    /// The body of the thread.
    pub(super) fn run(mut self, queue: Receiver<Outgoing>) {
        let (hub, conn) = (self.hub.clone(), self.conn.clone());
        let role = format!("out-{}", conn.id);
        let writer = thread::start(&role, move || write(&conn, &queue, &hub.record));
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
                Input::End => return Next::Close(How::Fin),
                Input::Bytes if self.buffer.len() > self.hub.settings.max_packet_size => {
                    return Next::Close(How::Fin);
                }
                Input::Bytes | Input::Timeout => {}
            }
        }
    }

    fn read(&mut self, limit: Option<Duration>) -> Input {
        let mut chunk = [0; CHUNK];
        // A limit of zero would be an error; none of our callers has one.
        if self.conn.socket.set_read_timeout(limit).is_err() {
            return Input::End;
        }
        loop {
            match (&self.conn.socket).read(&mut chunk) {
                Ok(0) => return Input::End,
                Ok(n_read) => {
                    self.buffer.extend_from_slice(&chunk[..n_read]);
                    return Input::Bytes;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Input::Timeout,
                    _ => return Input::End,
                },
            }
        }
    }
}
