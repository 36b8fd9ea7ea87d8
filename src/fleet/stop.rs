//! How a fleet ends: the phases of a stop, each within its share of one deadline, and the report.
//!
//! Every stop goes through all phases by itself and waits for threads through their states, so that
//! several may run at once: what one has done the others find done, and the earliest deadline counts.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::{
    client::clients::Clients,
    fleet::{crew::Crew, report::report},
    observe::{lateness::LatenessMeter, log_lines::FleetLog, report::Report},
    supervise::{
        log,
        panic::caught,
        stop::{deadline_after, time_left},
        thread::{InsideStop, Thread},
    },
};

/// What each later phase is left with of a stop's time when the ones before need all of it: enough
/// for what is idle to end, and for a broker near by to answer. The clients have three of these to
/// disconnect in: a broker may take 100 ms to close.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// At most this many threads are in the log line of a stop.
const MOST_LOGGED: usize = 10;

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// What is under way ends well where there is a connection.
    Orderly,
    /// The same, and clients that are not connected may come back.
    Draining,
    /// Nothing is waited for but the threads.
    Now,
}

/// What a stop needs. Every field can be used by several stops at once.
pub(crate) struct Ending {
    pub(super) clients: Clients,
    pub(super) crew: Mutex<Crew>,
    /// What the publishers have measured.
    pub(super) lateness: LatenessMeter,
    /// Set to make workers leave what waits unhandled.
    pub(super) expired: Arc<AtomicBool>,
    /// That of a stop which is only asked for.
    pub(super) deadline: Duration,
    /// The application takes the messages itself.
    is_pull: bool,
    stack_size: usize,
    /// What its clients log; counts are written at the end.
    log: Arc<FleetLog>,
    ends: Mutex<Ends>,
    /// Calls of `join`: one of them makes the stop that is asked for.
    joins: AtomicUsize,
    /// The thread that makes it otherwise.
    stopper: Mutex<Option<Arc<Thread>>>,
    /// What that thread panicked with: a defect of ours.
    stopper_panic: Mutex<Option<String>>,
    is_over: AtomicBool,
}

/// Dropped one after the other, to tell threads how far the stop is.
#[derive(Default)]
pub(super) struct Ends {
    /// Pub functions end.
    pub(super) publishing: Option<Sender<()>>,
    /// No message is delivered any more.
    pub(super) intake: Option<Sender<()>>,
    /// Nothing at all will come any more.
    pub(super) work: Option<Sender<()>>,
}

/// Until when each phase of a stop may last.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// `None`: for ever.
    end: Option<Instant>,
    share: Duration,
}

impl Times {
    fn new(deadline: Duration) -> Self {
        Self {
            end: deadline_after(deadline),
            share: LAST_MOMENT.min(deadline / 12),
        }
    }

    /// The end, but for this many shares of later phases.
    fn but(self, shares: u32) -> Option<Instant> {
        self.end?.checked_sub(self.share * shares)
    }
}

