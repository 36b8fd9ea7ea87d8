//! What the end of a connection says of the packet that it ended on: ours or the broker's.

use crate::{
    client::client_loop::ClientLoop,
    observe::cause::Cause,
    outbox::suspicion::{ClosedOn, Verdict},
    supervise::log,
};

impl ClientLoop {
    /// Whether the connection before ended on the same packet of the broker: it may send it again and
    /// again.
    pub(super) fn is_packet_again(&mut self, cause: &Cause) -> bool {
        let packet = match cause {
            Cause::TooLarge { .. } | Cause::Protocol { .. } => Some(cause.clone()),
            _ => None,
        };
        let before = std::mem::replace(&mut self.ended_on, packet);
        self.ended_on.is_some() && self.ended_on == before
    }

    /// The cause that names the message on which the broker has closed, if it was one.
    pub(super) fn tell_closed_on(&self, verdict: &Verdict) -> Option<Cause> {
        let ClosedOn { topic, times } = verdict.closed_on.as_ref()?;
        let birth = self.birth.as_ref().map(|birth| &birth.topic);
        let topic = topic.as_ref().or(birth)?.clone();
        let times = *times;
        let cause = Cause::ClosedOn { topic, times };
        self.member.status.closed_on(&cause, verdict.is_given_up);
        Some(cause)
    }

    /// Tells of a message that was given up.
    pub(super) fn tell_given_up(&self, verdict: &Verdict, cause: &Cause) {
        self.member.counters.given_up.increment();
        let closed_on = verdict.closed_on.as_ref();
        if let Some(topic) = closed_on.and_then(|it| it.topic.as_ref()) {
            self.member.status.given_up(topic);
        }
        log::error!(
            "client {}: a message is given up: {cause}",
            self.member.name
        );
    }
}
