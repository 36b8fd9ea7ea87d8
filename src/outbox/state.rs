//! What is in the outbox, and where each message is: the part behind the lock.
//!
//! A message is in the queue, on its way with a wake-up, in the network thread's hands, in flight, or
//! in one of the ledger's buckets. What changes it, in a file each: taking (`take`), applying what was seen on
//! the connection (`apply`), losing a connection (`lose`), ending messages (`end`). Every method leaves each
//! message in exactly one of these places.

use std::{collections::VecDeque, time::Instant};

use crate::{
    observe::ledger::{Ledger, Unpromised},
    outbox::{
        completion::{Completion, Completions},
        garbage::Garbage,
        queue::PublishQueue,
        suspicion::Suspicion,
        waker::{CarriedItem, Waker},
    },
    session::{
        inflight::Inflight,
        packet::{Control, Outgoing, Packet},
        packet_ids::PacketIds,
    },
};

/// What the network thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkThread {
    /// It has no connection: nothing wakes it, messages wait.
    Offline,
    /// It runs, or is about to: it looks into the outbox before it parks.
    Running,
    /// It waits inside its engine, and nothing that would wake it is under way.
    Parked,
    /// It stops or has ended: nothing is taken any more.
    Closed,
}

/// Which messages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    All,
    /// The fleet stops and its functions are still running: what they publish is taken as long as
    /// there is a connection that it can leave on.
    WhileConnected,
    /// None any more, but what is here still goes out.
    Nothing,
}

pub(super) struct State {
    pub(super) network: NetworkThread,
    pub(super) admission: Admission,
    /// By when a client that was stopped on its own ends, whatever is left then; until then it sends
    /// what is here.
    pub(super) finish_by: Option<Instant>,
    /// The connection is over, and the network thread is about to tell what was written and acknowledged
    /// on it: no message has its end before that is known.
    pub(super) unsettled: bool,
    pub(super) waker: Option<Box<dyn Waker>>,
    pub(super) carried: Option<CarriedItem>,
    /// For how many control items, or a publish, the network thread waits briefly before it parks; 0 if
    /// it does not.
    pub(super) awaited: usize,
    /// What the connection begins with, until it is sent.
    pub(super) preamble: VecDeque<Packet>,
    pub(super) controls: VecDeque<Control>,
    pub(super) queue: PublishQueue,
    /// How many messages the network thread has taken and not yet reported on.
    pub(super) in_hand: usize,
    /// The network thread has taken something, and has not come back since.
    pub(super) is_sending: bool,
    pub(super) inflight: Inflight<Completion>,
    pub(super) ids: PacketIds,
    /// The connection's birth message, which waits for the exchange of an earlier one to end; all other
    /// messages wait for it.
    pub(super) birth_due: Option<Outgoing>,
    pub(super) completions: Completions,
    pub(super) ledger: Ledger,
    pub(super) suspicion: Suspicion,
    pub(super) unpromised: Unpromised,
    /// To be dropped when the lock is given back.
    pub(super) garbage: Garbage,
}

impl State {
    /// Whether everything has gone out and every message has ended. Acknowledgements count: a
    /// broker that does not get them sends its messages again.
    pub(super) fn is_drained(&self) -> bool {
        let is_all_sent = self.preamble.is_empty() && self.controls.is_empty();
        self.in_progress() == 0 && is_all_sent && self.carried.is_none() && !self.is_sending
    }

    pub(super) fn in_progress(&self) -> usize {
        let is_carried = matches!(self.carried, Some(CarriedItem::Publish { .. }));
        self.queue.len() + self.in_hand + usize::from(is_carried) + self.inflight.accepted()
    }

    /// Whether something that may leave waits here while the network thread is parked and nothing
    /// wakes it: a wake-up was lost. Every change is made under the lock, so that looking after
    /// each call sees every state that threads can see.
    #[cfg(test)]
    pub(super) fn is_stuck(&self) -> bool {
        self.network == NetworkThread::Parked && (self.carried.is_some() || self.has_next())
    }
}
