//! rumqttc's event loop, run on the thread of its client: what rumqttc's own `Connection` does.
//!
//! With one difference: the runtime gets a reference to what it is to run. `Connection` moves it, 1.4 KiB,
//! through each of the runtime's functions, and all of them have room for it: twice of that where there
//! is a timer. That is 12 KiB more of each client's stack.

use std::{pin::pin, time::Duration};

use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::timeout,
};

use crate::supervise::panic::{caught, text_of};

/// rumqttc's event loop and its runtime.
pub(super) struct Connection {
    // Dropped first: it has a socket and timers of the runtime.
    pub(super) eventloop: EventLoop,
    runtime: Runtime,
}

impl Connection {
    /// An event loop without a connection, and the way into its channel of so many requests. Takes three
    /// descriptors.
    pub(super) fn new(
        options: MqttOptions,
        capacity: usize,
    ) -> Result<(AsyncClient, Self), String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| text_of(&error))?;
        let (client, eventloop) = caught(|| AsyncClient::new(options, capacity))?;
        Ok((client, Self { eventloop, runtime }))
    }

    pub(super) fn runtime(&self) -> Handle {
        self.runtime.handle().clone()
    }

    #[expect(
        clippy::result_large_err,
        reason = "rumqttc's own, and made ours at once"
    )]
    /// Blocks until something happens. Without a connection it makes one.
    pub(super) fn recv(&mut self) -> Result<Event, ConnectionError> {
        let next = pin!(self.eventloop.poll());
        self.runtime.block_on(next)
    }

    /// As `recv`, for so long at most: `None`.
    pub(super) fn recv_timeout(
        &mut self,
        longest: Duration,
    ) -> Option<Result<Event, ConnectionError>> {
        let next = pin!(self.eventloop.poll());
        // A timer is made inside of the runtime.
        self.runtime
            .block_on(async { timeout(longest, next).await })
            .ok()
    }
}
