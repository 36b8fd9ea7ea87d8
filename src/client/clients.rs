//! All clients of a fleet, by name, and the handle that stops them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::client::handle::Client;

/// The clients of a fleet, for handlers: look one up by name.
///
/// ```
/// use mqtt_fleet::{Fleet, QoS};
///
/// let builder = Fleet::builder().on_message("sensors/#", |message, clients| {
///     let cloud = clients.get("cloud")?;
///     cloud.try_publish(message.topic(), QoS::AtLeastOnce, false, message.payload())?;
///     Ok(())
/// });
/// ```
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    list: Vec<Client>,
    by_name: HashMap<Arc<str>, Client>,
    /// A stop of all has been asked for.
    is_stopping: AtomicBool,
    /// What sees to it.
    on_stop: OnceLock<OnStop>,
}

/// Sees to it that the stop of all clients that was asked for is made. Must not wait.
pub(crate) type OnStop = Box<dyn Fn() + Send + Sync>;

/// There is no client of this name in the fleet.
///
/// ```
/// let error: Box<dyn std::error::Error> = mqtt_fleet::UnknownClient("clowd".into()).into();
/// assert_eq!(error.to_string(), r#"the fleet has no client named "clowd""#);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the fleet has no client named {0:?}")]
pub struct UnknownClient(pub String);

crate::spec::readable::debug_is_text!(UnknownClient);

impl Clients {
    pub(crate) fn new(list: Vec<Client>) -> Self {
        let by_name = list
            .iter()
            .map(|client| (Arc::clone(&client.member().name), client.clone()))
            .collect();
        Self(Arc::new(Inner {
            list,
            by_name,
            is_stopping: AtomicBool::new(false),
            on_stop: OnceLock::new(),
        }))
    }

    /// The client of this name.
    ///
    /// # Errors
    ///
    /// [`UnknownClient`] if no client has that name.
    pub fn get(&self, name: &str) -> Result<Client, UnknownClient> {
        let client = self.0.by_name.get(name).cloned();
        client.ok_or_else(|| UnknownClient(name.to_owned()))
    }

    /// All clients there are now, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Client> + use<> {
        self.0.list.clone().into_iter()
    }

    pub(crate) fn list(&self) -> &[Client] {
        &self.0.list
    }

    /// How many clients there are, ended ones included.
    pub fn len(&self) -> usize {
        self.0.list.len()
    }

    /// Whether there is none. A fleet has at least one.
    pub fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// Asks for the orderly stop of the whole fleet, as [`Fleet::stop`](crate::Fleet::stop) does it
    /// within the builder's stop deadline. Never waits, and may be called from anywhere: a handler's
    /// own message is acknowledged when it returns. A caller that runs or joins the fleet gets the
    /// report; without one, a thread of the fleet's own makes the stop.
    pub fn stop(&self) {
        self.begin_stop();
        match self.0.on_stop.get() {
            Some(on_stop) => on_stop(),
            None => self.stop_now(),
        }
    }

    /// From here on no client takes a message from its broker, and one to publish is taken only by
    /// clients that are connected.
    pub(crate) fn begin_stop(&self) {
        self.0.is_stopping.store(true, Ordering::SeqCst);
        self.close_intakes();
        for client in self.list() {
            client.member().outbox.take_while_connected();
            client.member().status.notify();
        }
    }

    /// From here on no client takes a message from its broker. For all of them before the first one
    /// refuses anything: a handler that is refused for a stop has not failed, and that is told by the
    /// intake of the client that its message came from.
    pub(crate) fn close_intakes(&self) {
        for client in self.list() {
            client.member().intake.close();
        }
    }

    /// Stops every client at once. What is handled from here on is not acknowledged.
    pub(crate) fn stop_now(&self) {
        self.close_intakes();
        for client in self.list() {
            client.member().intake.end_acks();
        }
        for client in self.list() {
            client.member().stop();
        }
    }

    /// Waits until every client has ended by itself or is told to stop, or a stop of all was asked
    /// for.
    pub(crate) fn wait_over(&self) {
        let is_stopping = || self.0.is_stopping.load(Ordering::SeqCst);
        for client in self.list() {
            client.member().wait_over(is_stopping);
        }
    }

    pub(crate) fn set_on_stop(&self, on_stop: OnStop) {
        // There is one fleet for these clients.
        let _ = self.0.on_stop.set(on_stop);
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list().iter().map(Client::name))
            .finish()
    }
}

/// Stops a fleet from anywhere: another thread, a handler, a signal handler, a GUI's close button.
///
/// ```
/// use mqtt_fleet::{ClientSpec, Fleet};
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// let fleet = Fleet::builder().client(ClientSpec::new("plant", broker.url())).start()?;
/// let handle = fleet.stop_handle();
/// std::thread::spawn(move || handle.stop());
/// let report = fleet.join(); // returns because of the other thread
/// assert_eq!(report.exit_code(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StopHandle(Clients);

impl StopHandle {
    pub(crate) fn new(clients: Clients) -> Self {
        Self(clients)
    }

    /// Asks for the orderly stop of the fleet: see [`Clients::stop`]. Never waits; calling it again
    /// does nothing.
    pub fn stop(&self) {
        self.0.stop();
    }
}
