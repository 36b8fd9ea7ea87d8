//! Applying to the outbox what the network thread has seen on its connection.

use crate::{
    outbox::{
        completion::Disposition,
        entry::{Pending, Progress},
        state::State,
        waker::CarriedItem,
    },
    session::{
        inflight::{InflightPublish, Stage},
        packet::Outgoing,
    },
};

impl State {
    /// Applies one step. `written` is what a QoS 0 message ends with once it is written.
    pub(super) fn apply(&mut self, step: Progress, written: Disposition) {
        match step {
            Progress::SentOnce(pending) => {
                self.in_hand -= 1;
                self.sent_once(pending, written);
            }
            Progress::Sent {
                packet_id,
                message,
                pending,
            } => {
                self.in_hand -= 1;
                self.sent(packet_id, message, pending);
            }
            Progress::WakeSent => self.carried_sent(written),
            Progress::Acknowledged { packet_id } => {
                self.suspicion.is_blurred = false;
                self.suspicion.birth_read();
                if let Some(publish) = self.inflight.complete(packet_id) {
                    self.end_inflight(publish, Disposition::Acknowledged);
                }
            }
            Progress::Released { packet_id } => {
                self.suspicion.birth_read();
                self.inflight.release(packet_id);
            }
            Progress::Answered { packet_id } => self.ids.free_request(packet_id),
            Progress::PingAnswered => self.suspicion.answered(),
        }
    }

    /// A message of QoS 0 was given to the encoder.
    pub(super) fn sent_once(&mut self, pending: Pending, written: Disposition) {
        self.suspicion.is_blurred = true;
        self.unpromised.cut_off += u64::from(written == Disposition::ConnectionLost);
        self.end(&pending.completion, written);
    }

    /// A message of QoS 1 or 2 was given to the encoder under this identifier.
    pub(super) fn sent(&mut self, packet_id: u16, message: Box<Outgoing>, pending: Pending) {
        self.inflight.push(InflightPublish {
            packet_id,
            qos: message.qos,
            owner: Some(pending.completion),
            message: Some(message),
            stage: Stage::Sent,
        });
    }

    /// What the engine carried was given to the encoder.
    pub(super) fn carried_sent(&mut self, written: Disposition) {
        match self.carried.take() {
            Some(CarriedItem::Publish {
                packet_id: 0,
                message,
                pending,
            }) => {
                self.garbage.messages.push(message);
                self.sent_once(pending, written);
            }
            Some(CarriedItem::Publish {
                packet_id,
                message,
                pending,
            }) => self.sent(packet_id, message, pending),
            Some(CarriedItem::Control(_)) | None => {}
        }
    }
}
