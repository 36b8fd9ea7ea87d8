//! The handle that a test owns: starting, stopping and starting again.
//!
//! What it can be told to do wrong is in `control.rs`, what it has seen in `observe.rs`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::hub::Hub;
use super::listener::Port;
use super::opening::Settings;

/// An MQTT 3.1.1 broker on a port of 127.0.0.1, which lives until it is dropped.
///
/// All methods take `&self` and may be called from several threads. Dropping it closes every
/// connection and joins all its threads: one that accepts, and two for each connection.
///
/// ```
/// use mqtt_fleet::{QoS, testing::TestBroker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// assert!(broker.url().starts_with("mqtt://127.0.0.1:"));
/// broker.publish("plant/state", QoS::AtLeastOnce, true, "on")?; // retained
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestBroker {
    pub(super) hub: Arc<Hub>,
    port: Port,
    /// The accepting thread while the broker runs. Held over a whole stop or restart, so that
    /// these happen one after the other; no thread of the broker takes it.
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// What a [`TestBroker`] is to be like.
///
/// ```
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::builder().window(1).login("user", "secret").start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `start`"]
pub struct TestBrokerBuilder {
    settings: Settings,
}

/// What a broker remembers when it starts again.
///
/// ```
/// use mqtt_fleet::testing::{Sessions, TestBroker};
///
/// # fn main() -> std::io::Result<()> {
/// let broker = TestBroker::start()?;
/// let port = broker.port();
/// broker.stop();
/// assert!(!broker.is_running());
/// broker.restart(Sessions::Lost)?;
/// assert_eq!(broker.port(), port);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sessions {
    /// Sessions of clients that connected with `clean_session` false, their subscriptions and
    /// queues, and retained messages.
    Kept,
    /// Nothing, like a broker without persistence.
    Lost,
}

impl TestBroker {
    /// Starts a broker with the defaults of [`TestBroker::builder`].
    ///
    /// # Errors
    ///
    /// The system gave no port or no thread.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// A builder with the defaults.
    pub fn builder() -> TestBrokerBuilder {
        TestBrokerBuilder {
            settings: Settings {
                window: 20,
                max_packet_size: 1024 * 1024,
                logins: HashMap::new(),
            },
        }
    }

    /// `mqtt://127.0.0.1:PORT`. The same after a restart.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.port.addr)
    }

    /// The address. The same after a restart.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr
    }

    /// The port. The same after a restart.
    pub fn port(&self) -> u16 {
        self.port.addr.port()
    }

    /// Whether the broker listens.
    pub fn is_running(&self) -> bool {
        self.hub.is_running()
    }

    /// Closes the listener and every connection, and joins the threads. Connections are refused
    /// when this returns, and the port stays ours. No will is published, as if the broker had been
    /// killed. Faults and the record stay as they are. Does nothing while stopped.
    pub fn stop(&self) {
        let mut accepting = self.accepting.lock();
        if let Some(thread) = accepting.take() {
            self.hub.lock().running = false;
            self.port.wake();
            // It does not panic; if it did, its message is on stderr already.
            let _ = thread.join();
        }
    }

    /// Starts again on the same port. Stops first if it runs.
    ///
    /// A client may not have noticed the loss yet when this returns. To wait until clients are back, mark
    /// their connections before: see [`Fleet::next_connections`](crate::Fleet::next_connections).
    ///
    /// # Errors
    ///
    /// The system gave no socket or no thread. The broker is stopped then.
    pub fn restart(&self, sessions: Sessions) -> io::Result<()> {
        self.stop();
        if sessions == Sessions::Lost {
            self.hub.lock().lose();
        }
        let mut accepting = self.accepting.lock();
        if accepting.is_none() {
            *accepting = Some(self.port.listen(self.hub.clone())?);
        }
        Ok(())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl TestBrokerBuilder {
    /// How many messages of QoS 1 and 2 may be unacknowledged at each client before the others
    /// wait. At least 1. Defaults to 20.
    pub fn window(mut self, window: u16) -> Self {
        self.settings.window = window;
        self
    }

    /// Lets this user in, and nobody who is not named: a CONNECT without a user gets code 5, one
    /// with a wrong user or password code 4. May be called for several users. Defaults to letting
    /// everybody in.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.logins.insert(user.into(), password.into());
        self
    }

    /// A client that sends more than this many bytes after a packet's fixed header is closed.
    /// Defaults to 1 MiB.
    pub fn max_packet_size(mut self, n_bytes: usize) -> Self {
        self.settings.max_packet_size = n_bytes;
        self
    }

    /// Starts the broker.
    ///
    /// # Errors
    ///
    /// The system gave no port or no thread.
    pub fn start(self) -> io::Result<TestBroker> {
        let hub = Arc::new(Hub::new(self.settings));
        let port = Port::reserve()?;
        let thread = port.listen(hub.clone())?;
        Ok(TestBroker {
            hub,
            port,
            accepting: Mutex::new(Some(thread)),
        })
    }
}
