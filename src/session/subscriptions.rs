//! What a client wants to receive, and how far the broker has agreed on this connection.

use std::{
    collections::{HashSet, VecDeque},
    time::Instant,
};

use crate::{session::packet::Control, spec::qos::QoS};

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
    /// UNSUBSCRIBE packets without UNSUBACK, oldest first.
    unsubscribing: VecDeque<PendingUnsubscribe>,
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
    /// Known once rumqttc has written the packet.
    packet_id: Option<u16>,
    /// With the quality of service that was asked for.
    filters: Vec<(String, QoS)>,
    /// It was refused in a packet of several.
    is_doubted: bool,
    asked_at: Instant,
}

/// What the broker is to forget. It may still know it in a kept session.
#[derive(Debug)]
struct PendingUnsubscribe {
    /// Known once rumqttc has written the packet.
    packet_id: Option<u16>,
    filters: Vec<String>,
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

    /// Puts so many filters into a packet, at most.
    pub(crate) fn at_most(mut self, filters: u16) -> Self {
        self.most_filters = Some(filters.into());
        self
    }

    /// Whether a packet with several filters was sent on the last connection and not answered: the
    /// broker may have closed it for that reason.
    fn left_several_unanswered(&self) -> bool {
        let subscribes = self.unanswered.iter();
        let subscribes = subscribes.map(|it| (it.packet_id, it.filters.len()));
        let unsubscribes = self.unsubscribing.iter();
        let unsubscribes = unsubscribes.map(|it| (it.packet_id, it.filters.len()));
        subscribes
            .chain(unsubscribes)
            .any(|(packet_id, filters)| packet_id.is_some() && filters > 1)
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
        let is_noted = |pending: &PendingUnsubscribe| pending.filters.iter().any(|it| it == filter);
        if is_connected || !self.unsubscribing.iter().any(is_noted) {
            self.unsubscribing.push_back(PendingUnsubscribe {
                packet_id: None,
                filters: vec![filter.to_owned()],
            });
        }
        true
    }

    /// A connection began. Without a session the broker knows of no subscription. Returns what it
    /// is to be told, in packets of at most `max_packet` bytes.
    pub(crate) fn connected(&mut self, session_present: bool, max_packet: usize) -> Vec<Control> {
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
        let mut unwanted = Vec::new();
        for filter in self.unsubscribing.drain(..).flat_map(|it| it.filters) {
            let is_wanted = self.wanted.iter().any(|wanted| wanted.filter == filter);
            if session_present && !is_wanted && !unwanted.contains(&filter) {
                unwanted.push(filter);
            }
        }
        let unsubscribe = split(unwanted, self.most_filters, max_packet, |filter| {
            2 + filter.len()
        });
        self.unsubscribing
            .extend(unsubscribe.iter().map(|filters| PendingUnsubscribe {
                packet_id: None,
                filters: filters.clone(),
            }));
        let unsubscribes = unsubscribe.into_iter().map(Control::Unsubscribe);
        let subscribes = self.ask(max_packet).into_iter().map(Control::Subscribe);
        unsubscribes.chain(subscribes).collect()
    }

    /// rumqttc wrote an UNSUBSCRIBE: they leave in the order in which they were asked for.
    pub(crate) fn unsubscribe_written(&mut self, packet_id: u16) {
        let mut unsent = self.unsubscribing.iter_mut();
        if let Some(next) = unsent.find(|it| it.packet_id.is_none()) {
            next.packet_id = Some(packet_id);
        }
    }

    /// UNSUBACK came: the broker has forgotten the filters.
    pub(crate) fn unsubscribed(&mut self, packet_id: u16) {
        self.unsubscribing
            .retain(|pending| pending.packet_id != Some(packet_id));
    }

    /// DISCONNECT was written: the broker reads the UNSUBSCRIBEs before it, and its answers do not
    /// matter any more.
    pub(crate) fn disconnect_written(&mut self) {
        self.unsubscribing
            .retain(|pending| pending.packet_id.is_none());
    }

