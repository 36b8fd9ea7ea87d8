//! Short waits before the network thread parks: waking it again costs more than waiting for what is about
//! to come.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    outbox::{
        Outbox,
        entry::Progress,
        state::{NetworkThread, State},
    },
    supervise::backoff::Backoff,
};

/// How long is waited for acknowledgements: a few times as long as it takes to wake a worker.
const FOR_ACKNOWLEDGEMENTS: Duration = Duration::from_micros(200);

/// The first part of it only gives way to other threads: being woken takes longer than quick handlers
/// do.
const GIVING_WAY: Duration = Duration::from_micros(50);

/// Enough acknowledgements to justify a system call.
const WORTH_A_WRITE: usize = 32;

/// How long is waited for the next publish, giving way to other threads all the time.
const FOR_PUBLISHES: Duration = Duration::from_micros(100);

/// A wait that brought nothing is skipped exponentially more often.
#[derive(Debug, Default)]
pub(crate) struct BriefWaits {
    for_acknowledgements: Backoff,
    for_publishes: Backoff,
}

impl BriefWaits {
    /// Messages were handed over that will be acknowledged. Quick handlers are done within the wait, and
    /// their acknowledgements leave together. Half of many is enough, so that the broker sends while the
    /// rest is handled. Without it the first acknowledgement would wake this thread and leave alone, and a
    /// broker with a small window would answer it with a single message. Whatever else may be sent ends the
    /// wait.
    pub(crate) fn for_acknowledgements(
        &mut self,
        outbox: &Outbox,
        progress: &mut Vec<Progress>,
        handed_over: usize,
    ) {
        let enough = handed_over.min(WORTH_A_WRITE.max(handed_over / 2));
        self.for_acknowledgements.attempt(|| {
            // It may have made room for what waits, and a handler may wait for it.
            outbox.apply(progress);
            outbox.wait_until_brought(GIVING_WAY, FOR_ACKNOWLEDGEMENTS, |state| {
                let is_here = state.controls.len() >= enough || state.admits_next();
                (!is_here).then_some(enough)
            })
        });
    }

    /// Publishes have gone out, and none waits. A program that publishes through many clients in turn wakes
    /// one thread after the other for a single message, and each takes the processor from those that
    /// publish: giving it back first, a thread finds several messages at once, and nobody has to wake it.
    pub(crate) fn for_publishes(&mut self, outbox: &Outbox, progress: &mut Vec<Progress>) {
        let is_publish = |step: &Progress| {
            matches!(
                step,
                Progress::SentOnce(_) | Progress::Sent { .. } | Progress::WakeSent
            )
        };
        if !progress.iter().rev().any(is_publish) {
            return;
        }
        self.for_publishes.attempt(|| {
            // Whoever waits for what has been written need not wait for this.
            outbox.apply(progress);
            outbox.wait_until_brought(FOR_PUBLISHES, FOR_PUBLISHES, |state| {
                let is_idle = state.queue.is_empty() && state.controls.is_empty();
                is_idle.then_some(1)
            })
        });
    }
}

impl Outbox {
    /// Waits until a publish or as many control items as `awaited` says have been brought, for a moment
    /// at most. Says whether they were; also if there is nothing to wait for.
    pub(super) fn wait_until_brought(
        &self,
        giving_way: Duration,
        at_most: Duration,
        awaited: impl FnOnce(&State) -> Option<usize>,
    ) -> bool {
        let begun = Instant::now();
        {
            let mut state = self.lock();
            // With something to carry the thread does not park, and what is closed has nothing more to come.
            let is_over = state.carried.is_some() || state.network == NetworkThread::Closed;
            let Some(controls) = awaited(&state).filter(|_| !is_over) else {
                return true;
            };
            state.awaited = controls;
            if state.network == NetworkThread::Parked {
                // A packet has woken this thread: nobody else has to. It looks here before it parks.
                state.network = NetworkThread::Running;
            }
        }
        loop {
            let mut state = self.lock();
            // Whoever brings it takes the number away.
            let is_over = state.awaited == 0;
            if is_over || begun.elapsed() >= at_most {
                state.awaited = 0;
                return is_over;
            }
            if begun.elapsed() >= giving_way {
                let left = at_most.saturating_sub(begun.elapsed());
                let _ = self.brought.wait_for(&mut state.state, left);
                continue;
            }
            drop(state);
            thread::yield_now();
        }
    }
}
