//! How a pub function is called: only while its client is connected, and its failures counted.

use std::{sync::Arc, time::Duration};

use crate::{
    client::{handle::Client, spec::PubFunction},
    publish::schedule::{Task, Tick},
    receive::handler::{FailureSink, OnFailure},
    supervise::{
        outcome::{Failure, FailureKind},
        panic::caught,
        refusals,
    },
};

/// One pub function of one client, with everything that its calls need.
pub(crate) struct Caller {
    /// The client's place in the fleet.
    pub(crate) index: usize,
    pub(crate) client: Client,
    pub(crate) function: Box<dyn PubFunction>,
    pub(crate) on_failure: OnFailure,
    pub(crate) failed: FailureSink,
}

impl Caller {
    /// The task for the schedule. Copy `i` of `n` has its phase at `i / n` of the interval.
    pub(crate) fn task(mut self, interval: Duration, (i, n): (usize, usize)) -> Task {
        let counters = Arc::clone(&self.client.core().counters);
        let fraction = i as f64 / n.max(1) as f64;
        Task {
            interval,
            phase: interval.mul_f64(fraction),
            call: Box::new(move || self.tick()),
            missed: Box::new(move |n| counters.missed_ticks.add(n)),
        }
    }

    fn tick(&mut self) -> Tick {
        let core = self.client.core();
        if !core.status.is_connected() {
            return match core.status.is_ended() {
                true => Tick::Ended,
                false => Tick::NotConnected,
            };
        }
        if core.intake.is_closed() {
            return Tick::Ended;
        }
        let calls = match self.on_failure {
            OnFailure::Retry(times) => times.saturating_add(1),
            _ => 1,
        };
        for _ in 0..calls {
            match self.call() {
                Ok(()) => break,
                Err(failure) => (self.failed)(self.index, failure),
            }
        }
        Tick::Called
    }

    fn call(&mut self) -> Result<(), Failure> {
        let core = Arc::clone(self.client.core());
        core.counters.ticks.increment();
        let (function, client) = (&mut self.function, &self.client);
        let (result, was_refused) = refusals::watched(|| caught(|| function(client)));
        let (message, panicked) = match result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if was_refused => {
                log::debug!("left at the stop: {error}");
                return Ok(());
            }
            Ok(Err(error)) => (error.to_string(), false),
            Err(panic) => (panic, true),
        };
        let failure = Failure {
            kind: FailureKind::PubFunction,
            client: Arc::clone(&core.name),
            topic: None,
            message,
            panicked,
        };
        match panicked {
            true => {
                core.counters.pub_panics.increment();
                core.log.error(&failure.about(), format_args!("{failure}"));
            }
            false => {
                core.counters.pub_errors.increment();
                core.log.warn(&failure.about(), format_args!("{failure}"));
            }
        }
        Err(failure)
    }
}