impl Ending {
    pub(super) fn new(
        clients: Clients,
        is_pull: bool,
        deadline: Duration,
        stack_size: usize,
        log: Arc<FleetLog>,
        ends: Ends,
    ) -> Arc<Self> {
        let ending = Arc::new(Self {
            clients,
            crew: Mutex::default(),
            lateness: LatenessMeter::new(),
            expired: Arc::default(),
            deadline,
            is_pull,
            stack_size,
            log,
            ends: Mutex::new(ends),
            joins: AtomicUsize::new(0),
            stopper: Mutex::new(None),
            stopper_panic: Mutex::new(None),
            is_over: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&ending);
        let on_stop = move || Self::asked_for(&weak);
        ending.clients.set_on_stop(Box::new(on_stop));
        ending
    }

    /// Whether a stop has gone through all of its phases.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Somebody wants the fleet to stop and does not wait for it: a `join` sees to it, or a thread
    /// that is made for it.
    fn asked_for(ending: &Weak<Self>) {
        let Some(ending) = ending.upgrade() else {
            return;
        };
        Self::stop_on_own_thread(&ending, |ending| {
            ending.stop(ending.deadline, Way::Orderly);
        });
    }

    /// Makes the stop on a thread for it, unless somebody makes it already.
    fn stop_on_own_thread(ending: &Arc<Self>, make: impl FnOnce(&Self) + Send + 'static) {
        let mut stopper = ending.stopper.lock();
        let is_seen_to = stopper.is_some() || ending.joins.load(Ordering::SeqCst) > 0;
        if is_seen_to || ending.is_over() {
            return;
        }
        let own = Arc::clone(ending);
        let made = Thread::spawn_knowing("stopper", ending.stack_size, move |_| {
            let left = time_left(own.deadline);
            let Err(panic) = caught(|| make(&own)) else {
                return;
            };
            log::error!(
                "the thread that stops the fleet panicked, the clients stop at once: {panic}"
            );
            *own.stopper_panic.lock() = Some(panic);
            // Nobody else may be there to end them.
            own.clients.stop_now();
            own.stop(left(), Way::Now);
        });
        match made {
            Ok(thread) => *stopper = Some(thread),
            Err(error) => {
                log::error!("no thread for an orderly stop, the clients stop at once: {error}");
                ending.clients.stop_now();
            }
        }
    }

    /// Waits until every client has ended or a stop is asked for, and makes it.
    pub(super) fn join(&self) -> Report {
        self.joins.fetch_add(1, Ordering::SeqCst);
        self.clients.wait_over();
        let report = self.stop(self.deadline, Way::Orderly);
        self.joins.fetch_sub(1, Ordering::SeqCst);
        report
    }

    /// Stops the fleet and reports.
    pub(super) fn stop(&self, deadline: Duration, way: Way) -> Report {
        let times = Times::new(deadline);
        let crew = self.crew.lock().clone();
        // Nobody waits for a thread that is in here: not it for itself, nor two for each other.
        let _inside = self.current(&crew).map(InsideStop::new);
        self.ends.lock().publishing.take();
        if way != Way::Now {
            self.finish_work(&crew, times, way);
        }
        self.clients.stop_now();
        for client in self.clients.list() {
            if let Some(thread) = client.member().thread.get() {
                thread.join_until(times.but(3));
            }
        }
        {
            let mut ends = self.ends.lock();
            ends.intake.take();
            ends.work.take();
        }
        for worker in &crew.workers {
            worker.thread.join_until(times.but(2));
        }
        self.expired.store(true, Ordering::Relaxed);
        let mut abandoned = Vec::new();
        let is_left = |thread: &Thread, until| !thread.join_until(until) && !thread.is_stopping();
        for worker in &crew.workers {
            if is_left(&worker.thread, times.but(1)) {
                abandoned.push(worker.stuck(&self.clients));
            }
        }
        for thread in &crew.publishers {
            if is_left(thread, times.end) {
                abandoned.push(format!("{} (in a pub function)", thread.name()));
            }
        }
        let stopper = self.stopper.lock().clone();
        if let Some(stopper) = stopper.filter(|it| !it.is_current()) {
            stopper.join_until(times.end);
        }
        abandoned.extend(crew.panicked());
        let panic = self.stopper_panic.lock().clone();
        abandoned.extend(panic.map(|panic| format!("stopper (ended by a panic: {panic})")));
        let lateness = self.lateness.read();
        let report = report(
            &self.clients,
            &crew,
            self.is_pull,
            lateness,
            abandoned,
            times.end,
        );
        self.log.finish();
        self.is_over.store(true, Ordering::SeqCst);
        match report.abandoned() {
            [] => log::info!("fleet stopped"),
            abandoned => {
                let (told, more) = abandoned.split_at(abandoned.len().min(MOST_LOGGED));
                let mut list = told.join(", ");
                if !more.is_empty() {
                    list += &format!(" and {} more", more.len());
                }
                log::error!("fleet stopped, abandoned: {list}");
            }
        }
        report
    }

    /// The caller's thread, if it is one of the fleet's.
    fn current(&self, crew: &Crew) -> Option<Arc<Thread>> {
        let is_current = |thread: &&Arc<Thread>| thread.is_current();
        let clients = self.clients.list().iter();
        let mut own = clients.filter_map(|it| it.member().thread.get().filter(is_current).cloned());
        own.next()
            .or_else(|| crew.threads().find(is_current).cloned())
    }

    /// The phases of an orderly stop while the clients run on: no message is delivered any more,
    /// functions end, what they have published goes out.
    fn finish_work(&self, crew: &Crew, times: Times, way: Way) {
        match way {
            Way::Draining => self.clients.close_intakes(),
            Way::Orderly | Way::Now => self.clients.begin_stop(),
        }
        for client in self.clients.list() {
            client.member().intake.wait_quiet(times.but(8));
        }
        self.ends.lock().intake.take();
        if !crew.threads().all(|thread| thread.wait_idle(times.but(8))) {
            // Those that run may still end well.
            self.expired.store(true, Ordering::Relaxed);
            for thread in crew.threads() {
                thread.wait_idle(times.but(7));
            }
        }
        // Only now: what a function has published is taken, and only then is its message acknowledged.
        for client in self.clients.list() {
            client.member().outbox.drain();
        }
        for client in self.clients.list() {
            let own = client.member().thread.get();
            // One that asks for the stop itself, in its credentials function, has no connection, and
            // comes to none while it waits here.
            let may_come_back = way == Way::Draining && own.is_some_and(|it| !it.is_stopping());
            let outbox = &client.member().outbox;
            outbox.wait_drained(times.but(6), may_come_back);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a defect in the thread that makes a stop leaves the fleet running, or is not in the
    /// report: the signal or the handler that asked for the stop has nobody else.
    #[test]
    fn a_stopper_that_panics_is_named_and_the_fleet_stops() {
        let (publishing, is_publishing) = crossbeam_channel::bounded(0);
        let ends = Ends {
            publishing: Some(publishing),
            ..Ends::default()
        };
        let ending = Ending::new(
            Clients::new(Vec::new()),
            false,
            Duration::from_secs(60),
            256 * 1024,
            Arc::new(FleetLog::new()),
            ends,
        );
        Ending::stop_on_own_thread(&ending, |_| panic!("a defect"));
        let stopper = ending.stopper.lock().clone().unwrap();
        assert!(stopper.join_until(None));
        assert!(ending.is_over(), "all phases");
        assert!(is_publishing.recv().is_err(), "pub functions end");
        for report in [ending.join(), ending.stop(Duration::ZERO, Way::Orderly)] {
            assert_eq!(
                report.abandoned(),
                ["stopper (ended by a panic: a defect)"],
                "{report}"
            );
            assert_eq!(report.exit_code(), 1);
        }
    }
}
