//! When pub functions are called: on absolute moments, each client's own, never in a burst.

pub(crate) mod caller;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    mem,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, TryRecvError, after, never, select};

use crate::{
    observe::lateness::LatenessMeter,
    supervise::{
        log,
        panic::{caught, discard},
        thread::Thread,
    },
};

/// What became of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    Called,
    /// The client is not connected: the tick is left out.
    NotConnected,
    /// The client has ended: no tick follows.
    Ended,
}

/// One pub function of one client.
pub(crate) struct Task {
    pub(crate) interval: Duration,
    /// How long after its client's first connect the first tick is due. The copies of a template
    /// have phases spread over the interval: a thousand devices do not publish at one moment.
    pub(crate) phase: Duration,
    pub(crate) call: Box<dyn FnMut() -> Tick + Send>,
    /// Counts ticks that were left out.
    pub(crate) missed: Box<dyn Fn(u64) + Send>,
}

/// Where state changes come from and the callback that they are given to.
pub(crate) type States<S> = (Receiver<S>, Box<dyn Fn(&S) + Send>);

/// Everything the publisher thread has. `S` is what the state callback is given.
pub(crate) struct Publisher<S> {
    /// Those of clients that were not connected yet, by the number of the client.
    pub(crate) waiting: HashMap<u64, Vec<Task>>,
    /// All others.
    pub(crate) begun: Vec<Task>,
    /// Told of each tick: how late it was by its moment on the schedule, or that it was left out.
    pub(crate) lateness: LatenessMeter,
    /// The numbers of clients that are connected for the first time, and when that was: there
    /// the schedules of their tasks begin, so that nothing is missed before. The moment is the client's,
    /// not that at which this thread hears of it: a thread that is busy is late from the first call.
    pub(crate) begin: Receiver<(Instant, u64)>,
    /// State changes and what they are given to, where no worker has them.
    pub(crate) states: Option<States<S>>,
    /// Disconnected when pub functions are to end: the thread then says that it is idle.
    pub(crate) stop: Receiver<()>,
    /// Disconnected when the fleet is ending: no state change comes any more.
    pub(crate) closing: Receiver<()>,
}

impl<S> Publisher<S> {
    pub(crate) fn run(mut self, thread: &Thread) {
        let mut due: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
        let none = never();
        loop {
            // Before a tick that is due as well.
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                due.clear();
                self.begin = never();
                self.stop = never();
                thread.set_idle();
            }
            let timer = match due.peek() {
                Some(Reverse((moment, _))) => {
                    after(moment.saturating_duration_since(Instant::now()))
                }
                None => never(),
            };
            let states = self.states.as_ref().map_or(&none, |(states, _)| states);
            select! {
                // Seen above.
                recv(self.stop) -> _ => {}
                recv(self.closing) -> _ => break,
                recv(self.begin) -> begin => match begin {
                    Ok((moment, client)) => for task in self.waiting.remove(&client).unwrap_or_default() {
                        due.push(Reverse((moment + task.phase, self.begun.len())));
                        self.begun.push(task);
                    },
                    // Every client has been connected or has ended.
                    Err(_) => self.begin = never(),
                },
                recv(states) -> change => match (change, &self.states) {
                    (Ok(change), Some((_, callback))) => callback(&change),
                    // Every client has ended. Its callback is the user's, and so is what that owns.
                    _ => discard(self.states.take()),
                },
                recv(timer) -> _ => self.tick(&mut due),
            }
        }
        if let Some((states, callback)) = self.states.take() {
            while let Ok(change) = states.try_recv() {
                callback(&change);
            }
            discard(callback);
        }
        let waiting = mem::take(&mut self.waiting).into_values().flatten();
        self.begun.drain(..).chain(waiting).for_each(discard);
    }

    fn tick(&mut self, due: &mut BinaryHeap<Reverse<(Instant, usize)>>) {
        let Some(Reverse((moment, index))) = due.pop() else {
            return;
        };
        let Some(task) = self.begun.get_mut(index) else {
            return;
        };
        // Looked at before the call: how long the function takes is the lateness of the next ones.
        let late = Instant::now().saturating_duration_since(moment);
        // The user's function is called in there, and what unwinds is caught. Should our own code panic
        // beside it, the schedule goes on.
        let tick = caught(|| (task.call)()).unwrap_or_else(|panic| {
            log::error!("the publisher thread panicked beside a pub function: {panic}");
            Tick::Called
        });
        let left_out = match tick {
            Tick::Called => {
                self.lateness.called(late);
                0
            }
            Tick::NotConnected => 1,
            Tick::Ended => return,
        };
        let (next, passed) = following(moment, task.interval, Instant::now());
        let missed = passed.saturating_add(left_out);
        if missed > 0 {
            (task.missed)(missed);
            self.lateness.missed(missed);
        }
        due.push(Reverse((next, index)));
    }
}

/// The next moment after `moment` that is not past, and how many were passed over: the schedule
/// stays where it is, however late a tick was.
fn following(moment: Instant, interval: Duration, now: Instant) -> (Instant, u64) {
    let next = moment + interval;
    let late = now.saturating_duration_since(next);
    if late.is_zero() {
        return (next, 0);
    }
    // At least one nanosecond: intervals are checked at start, and this must not divide by zero.
    let interval_ns = interval.as_nanos().max(1);
    let passed = late.as_nanos() / interval_ns + 1;
    let to_next = interval_ns - late.as_nanos() % interval_ns;
    // Below the interval, which fits into a u64 of nanoseconds for 584 years.
    let to_next = Duration::from_nanos(u64::try_from(to_next).unwrap_or(u64::MAX));
    (now + to_next, u64::try_from(passed).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        /// However late, the next tick is in the future, on the grid, and every moment between is
        /// counted once.
        #[test]
        fn the_grid_holds(interval in 1_u64..1_000_000, late in 0_u64..1_000_000_000) {
            let interval = Duration::from_nanos(interval);
            let moment = Instant::now();
            let now = moment + Duration::from_nanos(late);
            let (next, missed) = following(moment, interval, now);
            prop_assert!(next >= now);
            prop_assert!(next <= now + interval || missed == 0);
            let steps = (next - moment).as_nanos() / interval.as_nanos();
            prop_assert_eq!((next - moment).as_nanos() % interval.as_nanos(), 0);
            prop_assert_eq!(steps, u128::from(missed) + 1);
        }
    }
}
