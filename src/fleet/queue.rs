//! The queue of a fleet: one lane for each worker, one for all of them, or one for the application.

use crossbeam_channel::{Receiver, unbounded};

use crate::{
    fleet::plan::Plan,
    receive::{dispatch::Lanes, lane::Batch, message::Message},
};

/// Where messages are put in, and where they are taken out.
pub(super) struct Queue {
    pub(super) lanes: Lanes,
    pub(super) pull: Option<Receiver<Message>>,
    /// One for each worker, or one for all of them.
    pub(super) workers: Vec<Receiver<Batch>>,
}

pub(super) fn queue(plan: &Plan, unordered: bool) -> Queue {
    if plan.workers == 0 {
        let (lane, pull) = unbounded();
        return Queue {
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
    Queue {
        lanes,
        pull: None,
        workers,
    }
}
