//! How a fleet ends: stop by a deadline, drain, join, and the report.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    fleet::running::{Fleet, RunningWorker},
    spec::outbox::OnLowered,
    supervise::{
        log,
        outcome::Outcome,
        report::{ClientReport, Report},
        state::ClientState,
        stop::{StopSignal, deadline_after},
        thread::Watch,
    },
};

/// What the workers are left with of a stop's time when the clients need all of it: enough for
/// one that is idle to end.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// The end.
impl Fleet {
    /// Waits until every client has ended by itself or is told to stop, then stops what is left
    /// within the builder's stop deadline, and reports.
    pub fn join(&self) -> Report {
        for client in self.clients.iter() {
            client.core().wait_over();
        }
        self.stop(self.stop_deadline)
    }

    /// Stops every client and thread, and reports. Returns by the deadline in every state.
    ///
    /// Each client sends DISCONNECT; what its outbox holds is not sent. Messages received before
    /// are handled while there is time. What did not end by the deadline is abandoned and named
    /// in the report: a client inside a connect attempt or a name look-up, a handler that is
    /// stuck. An abandoned client makes no further attempt.
    ///
    /// May be called from a handler or pub function: its own thread is not waited for. A second
    /// call reports again.
    pub fn stop(&self, deadline: Duration) -> Report {
        let end = deadline_after(deadline);
        let before_end = |share: u32| {
            let reserve = LAST_MOMENT.min(deadline / 10) * share;
            end.and_then(|end| end.checked_sub(reserve))
        };
        self.stop_publishing.lock().take();
        self.clients.stop();
        let mut abandoned = Vec::new();
        // Another stop under way has the threads; it does the same. On a thread of the fleet that
        // one may be waiting for this very thread.
        let workers = self.workers.iter().map(|(watch, _)| watch);
        let is_own = workers.chain(&self.publishers).any(Watch::is_current);
        let threads = match end {
            _ if is_own => self.threads.try_lock(),
            Some(end) => self.threads.try_lock_until(end),
            None => Some(self.threads.lock()),
        };
        if let Some(mut threads) = threads {
            for thread in &mut threads.clients {
                thread.join_until(before_end(3));
            }
            self.closed.lock().take();
            for worker in &mut threads.workers {
                worker.thread.join_until(before_end(2));
            }
            self.expired.store(true, Ordering::Relaxed);
            for worker in &mut threads.workers {
                if !worker.thread.join_until(before_end(1)) && !worker.thread.is_current() {
                    abandoned.push(self.stuck(worker));
                }
            }
            for thread in &mut threads.publishers {
                if !thread.join_until(end) && !thread.is_current() {
                    abandoned.push(format!("{} (in a pub function)", thread.name()));
                }
            }
        }
        let report = self.report(abandoned);
        self.log.finish();
        match report.abandoned() {
            [] => log::info!("fleet stopped"),
            abandoned => log::error!("fleet stopped, abandoned: {}", abandoned.join(", ")),
        }
        report
    }

    /// Like [`Fleet::stop`], but first gives what is under way the time to end well: pub functions
    /// end, the messages received until now are handled (not in pull mode, where that is up to the
    /// application), then no further publish is accepted and the outboxes empty themselves. What
    /// is left at the deadline is counted as unsent or failed.
    ///
    /// A client that is not connected has until the deadline to come back.
    pub fn stop_draining(&self, deadline: Duration) -> Report {
        let end = deadline_after(deadline);
        let reserve = LAST_MOMENT.min(deadline / 10) * 4;
        let drained_by = end.and_then(|end| end.checked_sub(reserve));
        self.stop_publishing.lock().take();
        self.wait_handled(drained_by);
        for client in self.clients.iter() {
            client.core().outbox.drain();
        }
        for client in self.clients.iter() {
            client.core().outbox.wait_drained(drained_by);
        }
        let left = end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        self.stop(left)
    }

