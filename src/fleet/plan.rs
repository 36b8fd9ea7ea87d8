//! How many threads and queues a fleet gets.

use std::thread::available_parallelism;

use crate::{client::spec::ClientSpec, fleet::builder::FleetBuilder, inbox::source::Share};

/// How many of what.
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) publishers: usize,
    pub(crate) stack_size: usize,
    pub(crate) worker_stack_size: usize,
    /// What of QoS 0 of one client may wait.
    pub(crate) share: Share,
}

impl Plan {
    pub(crate) fn new(builder: &FleetBuilder, specs: &[ClientSpec]) -> Self {
        let handlers =
            !builder.handlers.is_empty() || specs.iter().any(|spec| !spec.handlers.is_empty());
        let processors = available_parallelism().map_or(1, usize::from);
        let workers = match builder.workers {
            Some(workers) => workers,
            None if handlers => processors,
            None => 0,
        };
        let pub_functions = specs.iter().any(|spec| !spec.periodic.is_empty());
        let publishers = match (pub_functions, builder.on_state.is_some() && workers == 0) {
            (true, _) => builder.publishers,
            (false, true) => 1,
            (false, false) => 0,
        };
        Self {
            workers,
            publishers,
            stack_size: builder.stack_size,
            worker_stack_size: builder.worker_stack_size,
            share: Share::new(builder.queue_capacity, builder.queue_bytes, specs.len()),
        }
    }

    pub(crate) fn other_threads(&self) -> usize {
        self.workers + self.publishers
    }
}
