//! Losing: what becomes of the messages when a connection ends, or the session with it.

use crate::{
    outbox::{
        completion::Disposition,
        entry::Pending,
        send_batch::{Outbound, SendBatch},
        state::State,
        suspicion::{ConnectionEnd, FirstSent, Verdict},
        waker::CarriedItem,
    },
    session::{
        inflight::{InflightPublish, Stage},
        packet::{Control, Outgoing, Packet},
    },
    spec::{outbox::Replay, qos::QoS},
};

impl State {
    /// The connection is lost. Says what the end of the connection says of the messages on it.
    pub(super) fn disconnected(
        &mut self,
        unsent: &mut SendBatch,
        wake_unsent: bool,
        ended: ConnectionEnd,
        max_closes: Option<u32>,
    ) -> Verdict {
        match wake_unsent {
            true => self.take_back(),
            false => self.carried_sent(Disposition::ConnectionLost),
        }
        let verdict = self.judge(ended, max_closes);
        for publish in self.inflight.forget_births() {
            self.ids.free_publish(publish.packet_id, publish.qos);
        }
        // The engine panicked with the message in its hands.
        if let Some(pending) = unsent.sent() {
            self.in_hand -= 1;
            self.end(&pending.completion, Disposition::ConnectionLost);
        }
        let mut again = Vec::new();
        while let Some(outbound) = unsent.pop() {
            if let Outbound::Publish { packet_id, message } = outbound {
                let pending = unsent.sent();
                again.extend(pending.map(|pending| (packet_id, Box::new(message), pending)));
            }
        }
        for (packet_id, message, pending) in again.into_iter().rev() {
            self.in_hand -= 1;
            self.put_back(packet_id, message, pending);
        }
        self.ids.free_requests();
        self.is_sending = false;
        self.unsettled = false;
        verdict
    }

    /// What the engine carried was not sent.
    pub(super) fn take_back(&mut self) {
        if let Some(CarriedItem::Publish {
            packet_id,
            message,
            pending,
        }) = self.carried.take()
        {
            self.put_back(packet_id, message, pending);
        }
    }

    /// The engine did not take what it was to carry.
    pub(super) fn refused(&mut self, packet: Packet) {
        let control = match packet {
            Packet::Acknowledge { packet_id, qos } => Control::Acknowledge { packet_id, qos },
            Packet::Subscribe { packet_id, filters } => {
                self.ids.free_request(packet_id);
                Control::Subscribe(filters)
            }
            Packet::Unsubscribe { packet_id, filters } => {
                self.ids.free_request(packet_id);
                Control::Unsubscribe(filters)
            }
            Packet::Disconnect => Control::Disconnect,
            Packet::Publish { .. } | Packet::Release { .. } | Packet::Ping => {
                return self.take_back();
            }
        };
        self.carried = None;
        self.controls.push_front(control);
    }

    /// A message that was taken and not sent. It is older than all that waits, and it was
    /// accepted: the capacity does not count.
    fn put_back(&mut self, packet_id: u16, message: Box<Outgoing>, pending: Pending) {
        self.ids.free_publish(packet_id, message.qos);
        self.queue.put_back(message, pending);
    }

    /// What the end of a connection says of the message that was under way.
    fn judge(&mut self, ended: ConnectionEnd, max_closes: Option<u32>) -> Verdict {
        let first = self.inflight.first_sent();
        let first = first.and_then(|it| {
            let message = it.message.as_deref()?;
            Some(FirstSent {
                completion: it.owner.clone()?,
                topic: message.topic.clone(),
                bytes: message.size(),
                is_only: self.inflight.len() == 1,
            })
        });
        let has_birth = self.inflight.has_birth();
        let n_accepted = self.inflight.accepted();
        let verdict = self
            .suspicion
            .judge(first, has_birth, n_accepted, ended, max_closes);
        if verdict.is_given_up {
            self.give_up(&verdict);
        }
        verdict
    }

    /// The first message that was sent ends.
    fn give_up(&mut self, verdict: &Verdict) {
        let Some(mut publish) = self.inflight.take_first_sent() else {
            return;
        };
        if let (Some(completion), Some(closed_on)) = (&publish.owner, &verdict.closed_on) {
            let topic = closed_on.topic.as_deref().unwrap_or_default();
            completion.name(topic, closed_on.times);
        }
        if publish.qos == QoS::ExactlyOnce {
            // A broker that keeps the session may wait for PUBREL, and until then takes whatever has the
            // same identifier for a repetition.
            self.garbage.messages.extend(publish.message.take());
            if let Some(completion) = publish.owner.take() {
                self.end(&completion, Disposition::GivenUp);
            }
            publish.stage = Stage::Released;
            self.inflight.push_front(publish);
        } else {
            self.end_inflight(publish, Disposition::GivenUp);
        }
    }

    /// The broker has lost the session, and what was in flight with it.
    pub(super) fn session_lost(&mut self, replay: Replay) {
        for publish in self.inflight.take().into_iter().rev() {
            match publish {
                InflightPublish {
                    owner: Some(completion),
                    message: Some(message),
                    ..
                } if replay == Replay::Always => {
                    let pending = Pending {
                        completion,
                        accepted_at: None,
                        was_sent: true,
                    };
                    self.queue.put_back(message, pending);
                }
                publish => {
                    // A birth message is nobody's.
                    let is_chosen = replay == Replay::OnlyWithSession && publish.owner.is_some();
                    self.unpromised.not_repeated += u64::from(is_chosen);
                    self.end_inflight(publish, Disposition::SessionLost);
                }
            }
        }
        self.ids.free_all();
    }
}
