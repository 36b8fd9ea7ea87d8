//! The network thread of one client: connect, iterate, count, pause, and end with an outcome.
//!
//! It blocks on nothing but its engine ([`Engine::connect`] and [`Engine::next`]), a name look-up, the user's
//! credentials function or password file, a pause that the stop signal ends, a wait of 200 µs at most for
//! what is about to be sent, and, after DISCONNECT, the broker's closing of the connection for 100 ms at
//! most.
//!
//! [`Engine::connect`]: crate::engine::Engine::connect
//! [`Engine::next`]: crate::engine::Engine::next

use std::time::{Duration, Instant};

use crate::{
    client::client_loop::{After, ClientLoop},
    observe::{
        cause::Cause,
        state::{ClientState, Outcome},
    },
    outbox::suspicion::ConnectionEnd,
    spec::retry::Next,
    supervise::stop::deadline_after,
};

impl ClientLoop {
    /// Runs until the client has ended.
    pub(crate) fn run(&mut self) -> Outcome {
        while !self.member.stop.is_raised() {
            let after = match self.attempt() {
                Ok(session_present) => self.session(session_present),
                // No attempt was made any more: the loop ends.
                Err(None) => continue,
                Err(Some(cause)) if self.member.stop.is_raised() => {
                    // It failed while nobody waited for it any more. The report still says so.
                    self.member.counters.failed_attempts.increment();
                    self.member.status.failed_at_the_end(cause);
                    continue;
                }
                Err(Some(cause)) => self.connect_failed(cause),
            };
            match after {
                After::Pause(pause) => {
                    let (shortest, longest) = pause.into_inner();
                    let jitter = longest.saturating_sub(shortest).mul_f64(fastrand::f64());
                    self.pause(shortest + jitter);
                }
                After::End(outcome) => return outcome,
            }
        }
        match (self.ending.take(), self.member.status.fatal()) {
            (Some(outcome), _) => outcome,
            (None, Some(failure)) => Outcome::Failed { failure },
            (None, None) => Outcome::Stopped,
        }
    }

    /// Waits for the next attempt. What grows too old meanwhile ends on time.
    fn pause(&self, pause: Duration) {
        let until = deadline_after(pause);
        loop {
            let expires_at = self.member.outbox.expire();
            let wake_at = [until, expires_at].into_iter().flatten().min();
            let left = wake_at.map_or(Duration::MAX, |wake_at| {
                wake_at.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
            });
            let is_over = || until.is_some_and(|until| Instant::now() >= until);
            if self.member.stop.pause(left) || is_over() {
                return;
            }
        }
    }

    /// The thread panicked: what it had in its hands goes back to where it can be accounted for.
    pub(crate) fn abandon(&mut self) {
        self.dispatch.flush();
        let (progress, batch) = (&mut self.progress, &mut self.batch);
        self.member
            .outbox
            .disconnected(progress, batch, ConnectionEnd::default(), || false);
    }

    /// One attempt to connect. Says whether the broker had the session, or why it failed: `None` if
    /// a stop came before it was made.
    #[inline(never)]
    fn attempt(&mut self) -> Result<bool, Option<Cause>> {
        if let Some(pacer) = &self.pacer {
            if !pacer.turn(&self.member.stop) {
                return Err(None);
            }
        }
        self.member.status.set_broker(self.brokers.current());
        self.member.status.set(ClientState::Connecting {
            attempt: self.attempts.current(),
            of: self.attempts.limit(),
        });
        self.member.outbox.expire();
        let (address, targets) = self.brokers.resolve()?;
        let login = self.brokers.login()?;
        if let Some(pacer) = &self.pacer {
            if !pacer.permit(&self.member.stop) {
                return Err(None);
            }
        }
        let mut last = None;
        for target in targets {
            // Looked at last of all: after a stop no connect is made.
            if self.member.stop.is_raised() {
                break;
            }
            self.brokers.trying(&target);
            self.engine
                .set_target(&address, target.clone(), login.clone());
            let connected = self.engine.connect();
            if login.is_some() {
                self.engine.forget_login();
            }
            let cause = match connected {
                Ok(session_present) => return Ok(session_present),
                Err(cause) => cause,
            };
            self.brokers.failed(&target, &cause);
            // An address that refuses at once leaves the attempt to the next one of the name.
            let refused = matches!(cause, Cause::Connect { .. });
            last = Some(cause);
            if !refused {
                break;
            }
        }
        self.engine.close();
        Err(last)
    }

    /// A connect failed.
    #[inline(never)]
    fn connect_failed(&mut self, cause: Cause) -> After {
        self.log_failed_connect(&cause);
        self.attempt_failed(cause)
    }

    /// A connect failed, or a connection ended before it was stable: what follows.
    #[inline(never)]
    pub(super) fn attempt_failed(&mut self, cause: Cause) -> After {
        if matches!(cause, Cause::Connect { .. }) {
            self.member.outbox.broker_away();
        }
        let attempt = self.attempts.current();
        self.member.counters.failed_attempts.increment();
        self.member.status.set(ClientState::AttemptFailed {
            attempt,
            of: self.attempts.limit(),
            cause: cause.clone(),
        });
        if let Some(outcome) = self.refused_for_good(&cause) {
            if !self.brokers.rule_out() {
                return After::End(outcome);
            }
        }
        match self.attempts.failed() {
            Next::Pause(pause) => {
                self.brokers.turn();
                After::Pause(pause)
            }
            Next::GiveUp => After::End(Outcome::RetriesExhausted {
                attempts: attempt,
                last_error: cause,
            }),
        }
    }

    /// The end that this means for a client that has no other broker, if it means one: the same
    /// attempt would fail again.
    fn refused_for_good(&self, cause: &Cause) -> Option<Outcome> {
        // A broker that was not told its name may have answered as another one.
        if self.attempts.retries_refusals() || self.brokers.is_on_detour() {
            return None;
        }
        match cause {
            Cause::Refused(code) if code.is_permanent() => Some(Outcome::Refused { code: *code }),
            Cause::Certificate { .. } => Some(Outcome::Certificate {
                last_error: cause.clone(),
            }),
            // A broker that has spoken MQTT before may recover.
            Cause::NotMqtt { .. } if !self.brokers.speaks_mqtt() => Some(Outcome::NotMqtt {
                last_error: cause.clone(),
            }),
            _ => None,
        }
    }
}
