//! The moments for which the network thread waits outside of rumqttc: going to sleep inside it and
//! being woken again takes longer than what is about to be sent takes to come.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    publish::{
        message::Progress,
        outbox::{
            Outbox,
            books::{Books, Listener},
        },
    },
    supervise::backoff::Backoff,
};

/// How long is waited for acknowledgements: a few times as long as it takes to wake a worker.
const FOR_ACKNOWLEDGEMENTS: Duration = Duration::from_micros(200);

/// The first part of it only gives way to other threads: being woken takes longer than quick handlers
/// do.
const GIVING_WAY: Duration = Duration::from_micros(50);

/// So many acknowledgements that leave together are worth a call of the system.
const WORTH_A_WRITE: usize = 32;

/// How long is waited for the next publish, giving way to other threads all the time.
const FOR_PUBLISHES: Duration = Duration::from_micros(100);

/// Where a moment is in vain it is left out for longer and longer.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    for_acknowledgements: Backoff,
    for_publishes: Backoff,
}

impl Moments {
    /// Messages were handed over that will be acknowledged. Quick handlers are done within a
    /// moment, and their acknowledgements leave together. Half of many is enough, so that the broker
    /// sends while the rest is handled. Otherwise the first one is the bell and leaves alone, and a
    /// broker with a small window answers it with a single message. Whatever else may be sent ends
    /// the moment.
    pub(crate) fn for_acknowledgements(
        &mut self,
        outbox: &Outbox,
        progress: &mut Vec<Progress>,
        handed_over: usize,
    ) {
        let enough = handed_over.min(WORTH_A_WRITE.max(handed_over / 2));
        self.for_acknowledgements.attempt(|| {
            // It may have made room for what waits, and a handler may wait for it.
            outbox.note(progress);
            outbox.wait_until_brought(GIVING_WAY, FOR_ACKNOWLEDGEMENTS, |inner| {
                let is_here = inner.controls.len() >= enough || inner.admits_next();
                (!is_here).then_some(enough)
            })
        });
    }

    /// A publish has gone out, and none waits. Who publishes through many clients in turn wakes one
    /// after the other for a single message, and each takes the processor from those who publish:
    /// giving it back first, a thread finds several messages at once, and nobody has to ring.
    pub(crate) fn for_publishes(&mut self, outbox: &Outbox, progress: &mut Vec<Progress>) {
        let mut latest = progress.iter().rev();
        if latest.any(|step| matches!(step, Progress::Written { .. })) {
            self.for_publishes.attempt(|| {
                // Whoever waits for what has been written need not wait for this.
                outbox.note(progress);
                outbox.wait_until_brought(FOR_PUBLISHES, FOR_PUBLISHES, |inner| {
                    let is_idle = inner.publishes.is_empty() && inner.controls.is_empty();
                    is_idle.then_some(1)
                })
            });
        }
    }
}

impl Outbox {
    /// Waits until a publish or as many control items as `awaited` says have been brought, for a moment
    /// at most. Says whether they were; also if there is nothing to wait for.
    pub(super) fn wait_until_brought(
        &self,
        giving_way: Duration,
        at_most: Duration,
        awaited: impl FnOnce(&Books) -> Option<usize>,
    ) -> bool {
        let begun = Instant::now();
        {
            let mut inner = self.lock();
            // With a bell out the thread does not sleep, and what is closed has nothing more to come.
            let is_over = inner.bell_out || inner.listener == Listener::Gone;
            let Some(controls) = awaited(&inner).filter(|_| !is_over) else {
                return true;
            };
            inner.awaited = controls;
            if inner.listener == Listener::Asleep {
                // A packet has woken this thread: nobody has to ring. It settles before it sleeps.
                inner.listener = Listener::Awake;
            }
        }
        loop {
            let mut inner = self.lock();
            // Whoever brings it takes the number away.
            let is_over = inner.awaited == 0;
            if is_over || begun.elapsed() >= at_most {
                inner.awaited = 0;
                return is_over;
            }
            if begun.elapsed() >= giving_way {
                let left = at_most.saturating_sub(begun.elapsed());
                let _ = self.brought.wait_for(&mut inner.books, left);
                continue;
            }
            drop(inner);
            thread::yield_now();
        }
    }
}
