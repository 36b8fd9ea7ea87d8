//! The listening socket and the thread that accepts.
//!
//! The port is held by a second socket that is bound and never listens, so that while the broker
//! is stopped connections are refused and the port can go to nobody else. Both have SO_REUSEADDR,
//! which lets them share the port as long as one of them listens at most.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::hub::Hub;
use super::reader::Reader;
use super::thread;
use crate::supervise::log;

/// Connections that may wait to be accepted; the system may lower it.
const BACKLOG: i32 = 4096;

/// How long to wait after a failed accept: out of descriptors, it would fail again at once.
const PAUSE: Duration = Duration::from_millis(20);

/// A port that is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Port {
    /// Kept open for its binding only.
    _reserved: Socket,
    pub(super) addr: SocketAddr,
}

impl Port {
    pub(super) fn reserve() -> io::Result<Self> {
        let reserved = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = reserved
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the test broker's socket has no internet address"))?;
        Ok(Self {
            _reserved: reserved,
            addr,
        })
    }

    /// Listens, and accepts on a thread of its own until the hub does not run any more. The thread
    /// ends when all threads of its connections have ended.
    pub(super) fn listen(&self, hub: Arc<Hub>) -> io::Result<JoinHandle<()>> {
        let socket = bound(self.addr)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        hub.lock().running = true;
        let accepting = hub.clone();
        thread::start("accept", move || accept(listener, &accepting))
            .inspect_err(|_| hub.lock().running = false)
    }

    /// Makes the accepting thread look whether the hub still runs.
    pub(super) fn wake(&self) {
        // If it fails the thread is in its pause after an error, and looks soon.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn accept(listener: TcpListener, hub: &Arc<Hub>) {
    let mut readers: Vec<JoinHandle<()>> = Vec::new();
    let mut n_to_reap = 64;
    while hub.is_running() {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) => {
                log::warn!("test broker cannot accept: {error}");
                pause();
                continue;
            }
        };
        // It was the call that wakes this thread, or came too late anyway.
        if !hub.is_running() {
            break;
        }
        if readers.len() >= n_to_reap {
            readers.retain(|reader| !reader.is_finished());
            n_to_reap = 2 * readers.len() + 64;
        }
        readers.extend(serve(socket, hub));
    }
    // First of all: from here on connections are refused.
    drop(listener);
    hub.stop();
    for reader in readers {
        // A reader does not panic; if it did, its message is on stderr already.
        let _ = reader.join();
    }
}

/// After an error that may last (no descriptors): the accepting thread must not spin on it.
#[expect(
    clippy::disallowed_methods,
    reason = "short, and nothing else can wake accept"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn serve(socket: TcpStream, hub: &Arc<Hub>) -> Option<JoinHandle<()>> {
    let (conn, queue) = hub.accept(socket);
    let reader = Reader::new(hub.clone(), conn.clone());
    let role = format!("in-{}", conn.id);
    match thread::start(&role, move || reader.run(queue)) {
        Ok(handle) => Some(handle),
        Err(error) => {
            log::warn!("test broker has no thread for a connection: {error}");
            hub.ended(&conn);
            None
        }
    }
}
