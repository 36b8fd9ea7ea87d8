//! Where a peer's messages go: counted where they come, or over a bounded queue to one worker.

use std::{sync::Arc, thread};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    Result,
    subject::{
        check::Check,
        job::{Job, Kind},
    },
    wire,
};

const CAPACITY: usize = 10_000;

/// Cheap to clone: each client has one.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) check: Arc<Check>,
    queue: Option<Sender<(Arc<str>, Bytes)>>,
    echoes: Option<Sender<u64>>,
}

impl Sink {
    /// The second is what comes back, of round trips.
    pub(crate) fn new(job: &Job, queued: bool) -> Result<(Self, Receiver<u64>)> {
        let check = Arc::new(Check::new(job.clients, job.paced));
        let (echoes, echoed) = bounded(16);
        let queue = match queued {
            true => Some(worker(Arc::clone(&check))?),
            false => None,
        };
        let echoes = (job.kind == Kind::Echo).then_some(echoes);
        Ok((
            Self {
                check,
                queue,
                echoes,
            },
            echoed,
        ))
    }

    #[inline]
    pub(crate) fn take(&self, topic: &str, payload: &Bytes) {
        if let Some(echoes) = &self.echoes {
            let _ = echoes.send(wire::sequence_of(payload).unwrap_or(u64::MAX));
        } else if let Some(queue) = &self.queue {
            let _ = queue.send((topic.into(), payload.clone()));
        } else {
            self.check.take(payload);
        }
    }
}

fn worker(check: Arc<Check>) -> Result<Sender<(Arc<str>, Bytes)>> {
    let (tx, rx) = bounded::<(Arc<str>, Bytes)>(CAPACITY);
    thread::Builder::new().spawn(move || {
        for (topic, payload) in rx {
            // A handler has the topic at hand; here it only travels.
            drop(topic);
            check.take(&payload);
        }
    })?;
    Ok(tx)
}
