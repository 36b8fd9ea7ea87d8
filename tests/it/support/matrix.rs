//! The rig of the fault matrix: a client that suffers, another one beside it that must not notice, and
//! what both have to be like afterwards.

use bytes::Bytes;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{
    Cause, Client, ClientReport, ClientSpec, ClientState, Fleet, Outcome, QoS, StateChanges,
};

use super::fleet::{PATIENCE, ended, next_state, quick_retry, spec, start};

pub(crate) const VICTIM: &str = "victim";
const BYSTANDER: &str = "bystander";

/// CONNACK as it should be.
pub(crate) const CONNACK: &[u8] = b"\x20\x02\x00\x00";

/// One fleet with both clients on one broker. Nobody handles messages: the test takes them.
#[derive(Debug)]
pub(crate) struct Rig {
    /// The row, for the text of a failure.
    row: String,
    pub(crate) broker: TestBroker,
    pub(crate) fleet: Fleet,
    states: StateChanges,
}

impl Rig {
    /// Starts both clients, the victim as the row wants it and not necessarily connected.
    pub(crate) fn begin(
        row: &str,
        broker: TestBroker,
        victim: impl FnOnce(ClientSpec) -> ClientSpec,
    ) -> Rig {
        // Shown with the failure of a test only.
        println!("row: {row}");
        let row = row.to_owned();
        let [victim, bystander] = [
            victim(reader(VICTIM, &broker)),
            reader(BYSTANDER, &broker).retry(quick_retry(1)),
        ];
        let fleet = start([victim, bystander]);
        let states = fleet.states();
        let rig = Rig {
            row,
            broker,
            fleet,
            states,
        };
        rig.client(BYSTANDER).wait_subscribed(PATIENCE).unwrap();
        rig
    }

    /// As `begin` on a broker of its own; both clients are subscribed.
    pub(crate) fn start(row: &str, victim: impl FnOnce(ClientSpec) -> ClientSpec) -> Rig {
        let rig = Rig::begin(row, TestBroker::start().unwrap(), victim);
        rig.victim().wait_subscribed(PATIENCE).unwrap();
        rig
    }

    pub(crate) fn victim(&self) -> Client {
        self.client(VICTIM)
    }

    fn client(&self, name: &str) -> Client {
        self.fleet.client(name).unwrap()
    }

    /// Has the broker send bytes to the victim.
    pub(crate) fn send_raw(&self, bytes: impl Into<Bytes>) {
        assert!(self.broker.send_raw(VICTIM, bytes), "{}", self.row);
    }

    /// Waits until the victim has lost its connection, for the cause of this name.
    pub(crate) fn lost(&self, promised: &str) {
        let lost = next_state(&self.states, VICTIM, |state| {
            matches!(state, ClientState::Lost { .. })
        });
        self.is_promised(lost.cause().unwrap(), promised);
    }

    /// Waits until an attempt of the victim has failed, for the cause of this name.
    pub(crate) fn failed(&self, promised: &str) {
        let failed = next_state(&self.states, VICTIM, |state| {
            matches!(state, ClientState::AttemptFailed { .. })
        });
        self.is_promised(failed.cause().unwrap(), promised);
    }

    fn is_promised(&self, cause: &Cause, promised: &str) {
        assert_eq!(kind(cause), promised, "{}: {cause:?}", self.row);
    }

    /// As `recovers`, at the first attempt after the loss.
    pub(crate) fn recovers_at_once(self) {
        // Of the two, the second is the one after the loss.
        self.victim().wait_subscribed(PATIENCE).unwrap();
        assert_eq!(self.broker.connects(VICTIM), 2, "{}", self.row);
        self.recovers();
    }

    /// Waits until the victim is subscribed again after its one loss, and sees to it that both clients
    /// work, that every CONNECT but the last was counted as a failed attempt, and that all ends well.
    pub(crate) fn recovers(self) {
        let row = &self.row;
        let victim = self.victim();
        let back = victim.wait_subscribed(PATIENCE);
        back.unwrap_or_else(|error| panic!("{row}: {error}"));
        self.exchange(VICTIM);
        let stats = victim.stats();
        assert_eq!((stats.losses, stats.connects), (1, 2), "{row}");
        let connects = self.broker.connects(VICTIM) as u64;
        assert_eq!(stats.failed_attempts, connects - 1, "{row}");
        self.bystander_is_untouched();
        let report = self.fleet.stop(PATIENCE);
        assert_eq!(report.exit_code(), 0, "{row}: {report}");
        let stopped = |client: &ClientReport| *client.outcome() == Outcome::Stopped;
        assert!(report.clients().iter().all(stopped), "{row}: {report}");
    }

