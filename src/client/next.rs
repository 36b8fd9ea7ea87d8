//! Waits for a connection that is newer than the one there is.

use std::{fmt, sync::Arc, time::Duration};

use crate::{client::member::Member, observe::wait::WaitError, supervise::stop::time_left};

/// A client's next connection: a mark that [`Client::next_connection`](crate::Client::next_connection) sets, to wait from.
///
/// [`Client::wait_connected`](crate::Client::wait_connected) answers for the connection that the client believes in. When the
/// broker has just gone away the client may not know it yet, and then the answer comes from the
/// old connection. Set the mark before whatever ends it:
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Fleet, QoS, Retry};
/// use mqtt_fleet::testing::{Sessions, TestBroker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limit = Duration::from_secs(5);
/// let broker = TestBroker::start()?;
/// let quick = Retry::forever().pause(Duration::from_millis(10)..=Duration::from_secs(1));
/// let spec = ClientSpec::new("plant", broker.url()).subscribe("a", QoS::AtLeastOnce).retry(quick);
/// let fleet = Fleet::builder().client(spec).start()?;
/// fleet.wait_subscribed(limit)?;
///
/// let next = fleet.client("plant")?.next_connection();
/// broker.stop();
/// broker.restart(Sessions::Lost)?;
/// next.wait_subscribed(limit)?;
/// broker.publish("a", QoS::AtLeastOnce, false, "1")?;
/// assert_eq!(fleet.messages()?.recv_timeout(limit)?.text(), "1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NextConnection {
    member: Arc<Member>,
    /// How many connections there had been.
    after: u64,
}

impl NextConnection {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        let after = member.status.connections();
        Self { member, after }
    }

    /// Waits until the client is connected by a connection that began after the mark. Returns at
    /// once if it is; one that has been lost again does not count.
    ///
    /// # Errors
    ///
    /// The time was over, or the client has ended and never will be.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), WaitError> {
        let status = &self.member.status;
        status.wait_connected_after(self.after, timeout)
    }

    /// As [`NextConnection::wait_connected`], and until the broker has answered every subscription
    /// on that connection.
    ///
    /// # Errors
    ///
    /// The time was over, or the client has ended and never will be.
    pub fn wait_subscribed(&self, timeout: Duration) -> Result<(), WaitError> {
        let status = &self.member.status;
        status.wait_subscribed_after(self.after, timeout)
    }
}

impl fmt::Debug for NextConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextConnection")
            .field("client", &self.member.name)
            .field("after", &self.after)
            .finish()
    }
}

/// The next connection of each client of a fleet: a mark that
/// [`Fleet::next_connections`](crate::Fleet::next_connections) sets, to wait from.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{Fleet, WaitError};
///
/// fn across_a_restart(fleet: &Fleet, restart: impl FnOnce()) -> Result<(), WaitError> {
///     let next = fleet.next_connections();
///     restart();
///     next.wait_subscribed(Duration::from_secs(60))
/// }
/// # let _ = across_a_restart as fn(&Fleet, fn()) -> _;
/// ```
#[derive(Clone, Debug)]
pub struct NextConnections(Vec<NextConnection>);

impl NextConnections {
    pub(crate) fn new(clients: impl IntoIterator<Item = NextConnection>) -> Self {
        Self(clients.into_iter().collect())
    }

    /// Waits until every client is connected, or has been seen connected in turn, by a connection
    /// that began after the mark.
    ///
    /// # Errors
    ///
    /// The time was over, or a client has ended: the error names it.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, NextConnection::wait_connected)
    }

    /// As [`NextConnections::wait_connected`], and until the broker has answered every subscription
    /// on that connection.
    ///
    /// # Errors
    ///
    /// The time was over, or a client has ended: the error names it.
    pub fn wait_subscribed(&self, timeout: Duration) -> Result<(), WaitError> {
        self.wait_each(timeout, NextConnection::wait_subscribed)
    }

    fn wait_each(
        &self,
        timeout: Duration,
        wait: impl Fn(&NextConnection, Duration) -> Result<(), WaitError>,
    ) -> Result<(), WaitError> {
        let left = time_left(timeout);
        self.0.iter().try_for_each(|next| wait(next, left()))
    }
}
