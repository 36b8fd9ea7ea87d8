//! What a test can make the broker do at once. What it is to do from then on is in `misbehave.rs`.

use bytes::Bytes;

use super::broker::TestBroker;
use super::connection::{Conn, How, Outgoing};
use super::packet::Packet;
use super::router::Message;
use crate::spec::payload::Payload;
use crate::spec::qos::QoS;
use crate::spec::topic::TopicError;
use crate::spec::topic::check_topic;

/// Making the broker act at once.
impl TestBroker {
    /// The broker itself publishes a message.
    ///
    /// # Errors
    ///
    /// The topic is no topic name.
    pub fn publish<'a>(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Payload<'a>>,
    ) -> Result<(), TopicError> {
        let topic = topic.into();
        check_topic(&topic)?;
        let payload = payload.into().into_bytes();
        self.hub.lock().route(&Message {
            topic,
            qos,
            retain,
            payload,
        });
        Ok(())
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

    /// Leaves the client's connection half open: nothing more is read, answered or sent until it
    /// is kicked, cut or taken over, or the broker stopped. To the broker it stays connected.
    /// False if there was none.
    pub fn silence(&self, client_id: &str) -> bool {
        self.hub.each_of(client_id, Conn::silence) > 0
    }

    /// Reads nothing more from the client's connection, so that the buffers of the system fill and
    /// the client's writes block. What was read before is still handled, and the client still gets
    /// what there is for it. Its keep alive is not enforced, and the end of its connection is not
    /// noticed as long as nothing is sent to it. False if there was no connection.
    ///
    /// Lasts until [`TestBroker::resume_reading`], or until the connection is kicked, cut or taken
    /// over, or the broker stopped. To a FIN the system then adds a reset, as it does for any
    /// process that closes a socket it has not read. The client's next connection is read.
    pub fn stop_reading(&self, client_id: &str) -> bool {
        self.hub.each_of(client_id, |conn| conn.stall(true)) > 0
    }

    /// Reads again after [`TestBroker::stop_reading`]: first what has come meanwhile; the keep
    /// alive counts from now on. False if there is no such connection.
    pub fn resume_reading(&self, client_id: &str) -> bool {
        self.hub.each_of(client_id, |conn| conn.stall(false)) > 0
    }

    /// Writes bytes to a client's socket as they are, after what is queued for it. They are not
    /// recorded. To a client that is not connected they go on the connection on which its CONNECT
    /// was not answered. False if there is none.
    pub fn send_raw(&self, client_id: &str, bytes: impl Into<Bytes>) -> bool {
        self.send(client_id, Outgoing::Raw(bytes.into()))
    }

    /// As [`TestBroker::send_raw`] with a packet, which is recorded. It may be any packet: one that
    /// only clients send, with an identifier that was never used or is 0, or out of order. The
    /// broker itself takes no notice of it: it waits for no acknowledgement. A CONNECT goes without
    /// a password. A packet that MQTT has no bytes for, with a text over 65,535 bytes or more than
    /// 256 MiB in all, closes the connection instead.
    pub fn send_packet(&self, client_id: &str, packet: Packet) -> bool {
        self.send(client_id, Outgoing::Packet(packet))
    }

    fn send(&self, client_id: &str, outgoing: Outgoing) -> bool {
        let state = self.hub.lock();
        let conn = state.conn_of(client_id);
        conn.inspect(|conn| conn.send(outgoing)).is_some()
    }
}
