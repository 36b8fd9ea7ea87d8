//! A TCP proxy that breaks connections after a number of bytes, in the middle of packets, freezes, or is
//! slow.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::chaos::Dice;

/// A running proxy. Dropped, it takes no connection any more; its threads end with its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    closed: AtomicBool,
    n_cut: AtomicU64,
    /// A connection is cut after fewer bytes than this, each way; 0 is never.
    cut_below: AtomicU64,
    /// While it is frozen, nothing more is forwarded, either way and on any connection.
    frozen: Mutex<bool>,
    thawed: Condvar,
    /// How many bytes a second are forwarded, each way of each connection; 0 is all.
    rate: AtomicU64,
    /// The client's end of every connection there was.
    clients: Mutex<Vec<Arc<TcpStream>>>,
}

impl Proxy {
    /// Forwards to `target` on threads of the scope.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        target: SocketAddr,
        seed: u64,
    ) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target,
            closed: AtomicBool::new(false),
            n_cut: AtomicU64::new(0),
            cut_below: AtomicU64::new(0),
            frozen: Mutex::default(),
            thawed: Condvar::new(),
            rate: AtomicU64::new(0),
            clients: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        scope.spawn(move || accept(scope, &listener, &accepting, Dice::new(seed)));
        Proxy { addr, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }

    /// Cuts each connection from now on after fewer bytes than this, each way; 0 is never.
    pub(crate) fn cut_below(&self, bytes: u64) {
        self.shared.cut_below.store(bytes, Ordering::SeqCst);
    }

    /// Forwards nothing any more and closes nothing either, or goes on: a line that is dead and does not
    /// say so.
    pub(crate) fn freeze(&self, frozen: bool) {
        *self.shared.frozen.lock() = frozen;
        self.shared.thawed.notify_all();
    }

    /// Forwards so many bytes a second from now on, each way of each connection.
    pub(crate) fn slow(&self, bytes_per_second: u64) {
        self.shared.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Closes all connections.
    pub(crate) fn end_all(&self) {
        for client in self.shared.clients.lock().drain(..) {
            // An error says that it has ended already.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were cut.
    pub(crate) fn n_cut(&self) -> u64 {
        self.shared.n_cut.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread. If it fails there is nothing that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

fn accept<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &TcpListener,
    shared: &Arc<Shared>,
    mut dice: Dice,
) {
    while let Ok((client, _)) = listener.accept() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        // Dropped, the client's connection is closed: the broker is away.
        let Ok(server) = TcpStream::connect(shared.target) else {
            continue;
        };
        let (client, server) = (Arc::new(client), Arc::new(server));
        shared.clients.lock().push(Arc::clone(&client));
        for (from, to) in [(&client, &server), (&server, &client)] {
            let budget = match shared.cut_below.load(Ordering::SeqCst) {
                0 => u64::MAX,
                below => dice.below(below),
            };
            let (from, to, shared) = (Arc::clone(from), Arc::clone(to), Arc::clone(shared));
            scope.spawn(move || pump(&from, &to, budget, &shared));
        }
    }
}

/// Forwards one way, until the end or so many bytes; then both ends of the connection are closed.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut budget: u64, shared: &Shared) {
    let mut chunk = [0; 16 * 1024];
    loop {
        let n_read = from.read(&mut chunk).unwrap_or_default();
        {
            let mut frozen = shared.frozen.lock();
            let rate = shared.rate.load(Ordering::SeqCst);
            if let Some(micros) = (n_read as u64 * 1_000_000).checked_div(rate) {
                // Nobody thaws a line that is not frozen: the whole time passes.
                let pause = Duration::from_micros(micros);
                shared.thawed.wait_for(&mut frozen, pause);
            }
            while *frozen {
                shared.thawed.wait(&mut frozen);
            }
        }
        let n_forwarded = n_read.min(usize::try_from(budget).unwrap_or(usize::MAX));
        let is_written = to.write_all(&chunk[..n_forwarded]).is_ok();
        budget -= n_forwarded as u64;
        if n_forwarded < n_read {
            shared.n_cut.fetch_add(1, Ordering::SeqCst);
        }
        if n_read == 0 || n_forwarded < n_read || !is_written {
            // An error says that the other direction was here first.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
