//! What a client wants to receive, and how far the broker has agreed on this connection.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    session::{
        packet::{Control, split},
        unsubscribes::Unsubscribes,
    },
    spec::qos::QoS,
};

/// The standard does not have SUBSCRIBE repeated, so that an unanswered one stays unanswered.
const SUBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A subscription that the broker granted with a lower quality of service than was asked for
/// (section 3.9.3): messages come with the lower one at most.
///
/// ```
/// use mqtt_fleet::{ClientReport, QoS};
///
/// fn may_be_lost(client: &ClientReport) -> Vec<&str> {
///     let lowered = client.lowered_subscriptions().iter();
///     let unsafe_now = lowered.filter(|it| it.granted == QoS::AtMostOnce);
///     unsafe_now.map(|it| it.filter.as_str()).collect()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoweredSubscription {
    /// The filter.
    pub filter: String,
    /// What was asked for.
    pub asked: QoS,
    /// What was granted.
    pub granted: QoS,
}

/// The subscriptions of one client. They outlive connections.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    wanted: Vec<Wanted>,
    /// SUBSCRIBE packets without SUBACK, oldest first.
    unanswered: VecDeque<PendingSubscribe>,
    unsubscribes: Unsubscribes,
    /// How many filters a packet has at most; `None` is as many as fit.
    most_filters: Option<usize>,
    /// A packet of several filters was refused as a whole: they are asked for again, one each.
    is_doubted: bool,
}

#[derive(Debug)]
struct Wanted {
    filter: String,
    qos: QoS,
    progress: SubscribeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SubscribeState {
    /// The broker is yet to be asked.
    Unsent,
    Asked,
    Granted,
    Refused,
}

#[derive(Debug)]
struct PendingSubscribe {
    /// Known once the packet is sent.
    packet_id: Option<u16>,
    /// With the quality of service that was asked for.
    filters: Vec<(String, QoS)>,
    /// It was refused in a packet of several.
    is_doubted: bool,
    asked_at: Instant,
}

/// A subscription that the broker did not grant as it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shortfall {
    /// SUBACK with code 0x80.
    Refused(String),
    /// SUBACK with a lower quality of service.
    Lowered(LoweredSubscription),
}

impl Subscriptions {
    pub(crate) fn new(wanted: Vec<(String, QoS)>) -> Self {
        let mut subscriptions = Self::default();
        for (filter, qos) in wanted {
            subscriptions.want(filter, qos);
        }
        subscriptions
    }

    /// Puts this many filters into a packet, at most.
    pub(crate) fn at_most(mut self, filters: u16) -> Self {
        self.most_filters = Some(filters.into());
        self
    }

    /// Whether a packet with several filters was sent on the last connection and not answered: the
    /// broker may have closed it for that reason.
    fn left_several_unanswered(&self) -> bool {
        let is_several = |it: &PendingSubscribe| it.packet_id.is_some() && it.filters.len() > 1;
        self.unanswered.iter().any(is_several) || self.unsubscribes.left_several_unanswered()
    }

    /// Adds a filter, or changes the quality of service of one that is there.
    pub(crate) fn want(&mut self, filter: String, qos: QoS) {
        let wanted = Wanted {
            filter,
            qos,
            progress: SubscribeState::Unsent,
        };
        match self.find(&wanted.filter) {
            Some(known) => *known = wanted,
            None => self.wanted.push(wanted),
        }
    }

    /// Forgets a filter. Says whether it was there. The caller sends UNSUBSCRIBE if there is a
    /// connection; else the next one does, if the broker still has the session.
    pub(crate) fn drop_filter(&mut self, filter: &str, is_connected: bool) -> bool {
        let before = self.wanted.len();
        self.wanted.retain(|wanted| wanted.filter != filter);
        if self.wanted.len() == before {
            return false;
        }
        self.unsubscribes.add(filter, is_connected);
        true
    }

    /// A connection began. Without a session the broker knows of no subscription. Returns what it
    /// is to be told, in packets of at most `max_packet` bytes.
    pub(crate) fn connected(
        &mut self,
        session_present: bool,
        max_packet: usize,
        now: Instant,
    ) -> Vec<Control> {
        if self.left_several_unanswered() {
            self.most_filters = Some(1);
        }
        self.unanswered.clear();
        self.is_doubted = false;
        for wanted in &mut self.wanted {
            if !(session_present && wanted.progress == SubscribeState::Granted) {
                wanted.progress = SubscribeState::Unsent;
            }
        }
        let is_wanted = |filter: &String| self.wanted.iter().any(|it| it.filter == *filter);
        let is_unwanted = |filter: &String| session_present && !is_wanted(filter);
        let unsubscribe = self
            .unsubscribes
            .connected(is_unwanted, self.most_filters, max_packet);
        let unsubscribes = unsubscribe.into_iter().map(Control::Unsubscribe);
        let subscribes = self
            .ask(max_packet, now)
            .into_iter()
            .map(Control::Subscribe);
        unsubscribes.chain(subscribes).collect()
    }

    /// An UNSUBSCRIBE was sent: they leave in the order in which they were asked for.
    pub(crate) fn unsubscribe_written(&mut self, packet_id: u16) {
        self.unsubscribes.written(packet_id);
    }

    /// UNSUBACK came: the broker has forgotten the filters.
    pub(crate) fn unsubscribed(&mut self, packet_id: u16) {
        self.unsubscribes.answered(packet_id);
    }

