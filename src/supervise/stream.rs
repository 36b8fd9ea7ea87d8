//! The receiving side of a channel whose items are looked at when they are taken, with the errors of
//! std's channels: crossbeam's are types of a crate that is not public here.

use std::{
    sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError},
    time::Duration,
};

use crossbeam_channel::Receiver;

use crate::supervise::stop::deadline_after;

/// A queue whose items become something else, or nothing, when they are taken.
#[derive(Debug)]
pub(crate) struct Stream<T, U> {
    queue: Receiver<T>,
    take: fn(T) -> Option<U>,
}

impl<T, U> Clone for Stream<T, U> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            take: self.take,
        }
    }
}

impl<T, U> Stream<T, U> {
    pub(crate) fn new(queue: Receiver<T>, take: fn(T) -> Option<U>) -> Self {
        Self { queue, take }
    }

    pub(crate) fn recv(&self) -> Result<U, RecvError> {
        loop {
            let item = self.queue.recv().map_err(|_| RecvError)?;
            if let Some(taken) = (self.take)(item) {
                return Ok(taken);
            }
        }
    }

    pub(crate) fn try_recv(&self) -> Result<U, TryRecvError> {
        loop {
            let item = self.queue.try_recv().map_err(|error| match error {
                crossbeam_channel::TryRecvError::Empty => TryRecvError::Empty,
                crossbeam_channel::TryRecvError::Disconnected => TryRecvError::Disconnected,
            })?;
            if let Some(taken) = (self.take)(item) {
                return Ok(taken);
            }
        }
    }

    pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<U, RecvTimeoutError> {
        let Some(deadline) = deadline_after(timeout) else {
            return self.recv().map_err(RecvTimeoutError::from);
        };
        loop {
            let received = self.queue.recv_deadline(deadline);
            let item = received.map_err(|error| match error {
                crossbeam_channel::RecvTimeoutError::Timeout => RecvTimeoutError::Timeout,
                crossbeam_channel::RecvTimeoutError::Disconnected => RecvTimeoutError::Disconnected,
            })?;
            if let Some(taken) = (self.take)(item) {
                return Ok(taken);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
