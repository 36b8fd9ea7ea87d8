//! Which handlers a message goes to, and what follows when one of them fails.

use std::{mem, sync::Arc};

use crate::{
    inbox::message::{Handler, HandlerResult, Message, Routes, Source},
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

/// What a message is given to when all else failed.
pub(crate) type DeadLetter = Arc<dyn Fn(&Message, &Failure) -> HandlerResult + Send + Sync>;

/// Everything that workers do with a message.
pub(crate) struct Handling {
    /// Handlers for the messages of all clients.
    pub(crate) fleet: Routes,
    /// Those of each client are in its [`Source`]. They are kept here too, so that the worker that ends last
    /// drops them, and no network thread.
    pub(crate) own: Vec<Arc<Routes>>,
    pub(crate) on_failure: OnFailure,
    pub(crate) dead_letter: Option<DeadLetter>,
}

impl Handling {
    /// Runs all matching handlers, one after the other.
    pub(crate) fn handle(&self, message: &mut Message) {
        let mut verdict = None;
        for route in self.fleet.iter().chain(message.source().routes.iter()) {
            if topic_matches(&route.filter, message.topic()) {
                verdict = Some(self.run(&route.handler, message));
                if verdict == Some(FailureVerdict::Left) {
                    break;
                }
            }
        }
        match verdict {
            None => message.unmatched(),
            Some(FailureVerdict::Left) => message.leave(),
            Some(FailureVerdict::Done) => {}
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
            if message
                .source()
                .intake
                .pause(repeat.pause_before(repetition))
            {
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
        (source.failed)(failure.clone());
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
        drop(mem::take(&mut self.fleet));
        self.own.clear();
        discard(self.dead_letter.take());
    }
}

impl std::fmt::Debug for Handling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handling")
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}
