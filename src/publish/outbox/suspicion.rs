//! Which message a broker closes the connection on, so that it does not stay in the way for ever.
//!
//! A broker that does not want a message may close the connection, and MQTT 3.1.1 gives it no way to say
//! why. The message is repeated on the next connection, and the broker closes again. So the first message
//! that is unacknowledged when the broker closes is a suspect, and counted. Before the count is full, the
//! suspects go out one at a time, behind a ping that is answered: when the connection ends then, it ended
//! on this message and on nothing else.

use std::time::{Duration, Instant};

use crate::{
    publish::{
        flight::Repeat,
        outbox::books::Books,
        receipt::{Fate, Slot},
    },
    spec::qos::QoS,
};

/// A broker that closes later than this after a message was sent does so for another reason.
const SOON: Duration = Duration::from_secs(10);

/// What a slow line moves at least: a large message takes its time to arrive.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Suspicion {
    suspect: Option<Suspect>,
    /// What was sent before goes out one at a time.
    pub(super) is_careful: bool,
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
    slot: Slot,
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
pub(crate) struct Ended {
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

/// What goes out next while messages go one at a time.
#[derive(Debug)]
pub(super) enum Turn {
    /// Not careful, or not any more.
    Free,
    Ping,
    Repeat(Repeat),
    /// The first one of the queue, or nothing until an answer comes.
    Alone,
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
    pub(super) fn born(&mut self) {
        self.unread_birth = Some(Instant::now());
    }

    /// The broker has answered to what was sent behind the birth message.
    pub(super) fn birth_read(&mut self) {
        self.unread_birth = None;
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
}

impl Books {
    /// What goes out next.
    pub(super) fn turn(&mut self) -> Turn {
        if !self.suspicion.is_careful {
            return Turn::Free;
        }
        match self.suspicion.ping {
            Ping::Due => return Turn::Ping,
            Ping::Sent => return Turn::Alone,
            Ping::Answered => {}
        }
        if self.flight.is_under_way() {
            return Turn::Alone;
        }
        if let Some(repeat) = self.flight.next_held() {
            self.suspicion.sent_alone();
            return Turn::Repeat(repeat);
        }
        if self.publishes.front().is_some_and(|it| it.stub.was_sent) {
            return Turn::Alone;
        }
        // All of what was sent before is acknowledged.
        self.suspicion.is_careful = false;
        Turn::Free
    }

    /// Whether no publish may leave now.
    pub(super) fn is_held_back(&self) -> bool {
        let suspicion = &self.suspicion;
        suspicion.is_careful && (suspicion.ping != Ping::Answered || self.flight.is_under_way())
    }

    /// A connection has ended, and what was unacknowledged on it is here again.
    pub(super) fn ended(&mut self, ended: Ended, most: Option<u32>) -> Verdict {
        let mut verdict = Verdict::default();
        // Nothing acknowledges a birth message of QoS 0. The ping behind the next one says more.
        let sent = self.suspicion.unread_birth.take();
        let is_unread = sent.is_some_and(|it| it.elapsed() < SOON);
        let is_doubted = is_unread && ended.by_broker && !ended.is_asked;
        let suspicion = &mut self.suspicion;
        suspicion.births = match is_doubted || self.flight.has_birth() {
            true => suspicion.births.saturating_add(1),
            false => 0,
        };
        if suspicion.births > 1 {
            verdict.is_again = true;
            let is_it = ended.by_broker && !ended.is_asked;
            verdict.closed_on = is_it.then_some(ClosedOn {
                topic: None,
                times: suspicion.births,
            });
        }
        self.ended_on_publish(ended, most, &mut verdict);
        self.suspicion.is_careful |= is_doubted;
        verdict
    }

    /// The same, for publishes.
    fn ended_on_publish(&mut self, ended: Ended, most: Option<u32>, verdict: &mut Verdict) {
        let suspicion = &mut self.suspicion;
        let was_careful = suspicion.is_careful;
        let Some((slot, topic, bytes)) = self.flight.first_sent() else {
            suspicion.suspect = None;
            suspicion.is_careful &= self.flight.accepted() > 0;
            return;
        };
        let before = suspicion.suspect.take().filter(|it| it.slot.is(&slot));
        let mut suspect = before.unwrap_or(Suspect {
            slot,
            ends: 0,
            closes: 0,
        });
        suspect.ends += 1;
        let is_alone = match was_careful {
            true => {
                let soon = SOON + Duration::from_secs(bytes as u64 / SLOWEST_BYTES_PER_SECOND);
                suspicion.sent_at.is_some_and(|it| it.elapsed() < soon)
            }
            false => self.flight.len() == 1 && !suspicion.is_blurred,
        };
        let is_alone = is_alone && !ended.is_asked;
        if ended.by_broker {
            // What is not alone is never more than suspected.
            let limit = most.filter(|_| !is_alone).map_or(u32::MAX, |most| most - 1);
            suspect.closes = (suspect.closes + 1).min(limit.max(suspect.closes));
        }
        verdict.is_again |= suspect.ends > 1;
        if ended.by_broker && suspect.closes > 1 {
            verdict.closed_on = Some(ClosedOn {
                topic: Some(topic.clone()),
                times: suspect.closes,
            });
        }
        if most.is_some_and(|most| ended.by_broker && is_alone && suspect.closes >= most) {
            verdict.is_given_up = true;
            verdict.closed_on = Some(ClosedOn {
                topic: Some(topic.clone()),
                times: suspect.closes,
            });
            self.give_up(&topic, suspect.closes);
            return;
        }
        suspicion.is_careful =
            (was_careful && is_alone) || most.is_some_and(|most| suspect.closes + 1 >= most);
        suspicion.suspect = Some(suspect);
    }

    /// The first message that was sent ends.
    fn give_up(&mut self, topic: &str, times: u32) {
        self.suspicion.suspect = None;
        self.suspicion.is_careful = false;
        let Some(mut flying) = self.flight.take_first_sent() else {
            return;
        };
        if let Some(slot) = &flying.slot {
            slot.name(topic, times);
        }
        let is_qos_2 = flying
            .message
            .as_ref()
            .is_some_and(|it| it.qos == QoS::ExactlyOnce);
        if is_qos_2 {
            // A broker that keeps the session may wait for PUBREL, and until then takes whatever has the
            // same identifier for a repetition.
            let (slot, message) = (flying.slot.take(), flying.message.take());
            self.spent.messages.extend(message);
            if let Some(slot) = slot {
                self.end(&slot, Fate::GivenUp);
            }
            flying.released = true;
            self.flight.push_front(flying);
        } else {
            self.window.acknowledged(flying.packet_id);
            self.end_flying(flying, Fate::GivenUp);
        }
    }
}
