//! A server that keeps what comes and answers with given bytes or not at all.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::proc::wait_until;

/// How long it waits for the first bytes of a connection.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Silent {
    listener: TcpListener,
    heard: Mutex<Vec<u8>>,
    over: AtomicBool,
}

impl Silent {
    /// Serves while `body` runs: the first bytes of each connection are answered with these and the connection
    /// is closed; with none, it stays open and nothing is said.
    pub(crate) fn serve(answer: &[u8], body: impl FnOnce(&Silent)) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let silent = Silent {
            listener,
            heard: Mutex::default(),
            over: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| silent.run(answer));
            // Also when an assertion fails: the scope waits for the thread.
            let _end = End(&silent);
            body(&silent);
        });
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Waits until something has come, and gives all that has.
    pub(crate) fn heard(&self, timeout: Duration) -> Vec<u8> {
        wait_until("something has come", timeout, || {
            !self.heard.lock().is_empty()
        });
        self.heard.lock().clone()
    }

    fn run(&self, answer: &[u8]) {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let mut buffer = [0; 4_096];
            let timeout = stream.set_read_timeout(Some(PATIENCE));
            timeout.expect("a socket takes a timeout");
            if let Ok(n) = stream.read(&mut buffer) {
                self.heard.lock().extend(&buffer[..n]);
            }
            // Whether it arrives is for the test to find out.
            let _ = stream.write_all(answer);
            if answer.is_empty() {
                kept.push(stream);
            }
        }
    }
}

struct End<'a>(&'a Silent);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.0.addr());
    }
}
