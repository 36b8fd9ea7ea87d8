//! What a test can make the broker do, right and wrong.

use std::time::Duration;

use bytes::Bytes;

use super::broker::TestBroker;
use super::connection::{How, Outgoing};
use super::faults::{ConnectReply, Faults};
use super::router::Message;
use crate::spec::qos::QoS;
use crate::spec::topic::TopicError;
use crate::spec::topic::check_topic;

/// Making the broker act. A client id that is not known is no error, and is remembered where a
/// fault is set for it.
impl TestBroker {
    /// The broker itself publishes a message.
    ///
    /// # Errors
    ///
    /// The topic is no topic name.
    pub fn publish(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Bytes>,
    ) -> Result<(), TopicError> {
        let topic = topic.into();
        check_topic(&topic)?;
        let payload = payload.into();
        self.hub.lock().route(&Message {
            topic,
            qos,
            retain,
            payload,
        });
        Ok(())
    }

    /// How CONNECTs are answered from now on. Defaults to [`ConnectReply::Accept`].
    pub fn on_connect(&self, reply: ConnectReply) {
        self.hub.lock().faults.connect = reply;
    }

    /// How the CONNECTs of one client are answered from now on, whatever holds for the others.
    pub fn on_connect_of(&self, client_id: &str, reply: ConnectReply) {
        let mut state = self.hub.lock();
        state.faults.connect_of.insert(client_id.to_owned(), reply);
    }

    /// Closes a client's connection with FIN; its will is published. What was queued for it before
    /// is sent first, unless it is silent or does not read its socket. False if there was none.
    /// Also ends a connection whose CONNECT was not answered.
    pub fn kick(&self, client_id: &str) -> bool {
        self.hub.close(How::Fin, |conn| conn.client() == client_id) > 0
    }

    /// Closes every connection as [`TestBroker::kick`] does. Returns how many there were.
    pub fn kick_all(&self) -> usize {
        self.hub.close(How::Fin, |_| true)
    }

    /// As [`TestBroker::kick`], with a reset (RST): the client's next read fails.
    pub fn cut(&self, client_id: &str) -> bool {
        self.hub
            .close(How::Reset, |conn| conn.client() == client_id)
            > 0
    }

    /// Resets the connection right after `n_packets` more packets came from this client. The last
    /// of them is recorded, and neither answered nor handled. A CONNECT counts too; 0 is as 1.
    pub fn cut_after(&self, client_id: &str, n_packets: usize) {
        let mut state = self.hub.lock();
        let cut_after = &mut state.faults.cut_after;
        cut_after.insert(client_id.to_owned(), n_packets);
    }

    /// Leaves the client's connection half open: nothing more is read, answered or sent until it
    /// is kicked, cut or taken over, or the broker stopped. To the broker it stays connected.
    /// False if there was none.
    pub fn silence(&self, client_id: &str) -> bool {
        self.hub.silence(client_id) > 0
    }

    /// Holds PUBACK, PUBREC and PUBCOMP back from all clients, or sends what was held back in the
    /// order of receipt. The messages are routed all the same. What is held when a connection ends
    /// is dropped. Replaces what was set for single clients.
    pub fn hold_acks(&self, hold: bool) {
        let mut state = self.hub.lock();
        state.faults.hold = hold;
        state.faults.hold_of.clear();
        state.release_held();
    }

    /// As [`TestBroker::hold_acks`] for one client, whatever holds for the others.
    pub fn hold_acks_of(&self, client_id: &str, hold: bool) {
        let mut state = self.hub.lock();
        state.faults.hold_of.insert(client_id.to_owned(), hold);
        state.release_held();
    }

    /// Sends what is held back for a client in the opposite order, which the standard forbids, and
    /// holds nothing back any more.
    pub fn release_acks_reversed(&self, client_id: &str) {
        let mut state = self.hub.lock();
        state.reverse_held(client_id);
        state.faults.hold_of.insert(client_id.to_owned(), false);
        state.release_held();
    }

    /// Waits this long before each read from this client's connections, of up to 16 KiB: who
    /// publishes faster finds its socket full. A read that waits for bytes already is not slow.
    pub fn read_slowly(&self, client_id: &str, pause: Duration) {
        let mut state = self.hub.lock();
        let read_pauses = &mut state.faults.read_pauses;
        read_pauses.insert(client_id.to_owned(), pause);
    }

    /// From now on a SUBSCRIBE for exactly this filter gets code 0x80 and no subscription.
    pub fn fail_subscribe(&self, filter: impl Into<String>) {
        let filter = filter.into();
        self.hub.lock().faults.refused_filters.insert(filter);
    }

    /// Whether SUBSCRIBEs take effect without ever being answered. Defaults to false.
    pub fn never_suback(&self, never: bool) {
        self.hub.lock().faults.never_suback = never;
    }

    /// Takes back all faults: what was set by `on_connect` to `never_suback`, the held
    /// acknowledgements being sent. A silent connection stays silent.
    pub fn clear_faults(&self) {
        let mut state = self.hub.lock();
        state.faults = Faults::default();
        state.release_held();
    }

    /// Writes bytes to a client's socket as they are, after what is queued for it. They are not
    /// recorded. False if it is not connected.
    pub fn send_raw(&self, client_id: &str, bytes: impl Into<Bytes>) -> bool {
        let state = self.hub.lock();
        let Some(link) = state.links.get(client_id) else {
            return false;
        };
        link.conn.send(Outgoing::Raw(bytes.into()));
        true
    }
}