    /// Waits until the victim has given up after so many attempts, the last of them for this cause.
    pub(crate) fn gives_up(self, attempts: u32, promised: &str) {
        let row = &self.row;
        match ended(&self.fleet, VICTIM) {
            Outcome::RetriesExhausted {
                attempts: made,
                last_error,
            } if made == attempts => self.is_promised(&last_error, promised),
            other => panic!("{row}: {other:?}"),
        }
        self.ends_after(attempts);
    }

    /// Waits until the victim has ended at its first attempt, because its peer is no broker.
    pub(crate) fn finds_no_broker(self) {
        match ended(&self.fleet, VICTIM) {
            Outcome::NotMqtt { last_error } => self.is_promised(&last_error, "NotMqtt"),
            other => panic!("{}: {other:?}", self.row),
        }
        self.ends_after(1);
    }

    /// Sees to it that the victim connected so often and no more, and that the other one did not notice.
    fn ends_after(&self, attempts: u32) {
        let row = &self.row;
        let failed = self.victim().stats().failed_attempts;
        assert_eq!(failed, u64::from(attempts), "{row}");
        self.bystander_is_untouched();
        let report = self.fleet.stop(PATIENCE);
        // Nothing connects after a stop: what has not come by now never will.
        assert_eq!(self.broker.connects(VICTIM), attempts as usize, "{row}");
        assert_eq!(report.exit_code(), 1, "{row}: {report}");
        assert!(report.abandoned().is_empty(), "{row}: {report}");
    }

    fn bystander_is_untouched(&self) {
        let row = &self.row;
        self.exchange(BYSTANDER);
        let stats = self.client(BYSTANDER).stats();
        assert_eq!((stats.losses, stats.failed_attempts), (0, 0), "{row}");
        assert_eq!(self.broker.connects(BYSTANDER), 1, "{row}");
    }

    /// A client sends to itself by way of the broker, and both ways work.
    fn exchange(&self, name: &str) {
        let row = &self.row;
        let topic = format!("to/{name}");
        let sent = self
            .client(name)
            .publish(topic, QoS::AtLeastOnce, false, row.clone());
        let acknowledged = sent.unwrap().wait_timeout(PATIENCE);
        acknowledged.unwrap_or_else(|error| panic!("{row}, {name}: {error}"));
        loop {
            let message = self.fleet.messages().unwrap().recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|error| panic!("{row}, {name}: {error}"));
            if message.client() == name && message.text() == row.as_str() {
                return;
            }
        }
    }
}

/// A client that is subscribed to what is for it.
fn reader(name: &str, broker: &TestBroker) -> ClientSpec {
    spec(name, broker).subscribe(format!("to/{name}"), QoS::AtLeastOnce)
}

/// The name of a cause, for tables.
pub(crate) fn kind(cause: &Cause) -> &'static str {
    match cause {
        Cause::Resolve { .. } => "Resolve",
        Cause::Connect { .. } => "Connect",
        Cause::ConnectTimeout { .. } => "ConnectTimeout",
        Cause::Refused(_) => "Refused",
        Cause::NotMqtt { .. } => "NotMqtt",
        Cause::Credentials { .. } => "Credentials",
        Cause::Closed => "Closed",
        Cause::Broken { .. } => "Broken",
        Cause::KeepAlive => "KeepAlive",
        Cause::WriteTimeout => "WriteTimeout",
        Cause::Protocol { .. } => "Protocol",
        Cause::TooLarge { .. } => "TooLarge",
        Cause::SubackTimeout => "SubackTimeout",
        Cause::SubscriptionRefused { .. } => "SubscriptionRefused",
        _ => "a cause that this table does not know",
    }
}