    /// DISCONNECT was written: the broker reads the UNSUBSCRIBEs before it, and its answers do not
    /// matter any more.
    pub(crate) fn disconnect_written(&mut self) {
        self.unsubscribes.disconnect_written();
    }

    /// The filters that the broker may still have, though nobody wants them any more: UNSUBSCRIBE
    /// was not sent, or its connection broke before the answer. For a client that has ended.
    pub(crate) fn unfinished_unsubscribes(&self) -> Vec<String> {
        let is_wanted = |filter: &str| self.wanted.iter().any(|it| it.filter == filter);
        self.unsubscribes.unfinished(is_wanted)
    }

    /// What the broker is yet to be asked, in SUBSCRIBE packets of at most `max_packet` bytes.
    pub(crate) fn ask(&mut self, max_packet: usize, now: Instant) -> Vec<Vec<(String, QoS)>> {
        let mut unsent = Vec::new();
        for wanted in &mut self.wanted {
            if wanted.progress == SubscribeState::Unsent {
                wanted.progress = SubscribeState::Asked;
                unsent.push((wanted.filter.clone(), wanted.qos));
            }
        }
        let is_doubted = std::mem::take(&mut self.is_doubted);
        let most = match is_doubted {
            true => Some(1),
            false => self.most_filters,
        };
        let packets = split(unsent, most, max_packet, |(filter, _qos)| {
            2 + filter.len() + 1
        });
        for packet in &packets {
            self.unanswered.push_back(PendingSubscribe {
                packet_id: None,
                filters: packet.clone(),
                is_doubted,
                asked_at: now,
            });
        }
        packets
    }

    /// A SUBSCRIBE was sent: they leave in the order in which they were asked for.
    pub(crate) fn written(&mut self, packet_id: u16) {
        let next = self
            .unanswered
            .iter_mut()
            .find(|batch| batch.packet_id.is_none());
        if let Some(batch) = next {
            batch.packet_id = Some(packet_id);
        }
    }

    /// SUBACK came. Returns what was not granted as asked, or `None` if it does not have a code for
    /// each filter [MQTT-3.9.3-1]. Afterwards `ask` may have more to be sent: a broker may refuse a
    /// packet because it has several filters, so that those of one which was refused as a whole are asked
    /// for once more, one each.
    ///
    /// A higher quality of service than asked for is taken as granted: the standard has no answer
    /// to it, and what comes with it is handled like any other message.
    pub(crate) fn answered(
        &mut self,
        packet_id: u16,
        granted: &[Option<QoS>],
    ) -> Option<Vec<Shortfall>> {
        let position = self
            .unanswered
            .iter()
            .position(|batch| batch.packet_id == Some(packet_id));
        let Some(batch) = position.and_then(|at| self.unanswered.remove(at)) else {
            return Some(Vec::new());
        };
        if batch.filters.len() != granted.len() {
            return None;
        }
        let mut shortfalls = Vec::new();
        if granted.len() > 1 && granted.iter().all(Option::is_none) {
            for (filter, _) in batch.filters {
                match self.find(&filter) {
                    Some(wanted) if wanted.progress == SubscribeState::Asked => {
                        wanted.progress = SubscribeState::Unsent;
                        self.is_doubted = true;
                    }
                    _ => shortfalls.push(Shortfall::Refused(filter)),
                }
            }
            return Some(shortfalls);
        }
        if batch.is_doubted && granted.iter().any(Option::is_some) {
            // It was their number that the broker refused.
            self.most_filters = Some(1);
        }
        for ((filter, asked), granted) in batch.filters.into_iter().zip(granted.iter().copied()) {
            if let Some(wanted) = self.find(&filter) {
                if wanted.progress == SubscribeState::Asked {
                    wanted.progress = match granted {
                        Some(_) => SubscribeState::Granted,
                        None => SubscribeState::Refused,
                    };
                }
            }
            match granted {
                None => shortfalls.push(Shortfall::Refused(filter)),
                Some(granted) if granted < asked => {
                    shortfalls.push(Shortfall::Lowered(LoweredSubscription {
                        filter,
                        asked,
                        granted,
                    }));
                }
                Some(_) => {}
            }
        }
        Some(shortfalls)
    }

    /// Whether every wanted filter has its answer.
    pub(crate) fn all_answered(&self) -> bool {
        self.unanswered.is_empty()
            && self.wanted.iter().all(|wanted| {
                matches!(
                    wanted.progress,
                    SubscribeState::Granted | SubscribeState::Refused
                )
            })
    }

    /// When the oldest SUBSCRIBE that has no SUBACK is late.
    pub(crate) fn answer_due(&self) -> Option<Instant> {
        let oldest = self.unanswered.front()?;
        oldest.asked_at.checked_add(SUBACK_TIMEOUT)
    }

    /// Whether a SUBSCRIBE or UNSUBSCRIBE has no answer.
    pub(crate) fn is_asked(&self) -> bool {
        !self.unanswered.is_empty() || !self.unsubscribes.is_empty()
    }

    /// The answers have not been late until now: something large was in their way.
    pub(crate) fn wait_anew(&mut self, now: Instant) {
        for batch in &mut self.unanswered {
            batch.asked_at = now;
        }
    }

    fn find(&mut self, filter: &str) -> Option<&mut Wanted> {
        self.wanted
            .iter_mut()
            .find(|wanted| wanted.filter == filter)
    }
}

#[cfg(test)]
mod tests;
