//! A broker that is no broker: it takes CONNECT, writes the bytes of a script, and closes. And what a
//! client does with it.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mqtt_fleet::{ClientSpec, Fleet, Outcome, QoS, Report, Retry, Session};

use super::fleet::{MARGIN, PATIENCE, quick, quick_retry};

/// Between two writes, so that the client finds the first one alone.
const BREATH: Duration = Duration::from_millis(1);

/// A packet of the broker may have so many bytes for the client.
pub(crate) const MAX_PACKET: usize = 4_096;

/// What is written to each connection, one write after the other. An empty one is a pause. Printed, it is
/// the text of a file in `fuzz_corpus`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) connections: Vec<Vec<Vec<u8>>>,
    /// The connections are not closed after the last write: the client has to find out.
    pub(crate) stays_open: bool,
    /// The client would try for ever, and is stopped in the middle of whatever it does.
    pub(crate) stops: bool,
}

/// What became of the client.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) report: Report,
    pub(crate) n_connections: usize,
}

impl Script {
    /// A line is a write in hexadecimal, `.` a pause, `--` the next connection, `open` says that they stay
    /// open, `stop` that the client is stopped early. `#` begins a comment.
    pub(crate) fn parse(text: &str) -> Script {
        let mut script = Script {
            connections: vec![Vec::new()],
            stays_open: false,
            stops: false,
        };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let word: String = line.split_whitespace().collect();
            let connection = script.connections.last_mut().expect("there is one");
            match word.as_str() {
                "" => {}
                "." => connection.push(Vec::new()),
                "--" => script.connections.push(Vec::new()),
                "open" => script.stays_open = true,
                "stop" => script.stops = true,
                hex => connection.push(bytes_of(hex)),
            }
        }
        script
    }

    /// Runs a client with subscriptions, publishes and a handler against it until the client has ended, and
    /// asserts what holds whatever the bytes are.
    pub(crate) fn run(&self) -> Ended {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (over, n_connections) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let n = n_connections.fetch_add(1, Ordering::SeqCst);
                    let last = self.connections.len() - 1;
                    self.serve(stream, &self.connections[n.min(last)]);
                }
            });
            // Also when an assertion fails: the scope waits for the thread.
            let _end = OnDrop(|| {
                over.store(true, Ordering::SeqCst);
                // If it fails there is nothing that accepts.
                let _ = TcpStream::connect(addr);
            });
            let report = self.attack(addr);
            let n_connections = n_connections.load(Ordering::SeqCst);
            Ended {
                report,
                n_connections,
            }
        })
    }

    fn attack(&self, addr: SocketAddr) -> Report {
        let attempts = u32::try_from(self.connections.len()).expect("they are few");
        let session = match self.connections.len() {
            1 => Session::Clean,
            _ => Session::Kept,
        };
        let spec = ClientSpec::new("fuzzed", addr)
            .client_id("fuzzed")
            .session(session)
            .retry(if self.stops {
                quick(Retry::forever())
            } else {
                quick_retry(attempts)
            })
            .keep_alive(Duration::from_secs(1))
            .connect_timeout(Duration::from_secs(1))
            .max_packet_size(MAX_PACKET)
            .window(8)
            .outbox_capacity(20)
            .subscribe("in/#", QoS::ExactlyOnce)
            .subscribe("+/one", QoS::AtLeastOnce)
            .birth("births", QoS::AtLeastOnce, false, "online");
        let fleet = Fleet::builder()
            .client(spec)
            .on_message("#", |message, clients| {
                let client = clients.get(message.client())?;
                // Full or over is as good: it is there to mix directions.
                let _ = client.try_publish("echo", message.qos(), false, "");
                Ok(())
            })
            .workers(1)
            .start()
            .expect("the fleet starts");
        let client = fleet.client("fuzzed").expect("it is there");
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce].repeat(3) {
            // It may have ended already.
            let _ = client.try_publish("out", qos, false, "payload");
        }
        if self.stops {
            // Not connected yet, or in the middle of it, or already lost.
            let _ = client.wait_connected(Duration::from_millis(20));
        } else {
            client.wait_ended(PATIENCE).expect("it ends by itself");
        }
        // An orderly stop gives a broker that acknowledges nothing all of its time.
        let deadline = Duration::from_secs(1);
        let begin = Instant::now();
        let report = fleet.stop(deadline);
        assert!(begin.elapsed() < deadline + MARGIN, "{report}");
        assert!(report.abandoned().is_empty(), "{report}");
        let outcome = client.outcome().expect("it has ended");
        let is_stopped = self.stops && outcome == Outcome::Stopped;
        assert!(
            is_stopped
                || matches!(
                    outcome,
                    Outcome::RetriesExhausted { .. }
                        | Outcome::NotMqtt { .. }
                        | Outcome::Refused { .. }
                ),
            "{outcome}"
        );
        let stats = report.total();
        let ledger = stats.published;
        assert!(ledger.balances() && ledger.in_progress == 0, "{ledger:?}");
        let done = stats.handled + stats.unmatched + stats.dropped + stats.repeated;
        assert_eq!(done, stats.received, "{stats:?}");
        assert_eq!(stats.handler_panics, 0);
        report
    }

    fn serve(&self, mut stream: TcpStream, writes: &[Vec<u8>]) {
        let mut trash = [0; 4_096];
        // An error anywhere says that the client has gone, which is its right.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        // CONNECT: rumqttc writes it in one go.
        let _ = stream.read(&mut trash);
        let _ = stream.set_read_timeout(Some(BREATH));
        for write in writes {
            if write.is_empty() {
                let _ = stream.read(&mut trash);
            } else if stream.write_all(write).is_err() {
                return;
            }
        }
        if !self.stays_open {
            let _ = stream.shutdown(Shutdown::Write);
        }
        // Closed with bytes unread, it would reset and take from the client what it has not read yet.
        let _ = stream.set_read_timeout(Some(PATIENCE));
        while stream.read(&mut trash).is_ok_and(|n| n > 0) {}
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, is_said) in [("open", self.stays_open), ("stop", self.stops)] {
            if is_said {
                write!(f, "\n{word}")?;
            }
        }
        writeln!(f)?;
        for (n, connection) in self.connections.iter().enumerate() {
            writeln!(f, "{}", if n == 0 { "" } else { "--" })?;
            for write in connection {
                match write.as_slice() {
                    [] => f.write_str(".")?,
                    bytes => bytes.iter().try_for_each(|it| write!(f, "{it:02x}"))?,
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal is ASCII");
        u8::from_str_radix(pair, 16).unwrap_or_else(|error| panic!("{pair:?}: {error}"))
    };
    pairs.map(byte).collect()
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