    /// Waits until the workers have handled what had been received when this was called.
    fn wait_handled(&self, deadline: Option<Instant>) {
        if self.messages.is_some() {
            return;
        }
        let mut received: Vec<_> = self.clients.iter().map(|it| it.stats().received).collect();
        // A handler that asks for the stop can't wait for the end of its own message.
        let own = self.workers.iter().find(|(watch, _)| watch.is_current());
        let own = own.and_then(|(_, busy)| busy.client());
        if let Some(own) = own.and_then(|index| received.get_mut(index)) {
            *own = own.saturating_sub(1);
        }
        let done = || {
            self.clients
                .iter()
                .zip(&received)
                .all(|(client, received)| {
                    let stats = client.stats();
                    stats.handled + stats.unmatched + stats.dropped + stats.repeated >= *received
                })
        };
        // Looked at every other millisecond, once in a fleet's life: a signal for it would cost
        // every message something.
        let pause = StopSignal::default();
        while !done() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            pause.pause(Duration::from_millis(2));
        }
    }

    fn stuck(&self, worker: &RunningWorker) -> String {
        let name = worker.thread.name();
        match worker
            .busy
            .client()
            .and_then(|index| self.clients.at(index))
        {
            Some(client) => format!("{name} (in a handler, with a message of {})", client.name()),
            None if worker.has_callback => format!("{name} (in the state callback)"),
            // The system has not run it since: the machine is overloaded.
            None => format!("{name} (about to end)"),
        }
    }

    /// The threads that ended by a panic. A client's thread tells so by its outcome.
    fn panicked(&self) -> impl Iterator<Item = String> {
        let told = |name: String, watch: &Watch| {
            let panic = watch.panic()?;
            Some(format!("{name} (ended by a panic: {panic})"))
        };
        let workers = self.workers.iter().enumerate();
        let publishers = self.publishers.iter().enumerate();
        workers
            .filter_map(move |(n, (watch, _))| told(format!("worker-{n}"), watch))
            .chain(publishers.filter_map(move |(n, it)| told(format!("publisher-{n}"), it)))
    }

    fn report(&self, threads: Vec<String>) -> Report {
        let mut abandoned = Vec::new();
        // A handler that asks for the stop still has its message.
        let own = self.workers.iter().find(|(watch, _)| watch.is_current());
        let own = own.and_then(|(_, busy)| busy.client());
        let clients = self.clients.iter().enumerate().map(|(index, client)| {
            let status = &client.core().status;
            let outcome = status.outcome().unwrap_or_else(|| {
                let state = status.state();
                if state == ClientState::Starting {
                    // A start that failed: it never ran.
                    return Outcome::Stopped;
                }
                abandoned.push(format!("{} ({state})", client.name()));
                Outcome::Abandoned {
                    state: Box::new(state),
                }
            });
            let stats = client.stats();
            let done = stats.handled + stats.unmatched + stats.dropped + stats.repeated;
            let in_hand = u64::from(own == Some(index));
            let troubles = status.troubles();
            ClientReport {
                name: client.name().to_owned(),
                broker: client.broker().to_owned(),
                client_id: client.client_id().to_owned(),
                outcome,
                stats,
                // In pull mode the application may take them after the end.
                unpromised: client.core().outbox.unpromised(),
                unhandled: match self.messages {
                    Some(_) => 0,
                    None => stats.received.saturating_sub(done + in_hand),
                },
                last_cause: troubles.last_cause,
                flapped: troubles.flapped,
                is_id_contested: troubles.is_id_contested,
                first_failure: status.first_failure(),
                refused_subscriptions: status.refused_subscriptions(),
                lowered_subscriptions: status.lowered_subscriptions(),
                accepts_lowered: client.core().on_lowered == OnLowered::Accept,
            }
        });
        let clients = clients.collect();
        abandoned.extend(threads);
        abandoned.extend(self.panicked());
        Report {
            clients,
            lateness: self.lateness(),
            abandoned,
        }
    }
}
