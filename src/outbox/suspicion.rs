//! Which message a broker closes the connection on, so that it does not stay in the way for ever.
//!
//! A broker that does not want a message may close the connection, and MQTT 3.1.1 gives it no way to say
//! why. The message is repeated on the next connection, and the broker closes again. So the first message
//! that is unacknowledged when the broker closes is a suspect, and counted. Before the count is full, the
//! suspects go out one at a time, behind a ping that is answered: when the connection ends then, it ended
//! on this message and on nothing else.

use std::time::{Duration, Instant};

use crate::outbox::completion::Completion;

/// A broker that closes later than this after a message was sent does so for another reason.
const SOON: Duration = Duration::from_secs(10);

/// What a slow line moves at least: a large message takes its time to arrive.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Suspicion {
    suspect: Option<Suspect>,
    /// What was sent before goes out one at a time.
    is_careful: bool,
    ping: Ping,
    /// When the one that is under way was sent.
    sent_at: Option<Instant>,
    /// A QoS 0 message was written, and nothing was acknowledged since.
    pub(super) is_blurred: bool,
    /// How many connections in a row ended before the birth message was acknowledged, or at QoS 0 before
    /// anything showed that the broker had read it.
    births: u32,
    /// When a birth message of QoS 0 was sent that the broker has perhaps not read yet.
    unread_birth: Option<Instant>,
}

#[derive(Debug)]
struct Suspect {
    completion: Completion,
    /// How many connections in a row ended with it as the first unacknowledged message.
    ends: u32,
    /// How many of them the broker closed.
    closes: u32,
}

/// A ping that is answered shows that the broker has read all that was sent before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Ping {
    #[default]
    Due,
    Sent,
    Answered,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConnectionEnd {
    /// The broker closed it, or it broke.
    pub(crate) by_broker: bool,
    /// A SUBSCRIBE or UNSUBSCRIBE was not answered: it may be that.
    pub(crate) is_asked: bool,
}

/// What the end of a connection says of the message that was under way.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The connection before ended with the same message in hand.
    pub(crate) is_again: bool,
    /// The broker has closed on it this many times in a row, and more than once.
    pub(crate) closed_on: Option<ClosedOn>,
    /// It was given up.
    pub(crate) is_given_up: bool,
}

/// A message that a broker closes on.
#[derive(Debug)]
pub(crate) struct ClosedOn {
    /// `None`: the birth message.
    pub(crate) topic: Option<String>,
    pub(crate) times: u32,
}

/// The first message that was sent on the connection that has ended, and not answered.
#[derive(Debug)]
pub(super) struct FirstSent {
    pub(super) completion: Completion,
    pub(super) topic: String,
    pub(super) bytes: usize,
    /// Nothing else is in flight.
    pub(super) is_only: bool,
}

/// What may go out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Everything: no message is suspected.
    Free,
    /// A ping, and nothing behind it until it is answered.
    Ping,
    /// One message that was sent before.
    Next,
    /// Nothing until an answer comes.
    Wait,
}

impl Suspicion {
    /// A new connection.
    pub(super) fn connected(&mut self) {
        self.ping = Ping::Due;
        self.sent_at = None;
        self.is_blurred = false;
        self.unread_birth = None;
    }

    /// A birth message of QoS 0 leaves, before any publish.
    pub(super) fn birth_sent(&mut self) {
        self.unread_birth = Some(Instant::now());
    }

    /// The broker has answered to what was sent behind the birth message.
    pub(super) fn birth_read(&mut self) {
        self.unread_birth = None;
    }

    pub(super) fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// What may go out next. A message may be under way already.
    pub(super) fn step(&self, is_under_way: bool) -> Step {
        match self.ping {
            _ if !self.is_careful => Step::Free,
            Ping::Due => Step::Ping,
            Ping::Answered if !is_under_way => Step::Next,
            Ping::Sent | Ping::Answered => Step::Wait,
        }
    }

    pub(super) fn pinged(&mut self) {
        self.ping = Ping::Sent;
    }

    /// PINGRESP came.
    pub(super) fn answered(&mut self) {
        self.birth_read();
        if self.ping == Ping::Sent {
            self.ping = Ping::Answered;
        }
    }

    /// A message leaves that may be the one.
    pub(super) fn sent_alone(&mut self) {
        self.sent_at = Some(Instant::now());
    }

    /// Everything that was suspected is acknowledged.
    pub(super) fn clear(&mut self) {
        self.is_careful = false;
    }

    /// A connection has ended, on which this was the first message without an answer.
    pub(super) fn judge(
        &mut self,
        first: Option<FirstSent>,
        has_birth: bool,
        n_accepted: usize,
        ended: ConnectionEnd,
        most: Option<u32>,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        // Nothing acknowledges a birth message of QoS 0. The ping behind the next one says more.
        let sent = self.unread_birth.take();
        let is_unread = sent.is_some_and(|it| it.elapsed() < SOON);
        let is_doubted = is_unread && ended.by_broker && !ended.is_asked;
        self.births = match is_doubted || has_birth {
            true => self.births.saturating_add(1),
            false => 0,
        };
        if self.births > 1 {
            verdict.is_again = true;
            let is_it = ended.by_broker && !ended.is_asked;
            verdict.closed_on = is_it.then_some(ClosedOn {
                topic: None,
                times: self.births,
            });
        }
        match first {
            Some(first) => self.judge_publish(first, ended, most, &mut verdict),
            None => {
                self.suspect = None;
                self.is_careful &= n_accepted > 0;
            }
        }
        self.is_careful |= is_doubted;
        verdict
    }

    fn judge_publish(
        &mut self,
        first: FirstSent,
        ended: ConnectionEnd,
        most: Option<u32>,
        verdict: &mut Verdict,
    ) {
        let was_careful = self.is_careful;
        let before = self
            .suspect
            .take()
            .filter(|it| it.completion.is(&first.completion));
        let mut suspect = before.unwrap_or(Suspect {
            completion: first.completion,
            ends: 0,
            closes: 0,
        });
        suspect.ends += 1;
        let is_alone = match was_careful {
            true => {
                let soon =
                    SOON + Duration::from_secs(first.bytes as u64 / SLOWEST_BYTES_PER_SECOND);
                self.sent_at.is_some_and(|it| it.elapsed() < soon)
            }
            false => first.is_only && !self.is_blurred,
        };
        let is_alone = is_alone && !ended.is_asked;
        if ended.by_broker {
            // What is not alone is never more than suspected.
            let limit = most.filter(|_| !is_alone).map_or(u32::MAX, |most| most - 1);
            suspect.closes = (suspect.closes + 1).min(limit.max(suspect.closes));
        }
        verdict.is_again |= suspect.ends > 1;
        verdict.is_given_up =
            most.is_some_and(|most| ended.by_broker && is_alone && suspect.closes >= most);
        if ended.by_broker && (suspect.closes > 1 || verdict.is_given_up) {
            verdict.closed_on = Some(ClosedOn {
                topic: Some(first.topic),
                times: suspect.closes,
            });
        }
        if verdict.is_given_up {
            self.is_careful = false;
            return;
        }
        self.is_careful =
            (was_careful && is_alone) || most.is_some_and(|most| suspect.closes + 1 >= most);
        self.suspect = Some(suspect);
    }
}
