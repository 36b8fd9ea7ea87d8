//! How a pub function is called: only while its client is connected, and its failures counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{handle::Client, spec::PubFunction},
    observe::{
        failure::{Failure, FailureKind, FailureSink},
        stop_refusals,
    },
    schedule::{Task, Tick},
    spec::on_failure::OnFailure,
    supervise::{
        log,
        panic::{Failed, call},
    },
};

/// One pub function of one client, with everything that its calls need.
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) function: Box<dyn PubFunction>,
    pub(crate) on_failure: OnFailure,
    pub(crate) failed: FailureSink,
}

impl Caller {
    /// The task for the schedule. Copy `i` of `n` has its phase at `i / n` of the interval.
    pub(crate) fn task(mut self, interval: Duration, (i, n): (usize, usize)) -> Task {
        let counters = Arc::clone(&self.client.member().counters);
        let fraction = i as f64 / n.max(1) as f64;
        Task {
            interval,
            phase: interval.mul_f64(fraction),
            call: Box::new(move || self.tick(interval)),
            missed: Box::new(move |n| counters.missed_ticks.add(n)),
        }
    }

    fn tick(&mut self, interval: Duration) -> Tick {
        let begun = Instant::now();
        let member = Arc::clone(self.client.member());
        if !member.status.is_connected() {
            return match member.status.is_ended() {
                true => Tick::Ended,
                false => Tick::NotConnected,
            };
        }
        if member.intake.is_closed() {
            return Tick::Ended;
        }
        let repeat = self.on_failure.repeat();
        let mut repetition = 0;
        while let Err(failure) = self.call() {
            (self.failed)(failure);
            if repetition == repeat.times {
                break;
            }
            repetition += 1;
            let pause = repeat.pause_before(repetition);
            // The next call is due before the pause is over, or there will be none.
            if begun.elapsed() + pause >= interval || member.intake.pause(pause) {
                break;
            }
        }
        Tick::Called
    }

    fn call(&mut self) -> Result<(), Failure> {
        let member = Arc::clone(self.client.member());
        member.counters.ticks.increment();
        let (function, client) = (&mut self.function, &self.client);
        let (called, was_refused) = stop_refusals::watched(|| call(|| function(client)));
        let Err(Failed { text, panicked }) = called else {
            return Ok(());
        };
        // As long as its own client goes on, it is called again, and its errors count.
        if was_refused && !panicked && member.intake.is_closed() {
            log::debug!("left at the stop: {text}");
            return Ok(());
        }
        let failure = Failure {
            kind: FailureKind::PubFunction,
            client: Arc::clone(&member.name),
            topic: None,
            message: text,
            panicked,
        };
        match panicked {
            true => {
                member.counters.pub_panics.increment();
                member
                    .log
                    .error(&failure.about(), format_args!("{failure}"));
            }
            false => {
                member.counters.pub_errors.increment();
                member.log.warn(&failure.about(), format_args!("{failure}"));
            }
        }
        Err(failure)
    }
}
