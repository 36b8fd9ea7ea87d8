//! What the broker is to do wrong from now on.

use std::mem;
use std::time::Duration;

use bytes::Bytes;

use super::broker::TestBroker;
use super::delivery::{Pick, Pieces};
use super::faults::{ConnectReply, PingReply, Reply};
use super::packet::Packet;
use crate::spec::qos::QoS;

/// Making the broker misbehave from now on. A client id that is not known is no error: a fault is
/// remembered for the client's next connections. What is set for one client holds for it, whatever
/// is set for all, before or after.
impl TestBroker {
    /// How CONNECTs are answered from now on. Defaults to [`ConnectReply::Accept`].
    pub fn on_connect(&self, reply: ConnectReply) {
        self.hub.set(|faults| faults.connect.all = Reply::As(reply));
    }

    /// As [`TestBroker::on_connect`] for one client, whatever holds for the others.
    pub fn on_connect_of(&self, client_id: &str, reply: ConnectReply) {
        self.answer_connect_of(client_id, Reply::As(reply));
    }

    /// Answers CONNECTs with these bytes from now on, instead of [`TestBroker::on_connect`]. They
    /// are not recorded. The connection stays open and is read, and nothing more is answered: to
    /// the broker the client is not connected, even if the bytes begin with a CONNACK.
    pub fn on_connect_raw(&self, bytes: impl Into<Bytes>) {
        let reply = Reply::Raw(bytes.into());
        self.hub.set(|faults| faults.connect.all = reply);
    }

    /// As [`TestBroker::on_connect_raw`] for one client, whatever holds for the others.
    pub fn on_connect_raw_of(&self, client_id: &str, bytes: impl Into<Bytes>) {
        self.answer_connect_of(client_id, Reply::Raw(bytes.into()));
    }

    /// How PINGREQs are answered from now on. Defaults to [`PingReply::Answer`].
    pub fn on_ping(&self, reply: PingReply) {
        self.hub.set(|faults| faults.ping.all = reply);
    }

