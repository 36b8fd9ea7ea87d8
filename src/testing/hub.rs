//! The broker's lock, and what its threads and its owner do under it.
//!
//! Lock order: the hub's state, then a connection's gate, then the record; no lock is held over a
//! socket call. A packet is recorded and handled in one hold of the state's lock: so whoever has
//! seen it in the record and then calls the broker finds its effect done.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::connection::{Conn, How, Outgoing, finish};
use super::faults::{ConnectReply, Reply};
use super::opening::{Opening, Settings};
use super::packet::Packet;
use super::record::{Direction, Record, WaitError, wait_until};
use super::session::Session;
use super::state::{Answer, State};

/// Shared by all threads of a broker.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) settings: Settings,
    pub(super) record: Record,
    state: Mutex<State>,
    /// Clients were connected or disconnected.
    pub(super) changed: Condvar,
    /// Grows when a fault is set that writers have to know.
    pub(super) faults_version: AtomicU64,
}

/// What a reader has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Read,
    /// The client is connected: its keep alive counts from now on.
    Connected,
    /// Ask [`Hub::admit`] after this long.
    Delay(Duration),
    /// Leave the socket alone until it is closed.
    AwaitEnd,
    Close(How),
}

impl Hub {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            record: Record::new(),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            // A writer begins with 0: so it asks at least once.
            faults_version: AtomicU64::new(1),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.lock().running
    }

    /// Takes a new TCP connection in.
    pub(super) fn accept(&self, socket: TcpStream) -> (Arc<Conn>, Receiver<Outgoing>) {
        self.record.accepted();
        let (conn, queue) = Conn::new(self.record.counts().accepted, socket);
        self.state.lock().conns.insert(conn.id, conn.clone());
        (conn, queue)
    }

    /// A connection's first packet is a CONNECT.
    pub(super) fn connect(&self, conn: &Arc<Conn>, opening: &Opening, packet: &Packet) -> Next {
        let reply = {
            let mut state = self.state.lock();
            // Nobody else sets it, and it is unset until the first CONNECT.
            let _ = conn.client.set(opening.client.clone());
            self.record
                .add(conn.id, &opening.client, Direction::In, packet);
            if state.faults.cuts(&opening.client) {
                return Next::Close(How::Reset);
            }
            match state.faults.connect.get(&opening.client).clone() {
                Reply::As(reply @ (ConnectReply::Accept | ConnectReply::AcceptThenKick)) => {
                    return self.attach(state, conn, opening, reply);
                }
                Reply::As(reply) => reply,
                Reply::Raw(bytes) => {
                    conn.send(Outgoing::Raw(bytes));
                    return Next::Read;
                }
            }
        };
        match reply {
            ConnectReply::Code(code) => refuse(conn, code),
            ConnectReply::Close => Next::Close(How::Fin),
            ConnectReply::Delay(delay) => Next::Delay(delay),
            _ => Next::Read,
        }
    }

    /// Connects a client after a delay.
    pub(super) fn admit(&self, conn: &Arc<Conn>, opening: &Opening) -> Next {
        self.attach(self.state.lock(), conn, opening, ConnectReply::Accept)
    }

    /// Any packet after the first.
    pub(super) fn receive(&self, conn: &Arc<Conn>, packet: Packet) -> Next {
        let mut state = self.state.lock();
        if conn.is_deaf() {
            return Next::AwaitEnd;
        }
        self.record
            .add(conn.id, conn.client(), Direction::In, &packet);
        let Some(client) = conn.client.get() else {
            return Next::Close(How::Fin);
        };
        let how = if state.faults.cuts(client) {
            How::Reset
        } else if !state.is_linked(conn) {
            // Its CONNECT is not answered, or not with yes.
            return Next::Read;
        } else if state.handle(client, packet) == Answer::Read {
            return Next::Read;
        } else {
            How::Fin
        };
        if state.is_linked(conn) {
            state.end(client);
            self.changed.notify_all();
        }
        Next::Close(how)
    }

    /// A connection's reader ends.
    pub(super) fn ended(&self, conn: &Conn) {
        let mut state = self.state.lock();
        state.conns.remove(&conn.id);
        self.unlink(state, conn);
    }

    /// A client is not connected with this connection any more.
    pub(super) fn unlink(&self, mut state: MutexGuard<'_, State>, conn: &Conn) {
        if let (true, Some(client)) = (state.is_linked(conn), conn.client.get()) {
            state.end(client);
        }
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        let conns = {
            let mut state = self.state.lock();
            self.changed.notify_all();
            state.shut()
        };
        finish(&conns);
    }

    /// Waits until the state is as wanted.
    pub(super) fn wait(
        &self,
        wanted: impl FnOnce() -> String,
        is_done: impl Fn(&State) -> bool,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        while !is_done(&state) {
            if wait_until(&self.changed, &mut state, deadline) && !is_done(&state) {
                drop(state);
                return Err(self.record.error(wanted(), timeout));
            }
        }
        Ok(())
    }

    fn attach(
        &self,
        mut state: MutexGuard<'_, State>,
        conn: &Arc<Conn>,
        opening: &Opening,
        reply: ConnectReply,
    ) -> Next {
        if !state.running || conn.is_closed() {
            return Next::Close(How::Fin);
        }
        if let Some(code) = opening.refusal(&self.settings) {
            return refuse(conn, code);
        }
        let client = &opening.client;
        let session = Session::new(opening.clean, self.settings.window);
        let taken_over = state.attach(conn, client, session, opening.will.clone());
        if reply == ConnectReply::AcceptThenKick {
            conn.send(Outgoing::Close);
            state.end(client);
        }
        self.changed.notify_all();
        drop(state);
        if let Some(taken_over) = taken_over {
            taken_over.close(How::Fin);
        }
        Next::Connected
    }
}

/// Answers a CONNECT with no, then closes.
pub(super) fn refuse(conn: &Conn, code: u8) -> Next {
    conn.send(Outgoing::Packet(Packet::Connack {
        session_present: false,
        code,
    }));
    conn.send(Outgoing::Close);
    Next::Read
}
