//! A message in the outbox, beside its content: who waits for its end, and what has been seen of it.

use std::time::Instant;

use crate::{outbox::completion::Completion, session::packet::Outgoing};

/// What there is about an accepted message beside its content.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) completion: Completion,
    /// Known only where there is an age limit, and not of one that was sent: it does not expire.
    pub(crate) accepted_at: Option<Instant>,
    /// It was sent on an earlier connection: the broker may have it.
    pub(crate) was_sent: bool,
}

/// What the network thread has seen, for the outbox to apply.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A publish of QoS 0 was given to the encoder.
    SentOnce(Pending),
    /// A publish of QoS 1 or 2 was given to the encoder: the outbox has it until it is acknowledged.
    Sent {
        packet_id: u16,
        message: Box<Outgoing>,
        pending: Pending,
    },
    /// The item that woke the network thread was given to the encoder.
    WakeSent,
    /// PUBACK or PUBCOMP.
    Acknowledged { packet_id: u16 },
    /// PUBREC.
    Released { packet_id: u16 },
    /// SUBACK or UNSUBACK.
    Answered { packet_id: u16 },
    /// PINGRESP.
    PingAnswered,
}
