//! The queue of a fleet: one lane for each worker, one for all of them, or one for the application.

use crossbeam_channel::{Receiver, unbounded};

use crate::{
    fleet::plan::Plan,
    inbox::{dispatch::Lanes, lane::LaneBatch, message::Message},
};

/// Where messages are put in, and where they are taken out.
pub(super) struct LaneQueue {
    pub(super) lanes: Lanes,
    pub(super) pull: Option<Receiver<Message>>,
    /// One for each worker, or one for all of them.
    pub(super) workers: Vec<Receiver<LaneBatch>>,
}

pub(super) fn queue(plan: &Plan, unordered: bool) -> LaneQueue {
    if plan.workers == 0 {
        let (lane, pull) = unbounded();
        return LaneQueue {
            lanes: Lanes::Pull(lane),
            pull: Some(pull),
            workers: Vec::new(),
        };
    }
    let (lanes, workers) = match unordered {
        true => {
            let (lane, queue) = unbounded();
            (Lanes::Shared(lane), vec![queue])
        }
        false => {
            let (lanes, queues) = (0..plan.workers).map(|_| unbounded()).unzip();
            (Lanes::Ordered(lanes), queues)
        }
    };
    LaneQueue {
        lanes,
        pull: None,
        workers,
    }
}
