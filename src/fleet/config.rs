//! A fleet as data: its clients, its handlers, and its settings. What a user says to the builder, for whatever
//! checks it, lays it out and starts it.

use std::time::Duration;

use crate::{
    client::spec::{ClientSpec, UserHandler},
    inbox::{handler::DeadLetter, worker::StateCallback},
    spec::on_failure::OnFailure,
};

/// What the deepest connect takes in a debug build, whose frames are large: a smaller stack would overflow,
/// which ends the process.
pub(super) const LEAST_STACK: usize = match cfg!(any(feature = "tls", feature = "websocket")) {
    true => 512 * 1024,
    false => 128 * 1024,
};

/// Twice that.
const DEFAULT_STACK: usize = 2 * LEAST_STACK;

/// What std gives to a thread: handlers are ordinary code.
const DEFAULT_WORKER_STACK: usize = 2 * 1024 * 1024;

/// What a fleet is. The setters of the builder say what each field means.
pub(super) struct FleetConfig {
    pub(super) specs: Vec<ClientSpec>,
    /// Those for the messages of all clients.
    pub(super) handlers: Vec<(String, UserHandler)>,
    /// `None`: as many as there are processors if there are handlers, else none.
    pub(super) workers: Option<usize>,
    pub(super) unordered: bool,
    pub(super) queue_capacity: usize,
    pub(super) queue_bytes: usize,
    pub(super) connect_rate: Option<u32>,
    pub(super) publishers: usize,
    pub(super) on_failure: OnFailure,
    pub(super) dead_letter: Option<DeadLetter>,
    pub(super) on_state: Option<StateCallback>,
    pub(super) stack_size: usize,
    pub(super) worker_stack_size: usize,
    pub(super) stop_deadline: Duration,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            specs: Vec::new(),
            handlers: Vec::new(),
            workers: None,
            unordered: false,
            queue_capacity: 65_536,
            queue_bytes: 64 * 1024 * 1024,
            connect_rate: None,
            publishers: 1,
            on_failure: OnFailure::default(),
            dead_letter: None,
            on_state: None,
            stack_size: DEFAULT_STACK,
            worker_stack_size: DEFAULT_WORKER_STACK,
            stop_deadline: Duration::from_secs(5),
        }
    }
}
