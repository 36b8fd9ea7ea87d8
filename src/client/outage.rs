//! What the log says of an outage: its losses, its failed attempts, and its end.

use std::time::Instant;

use crate::{
    client::client_loop::{ClientLoop, Outage},
    observe::{
        cause::{Cause, OfAttempt},
        log_lines::what,
        state::Numbered,
        thinning::About,
    },
    supervise::log,
};

impl ClientLoop {
    /// The one line of a loss: also of one that is a failed attempt, because the connection was
    /// not stable yet.
    pub(super) fn log_loss(&mut self, cause: &Cause, is_stable: bool) {
        if is_stable {
            self.member.log.outage_is_over();
            self.outage = None;
        }
        let outage = self.outage();
        let attempt = match is_stable {
            true => String::new(),
            false => {
                outage.failed_attempts += 1;
                let attempt = Numbered(self.attempts.current(), self.attempts.limit());
                format!(" (before it was stable: attempt {attempt} failed)")
            }
        };
        // Another kind of line, so that it is not left out with the losses before it.
        let (what, hint) = match self.member.status.closes_again_and_again() {
            true => (
                what::LOST_AGAIN_AND_AGAIN,
                format!(
                    "; the broker closes each connection soon after CONNACK: another client may \
                     use the client id {:?}",
                    self.member.client_id
                ),
            ),
            false => (what::LOST, String::new()),
        };
        let (name, broker, text) = (
            &self.member.name,
            self.member.status.broker(),
            cause.to_string(),
        );
        let about = About {
            what,
            place: broker,
            text: &text,
        };
        self.member.log.warn(
            &about,
            format_args!("client {name}: disconnected from {broker}: {text}{attempt}{hint}"),
        );
    }

    /// A connect failed.
    pub(super) fn log_failed_connect(&mut self, cause: &Cause) {
        self.outage().failed_attempts += 1;
        let attempt = Numbered(self.attempts.current(), self.attempts.limit());
        let (name, broker, text) = (
            &self.member.name,
            self.member.status.broker(),
            OfAttempt(cause).to_string(),
        );
        let about = About {
            what: what::ATTEMPT_FAILED,
            place: broker,
            text: &text,
        };
        self.member.log.warn(
            &about,
            format_args!("client {name} at {broker}: attempt {attempt} failed: {text}"),
        );
    }

    /// A connection has begun. Where connections come and go this line is left out like others,
    /// and then written once one has become stable: the last word is how it is.
    pub(super) fn log_connect(&mut self) {
        self.log_end(what::CONNECTED);
    }

    /// The connection is stable: an outage whose end was left out is over for good.
    pub(super) fn log_stable(&mut self) {
        self.member.log.outage_is_over();
        self.log_end(what::STABLE);
    }

    fn log_end(&mut self, what: &'static str) {
        let (name, broker) = (&self.member.name, self.member.status.broker());
        let Some(outage) = self.outage else {
            log::debug!("client {name}: connected to {broker}");
            return;
        };
        let about = About {
            what,
            place: broker,
            text: "",
        };
        let lasted = outage.since.elapsed().as_secs_f64();
        let is_logged = self.member.log.info(
            &about,
            format_args!(
                "client {name}: connected to {broker} after an outage of {lasted:.1} s, failed attempts: {}",
                outage.failed_attempts
            ),
        );
        if is_logged {
            self.outage = None;
        }
    }

    fn outage(&mut self) -> &mut Outage {
        self.outage.get_or_insert_with(|| Outage {
            since: Instant::now(),
            failed_attempts: 0,
        })
    }
}