    /// The filters that the broker may still have, though nobody wants them any more: UNSUBSCRIBE
    /// was not sent, or its connection broke before the answer. For a client that has ended.
    pub(crate) fn unfinished_unsubscribes(&self) -> Vec<String> {
        let mut known: HashSet<&str> = self.wanted.iter().map(|it| it.filter.as_str()).collect();
        let unwanted = self.unsubscribing.iter().flat_map(|it| &it.filters);
        unwanted
            .filter(|filter| known.insert(filter))
            .cloned()
            .collect()
    }

    /// What the broker is yet to be asked, in SUBSCRIBE packets of at most `max_packet` bytes.
    pub(crate) fn ask(&mut self, max_packet: usize) -> Vec<Vec<(String, QoS)>> {
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
                asked_at: Instant::now(),
            });
        }
        packets
    }

    /// rumqttc wrote a SUBSCRIBE: they leave in the order in which they were asked for.
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

    /// Since when the oldest SUBSCRIBE waits for its SUBACK.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.unanswered.front().map(|batch| batch.asked_at)
    }

    /// Whether a SUBSCRIBE or UNSUBSCRIBE has no answer.
    pub(crate) fn is_asked(&self) -> bool {
        !self.unanswered.is_empty() || !self.unsubscribing.is_empty()
    }

    /// The answers have not been late until now: something large was in their way.
    pub(crate) fn wait_anew(&mut self) {
        let now = Instant::now();
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

/// Puts entries into packets of at most `most` entries and `max_packet` bytes, at least one into each.
fn split<T>(
    entries: Vec<T>,
    most: Option<usize>,
    max_packet: usize,
    bytes: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    // Fixed header with its longest length field, and the packet identifier.
    const OVERHEAD: usize = 5 + 2;
    let mut packets: Vec<Vec<T>> = Vec::new();
    let mut size = OVERHEAD;
    for entry in entries {
        size += bytes(&entry);
        match packets.last_mut() {
            Some(packet) if size <= max_packet && most.is_none_or(|most| packet.len() < most) => {
                packet.push(entry);
            }
            _ => {
                size = OVERHEAD + bytes(&entry);
                packets.push(vec![entry]);
            }
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    type Unsubscribes = Vec<Vec<String>>;
    type Subscribes = Vec<Vec<(String, QoS)>>;

    /// What a connection begins with.
    fn connected(
        subscriptions: &mut Subscriptions,
        session_present: bool,
        max_packet: usize,
    ) -> (Unsubscribes, Subscribes) {
        let (mut unsubscribe, mut subscribe) = (Vec::new(), Vec::new());
        for control in subscriptions.connected(session_present, max_packet) {
            match control {
                Control::Unsubscribe(filters) => {
                    assert!(subscribe.is_empty(), "UNSUBSCRIBE comes first");
                    unsubscribe.push(filters);
                }
                Control::Subscribe(filters) => subscribe.push(filters),
                control => panic!("{control:?}"),
            }
        }
        (unsubscribe, subscribe)
    }

    fn two() -> Subscriptions {
        Subscriptions::new(vec![
            ("a".into(), QoS::AtMostOnce),
            ("b".into(), QoS::AtLeastOnce),
        ])
    }

    #[test]
    fn a_lost_session_asks_again_and_a_kept_one_does_not() {
        let mut subscriptions = two();
        assert_eq!(connected(&mut subscriptions, true, 1_000).1.len(), 1);
        assert!(!subscriptions.all_answered());
        subscriptions.written(7);
        let granted = Some(QoS::AtMostOnce);
        let refused = [Shortfall::Refused("b".to_owned())];
        assert_eq!(
            subscriptions.answered(7, &[granted, None]).unwrap(),
            refused
        );
        assert!(subscriptions.all_answered());
        let again = connected(&mut subscriptions, true, 1_000).1;
        assert_eq!(again, [[("b".to_owned(), QoS::AtLeastOnce)]]);
        let anew = connected(&mut subscriptions, false, 1_000).1;
        assert_eq!(anew[0].len(), 2);
    }

    #[test]
    fn packets_stay_below_the_limit() {
        let wanted = (0..100)
            .map(|i| (format!("filter/{i:03}"), QoS::AtMostOnce))
            .collect();
        let mut subscriptions = Subscriptions::new(wanted);
        let packets = connected(&mut subscriptions, false, 100).1;
        assert!(
            packets
                .iter()
                .all(|packet| packet.len() == 7 || packet.len() == 2)
        );
        assert_eq!(packets.iter().map(Vec::len).sum::<usize>(), 100);
    }

    #[test]
    fn answers_are_matched_by_identifier() {
        let mut subscriptions = two();
        subscriptions.connected(false, 1_000);
        subscriptions.want("c".into(), QoS::AtMostOnce);
        subscriptions.ask(1_000);
        subscriptions.written(1);
        subscriptions.written(2);
        let granted = Some(QoS::AtLeastOnce);
        assert!(subscriptions.answered(9, &[granted]).unwrap().is_empty());
        assert!(subscriptions.answered(2, &[granted]).unwrap().is_empty());
        assert!(!subscriptions.all_answered());
        let both = subscriptions.answered(1, &[granted, granted]);
        assert!(both.unwrap().is_empty());
        assert!(subscriptions.all_answered());
        assert!(subscriptions.drop_filter("c", true));
        assert!(!subscriptions.drop_filter("c", true));
    }

    /// Fails when a lower quality of service is taken for the one that was asked for at that time, or
    /// a higher one for a lower.
    #[test]
    fn what_is_granted_is_compared_with_what_was_asked() {
        let mut subscriptions = two();
        subscriptions.connected(false, 1_000);
        subscriptions.written(1);
        // Asked again before the answer, with another quality of service.
        subscriptions.want("b".into(), QoS::ExactlyOnce);
        subscriptions.ask(1_000);
        subscriptions.written(2);
        let once = Some(QoS::AtLeastOnce);
        assert_eq!(subscriptions.answered(1, &[once, once]).unwrap(), []);
        let lowered = [Shortfall::Lowered(LoweredSubscription {
            filter: "b".to_owned(),
            asked: QoS::ExactlyOnce,
            granted: QoS::AtLeastOnce,
        })];
        assert_eq!(subscriptions.answered(2, &[once]).unwrap(), lowered);
        assert!(subscriptions.all_answered());
    }

    #[test]
    fn a_kept_session_is_told_what_to_forget_until_it_has_answered() {
        let mut subscriptions = two();
        subscriptions.connected(false, 1_000);
        assert!(subscriptions.drop_filter("a", true));
        subscriptions.unsubscribe_written(3);
        assert!(subscriptions.drop_filter("b", false));
        // Wanted again: SUBSCRIBE says it all.
        subscriptions.want("b".into(), QoS::AtMostOnce);
        let opening = connected(&mut subscriptions, true, 1_000);
        assert_eq!(opening.0, [["a"]]);
        assert_eq!(opening.1, [[("b".to_owned(), QoS::AtMostOnce)]]);
        subscriptions.unsubscribe_written(4);
        subscriptions.unsubscribed(3);
        assert_eq!(connected(&mut subscriptions, true, 1_000).0, [["a"]]);
        subscriptions.unsubscribe_written(5);
        assert_eq!(subscriptions.unfinished_unsubscribes(), ["a"], "no answer");
        subscriptions.unsubscribed(5);
        assert_eq!(subscriptions.unfinished_unsubscribes(), [""; 0]);
        assert_eq!(connected(&mut subscriptions, true, 1_000).0.len(), 0);
        assert!(subscriptions.drop_filter("b", false));
        subscriptions.disconnect_written();
        assert_eq!(
            subscriptions.unfinished_unsubscribes(),
            ["b"],
            "not written"
        );
        assert!(subscriptions.connected(false, 1_000).is_empty());
        assert_eq!(subscriptions.unfinished_unsubscribes(), [""; 0]);
        subscriptions.want("c".into(), QoS::AtMostOnce);
        assert!(subscriptions.drop_filter("c", true));
        subscriptions.unsubscribe_written(6);
        subscriptions.disconnect_written();
        assert_eq!(subscriptions.unfinished_unsubscribes(), [""; 0], "written");
    }
}
