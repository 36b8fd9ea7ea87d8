//! How a fleet is laid out: how many threads it gets, and the queues between them.

use std::thread::available_parallelism;

use crossbeam_channel::{Receiver, unbounded};

use crate::{
    client::spec::ClientSpec,
    fleet::config::FleetConfig,
    inbox::{dispatch::Lanes, lane::LaneBatch, message::Message, share::Share},
};

/// How many threads of which kind, and how large their stacks are.
pub(crate) struct Layout {
    pub(crate) workers: usize,
    pub(crate) publishers: usize,
    pub(crate) stack_size: usize,
    pub(crate) worker_stack_size: usize,
    /// What of QoS 0 of one client may wait.
    pub(crate) share: Share,
}

impl Layout {
    pub(crate) fn new(config: &FleetConfig, specs: &[ClientSpec]) -> Self {
        let handlers =
            !config.handlers.is_empty() || specs.iter().any(|spec| !spec.handlers.is_empty());
        let processors = available_parallelism().map_or(1, usize::from);
        let workers = match config.workers {
            Some(workers) => workers,
            None if handlers => processors,
            None => 0,
        };
        let pub_functions = specs.iter().any(|spec| !spec.periodic.is_empty());
        let publishers = match (pub_functions, config.on_state.is_some() && workers == 0) {
            (true, _) => config.publishers,
            (false, true) => 1,
            (false, false) => 0,
        };
        Self {
            workers,
            publishers,
            stack_size: config.stack_size,
            worker_stack_size: config.worker_stack_size,
            share: Share::new(config.queue_capacity, config.queue_bytes, specs.len()),
        }
    }

    pub(crate) fn other_threads(&self) -> usize {
        self.workers + self.publishers
    }
}

/// Where messages are put in, and where they are taken out.
pub(crate) struct LaneQueue {
    pub(crate) lanes: Lanes,
    pub(crate) pull: Option<Receiver<Message>>,
    /// One for each worker, or one for all of them.
    pub(crate) workers: Vec<Receiver<LaneBatch>>,
}

pub(crate) fn queue(layout: &Layout, unordered: bool) -> LaneQueue {
    if layout.workers == 0 {
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
            let (lanes, queues) = (0..layout.workers).map(|_| unbounded()).unzip();
            (Lanes::Ordered(lanes), queues)
        }
    };
    LaneQueue {
        lanes,
        pull: None,
        workers,
    }
}