    /// As [`TestBroker::on_ping`] for one client, whatever holds for the others.
    pub fn on_ping_of(&self, client_id: &str, reply: PingReply) {
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.ping.of.insert(client_id, reply));
    }

    /// Writes to clients in pieces of these sizes from now on, one after the other and then from the
    /// first again: `&[1]` for byte by byte. Each piece is a write of its own that the system sends
    /// at once (TCP_NODELAY), at least this pause after the one before; without a pause, a client
    /// that reads late finds several pieces together. Packets that wait for the writer are one stream of bytes:
    /// a piece may hold the end of one and the beginning of the next. A size of 0 is as 1; no sizes
    /// at all, the default, is as without pieces and without a pause.
    pub fn write_in_pieces(&self, sizes: &[usize], pause: Duration) {
        let pieces = Pieces::new(sizes, pause);
        self.hub.set(|faults| faults.pieces.all = pieces);
    }

    /// As [`TestBroker::write_in_pieces`] for one client, whatever holds for the others.
    pub fn write_in_pieces_of(&self, client_id: &str, sizes: &[usize], pause: Duration) {
        let pieces = Pieces::new(sizes, pause);
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.pieces.of.insert(client_id, pieces));
    }

    /// Sends each packet twice that the function picks from now on, the second right behind the
    /// first: a PUBLISH of QoS 1 or 2 with dup, all else unchanged. Both are recorded. The broker
    /// itself takes no notice of the second. The function sees what is sent by the standard and with
    /// [`TestBroker::send_packet`]; it runs without a lock, on the thread that writes to the client,
    /// and must not panic. Defaults to none.
    ///
    /// ```
    /// use mqtt_fleet::testing::{Packet, TestBroker};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let broker = TestBroker::start()?;
    /// broker.send_twice(|packet| matches!(packet, Packet::Publish { .. } | Packet::Pubrel { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_twice(&self, pick: impl Fn(&Packet) -> bool + Send + Sync + 'static) {
        let pick = Pick::new(pick);
        drop(self.hub.set(|faults| faults.twice.all.replace(pick)));
    }

    /// As [`TestBroker::send_twice`] for one client, whatever holds for the others.
    pub fn send_twice_of(
        &self,
        client_id: &str,
        pick: impl Fn(&Packet) -> bool + Send + Sync + 'static,
    ) {
        let (client_id, pick) = (client_id.to_owned(), Some(Pick::new(pick)));
        drop(
            self.hub
                .set(|faults| faults.twice.of.insert(client_id, pick)),
        );
    }

    /// Resets the connection right after `n_packets` more packets came from this client. The last
    /// of them is recorded, and neither answered nor handled. A CONNECT counts too; 0 is as 1.
    pub fn cut_after(&self, client_id: &str, n_packets: usize) {
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.cut_after.insert(client_id, n_packets));
    }

    /// Resets the connection right after `n_bytes` more bytes were sent to this client, also in the
    /// middle of a packet, and also on a later connection. What is queued behind them is lost. With
    /// 0 nothing of what is to be sent next is. What is being written already does not count. A
    /// packet of which no byte was sent is not in the record, one that was begun is. The client can
    /// read the bytes before it finds the reset; only what its system had no room for is lost.
    pub fn cut_after_bytes_to(&self, client_id: &str, n_bytes: usize) {
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.cut_after_to.insert(client_id, n_bytes));
    }

    /// Resets the connection right after `n_bytes` more bytes came from this client, also in the
    /// middle of a packet, and also on a later connection. Packets that are complete by then are
    /// recorded and handled; their answers may be lost. What comes behind is not looked at. A CONNECT
    /// does not count, because it is what says whose bytes they are. With 0 the next byte cuts.
    pub fn cut_after_bytes_from(&self, client_id: &str, n_bytes: usize) {
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.cut_after_from.insert(client_id, n_bytes));
    }

    /// Holds PUBACK, PUBREC and PUBCOMP back from all clients, or sends what was held back in the
    /// order of receipt. The messages are routed all the same. What is held when a connection ends
    /// is dropped. Replaces what was set for single clients.
    pub fn hold_acks(&self, hold: bool) {
        let mut state = self.hub.lock();
        state.faults.hold.all = hold;
        state.faults.hold.of.clear();
        state.release_held();
    }

    /// As [`TestBroker::hold_acks`] for one client, whatever holds for the others.
    pub fn hold_acks_of(&self, client_id: &str, hold: bool) {
        let mut state = self.hub.lock();
        state.faults.hold.of.insert(client_id.to_owned(), hold);
        state.release_held();
    }

    /// Sends what is held back for a client in the opposite order, which the standard forbids, and
    /// holds nothing back any more.
    pub fn release_acks_reversed(&self, client_id: &str) {
        let mut state = self.hub.lock();
        state.reverse_held(client_id);
        state.faults.hold.of.insert(client_id.to_owned(), false);
        state.release_held();
    }

    /// Waits this long before each read from this client's connections, of up to 16 KiB: who
    /// publishes faster finds its socket full. A read that waits for bytes already is not slow;
    /// [`TestBroker::stop_reading`] stops that too.
    pub fn read_slowly(&self, client_id: &str, pause: Duration) {
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.read_pauses.insert(client_id, pause));
    }

    /// From now on a SUBSCRIBE for exactly this filter gets code 0x80 and no subscription.
    pub fn fail_subscribe(&self, filter: impl Into<String>) {
        let filter = filter.into();
        self.hub.set(|faults| faults.refused_filters.insert(filter));
    }

    /// From now on a SUBSCRIBE for exactly this filter is granted this quality of service at most,
    /// and messages come with it at most.
    pub fn lower_subscribe(&self, filter: impl Into<String>, at_most: QoS) {
        let filter = filter.into();
        self.hub
            .set(|faults| faults.lowered_filters.insert(filter, at_most));
    }

    /// Whether SUBSCRIBEs take effect without ever being answered. Defaults to false.
    pub fn never_suback(&self, never: bool) {
        self.hub.set(|faults| faults.never_suback = never);
    }

    /// Takes back all that was set to go wrong from then on, the held acknowledgements being sent.
    /// A PINGRESP that is late already stays late, a pause that has begun is ended by the end of the
    /// connection only, a silent connection stays silent, and one that is not read stays unread.
    pub fn clear_faults(&self) {
        let mut state = self.hub.lock();
        let faults = mem::take(&mut state.faults);
        self.hub.bump();
        state.release_held();
        drop(state);
        // It holds functions of the user, which are dropped without the lock.
        drop(faults);
    }

    fn answer_connect_of(&self, client_id: &str, reply: Reply) {
        let client_id = client_id.to_owned();
        self.hub
            .set(|faults| faults.connect.of.insert(client_id, reply));
    }
}
