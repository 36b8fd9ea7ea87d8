//! Which handlers a message goes to, and what follows when one of them fails.

use std::{error::Error, mem, sync::Arc, time::Duration};

use crate::{
    inbox::{message::Message, source::Source},
    observe::{
        failure::{Failure, FailureKind},
        stop_refusals,
    },
    session::filter::topic_matches,
    spec::on_failure::OnFailure,
    supervise::{
        log,
        panic::{Failed, call, caught, discard},
    },
};

/// What handlers, pub functions and the dead-letter function return. Any error converts with `?`.
///
/// ```
/// use mqtt_fleet::{HandlerResult, Message};
///
/// fn parse(message: &Message) -> HandlerResult {
///     let _degrees: f64 = message.text().parse()?;
///     Ok(())
/// }
/// ```
pub type HandlerResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A handler, with everything it needs already inside.
pub(crate) type Handler = Arc<dyn Fn(&Message) -> HandlerResult + Send + Sync>;

/// What a message is given to when all else failed.
pub(crate) type DeadLetter = Arc<dyn Fn(&Message, &Failure) -> HandlerResult + Send + Sync>;

/// How the rest of the fleet learns of a failure: it keeps the first one of each client and
/// stops what the policy says. The index is the client's.
pub(crate) type FailureSink = Arc<dyn Fn(usize, Failure) + Send + Sync>;

pub(crate) struct Route {
    pub(crate) filter: String,
    pub(crate) handler: Handler,
}

/// Everything that workers do with a message.
pub(crate) struct Handling {
    /// Handlers for the messages of all clients.
    pub(crate) fleet: Vec<Route>,
    /// Handlers for the messages of one client, by its index.
    pub(crate) own: Vec<Vec<Route>>,
    pub(crate) on_failure: OnFailure,
    pub(crate) dead_letter: Option<DeadLetter>,
    pub(crate) failed: FailureSink,
    pub(crate) pause: PauseBeforeRetry,
}

/// Waits before a function is called again, on behalf of the client at this index. Says whether that client
/// has been stopped, which ends the wait.
pub(crate) type PauseBeforeRetry = Arc<dyn Fn(usize, Duration) -> bool + Send + Sync>;

impl Handling {
    /// Runs all matching handlers, one after the other.
    pub(crate) fn handle(&self, message: &mut Message) {
        let own = self.own.get(message.source().index);
        let routes = self.fleet.iter().chain(own.into_iter().flatten());
        let mut matched = false;
        for route in routes.filter(|route| topic_matches(&route.filter, message.topic())) {
            matched = true;
            if self.run(&route.handler, message) == FailureVerdict::Left {
                return message.leave();
            }
        }
        if !matched {
            message.unmatched();
        }
    }

    fn run(&self, handler: &Handler, message: &Message) -> FailureVerdict {
        let repeat = self.on_failure.repeat();
        let mut repetition = 0;
        let failure = loop {
            let failure = match attempt(FailureKind::Handler, message, || handler(message)) {
                Attempt::Done => return FailureVerdict::Done,
                Attempt::Left(failure) => {
                    if failure.panicked {
                        self.note(message.source(), &failure);
                    }
                    return FailureVerdict::Left;
                }
                Attempt::Failed(failure) => failure,
            };
            self.note(message.source(), &failure);
            if repetition == repeat.times {
                break failure;
            }
            repetition += 1;
            if (self.pause)(message.source().index, repeat.pause_before(repetition)) {
                return FailureVerdict::Left;
            }
        };
        if let (OnFailure::Retry(_), Some(dead_letter)) = (self.on_failure, &self.dead_letter) {
            message.source().counters.dead_letters.increment();
            let given = attempt(FailureKind::DeadLetter, message, || {
                dead_letter(message, &failure)
            });
            match given {
                Attempt::Done => {}
                Attempt::Left(_) => return FailureVerdict::Left,
                Attempt::Failed(failure) => self.note(message.source(), &failure),
            }
        }
        match self.on_failure {
            OnFailure::StopClient | OnFailure::StopFleet => FailureVerdict::Left,
            OnFailure::Log | OnFailure::Retry(_) => FailureVerdict::Done,
        }
    }

    /// Our own code panicked on a message: a failure of its handler, as far as can be told.
    pub(crate) fn defect(&self, message: &Message, text: String) {
        let failure = Failure {
            kind: FailureKind::Handler,
            client: Arc::clone(&message.source().name),
            topic: Some(message.topic().to_owned()),
            message: text,
            panicked: true,
        };
        if caught(|| self.note(message.source(), &failure)).is_err() {
            message.source().counters.handler_panics.increment();
        }
    }

    fn note(&self, source: &Source, failure: &Failure) {
        match failure.panicked {
            true => {
                source.counters.handler_panics.increment();
                source
                    .log
                    .error(&failure.about(), format_args!("{failure}"));
            }
            false => {
                source.counters.handler_errors.increment();
                source.log.warn(&failure.about(), format_args!("{failure}"));
            }
        }
        (self.failed)(source.index, failure.clone());
    }
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureVerdict {
    /// Its acknowledgement.
    Done,
    /// It stays unacknowledged: see [`Message::leave`].
    Left,
}

/// How a call of a user's function ended.
enum Attempt {
    Done,
    /// It failed after a stop had refused a message that it wanted to publish.
    Left(Failure),
    Failed(Failure),
}

/// Calls a function of the user; its error or panic becomes a failure.
fn attempt(
    kind: FailureKind,
    message: &Message,
    function: impl FnOnce() -> HandlerResult,
) -> Attempt {
    let (called, was_refused) = stop_refusals::watched(|| call(function));
    let Err(Failed { text, panicked }) = called else {
        return Attempt::Done;
    };
    let failure = Failure {
        kind,
        client: Arc::clone(&message.source().name),
        topic: Some(message.topic().to_owned()),
        message: text,
        panicked,
    };
    // As long as its own client goes on, the message must have its end: those behind it wait for that.
    match was_refused && message.source().intake.is_closed() {
        true => {
            log::debug!("left at the stop: {failure}");
            Attempt::Left(failure)
        }
        false => Attempt::Failed(failure),
    }
}

impl Drop for Handling {
    /// By the worker that ends last.
    fn drop(&mut self) {
        let own = mem::take(&mut self.own).into_iter().flatten();
        mem::take(&mut self.fleet)
            .into_iter()
            .chain(own)
            .for_each(discard);
        discard(self.dead_letter.take());
    }
}

impl std::fmt::Debug for Handling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handling")
            .field("fleet_routes", &self.fleet.len())
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}
