//! What a client wants to receive, and how far the broker has agreed on this connection.

use std::{collections::VecDeque, time::Instant};

use crate::spec::qos::QoS;

/// The subscriptions of one client. They outlive connections.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    wanted: Vec<Wanted>,
    /// SUBSCRIBE packets without SUBACK, oldest first.
    unanswered: VecDeque<Batch>,
}

#[derive(Debug)]
struct Wanted {
    filter: String,
    qos: QoS,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The broker is yet to be asked.
    Unsent,
    Asked,
    Granted,
    Refused,
}

#[derive(Debug)]
struct Batch {
    /// Known once rumqttc has written the packet.
    packet_id: Option<u16>,
    filters: Vec<String>,
    asked_at: Instant,
}

impl Subscriptions {
    pub(crate) fn new(wanted: Vec<(String, QoS)>) -> Self {
        let mut subscriptions = Self::default();
        for (filter, qos) in wanted {
            subscriptions.want(filter, qos);
        }
        subscriptions
    }

    /// Adds a filter, or changes the quality of service of one that is there.
    pub(crate) fn want(&mut self, filter: String, qos: QoS) {
        let wanted = Wanted {
            filter,
            qos,
            progress: Progress::Unsent,
        };
        match self.find(&wanted.filter) {
            Some(known) => *known = wanted,
            None => self.wanted.push(wanted),
        }
    }

    /// Forgets a filter. Says whether it was there.
    pub(crate) fn drop_filter(&mut self, filter: &str) -> bool {
        let before = self.wanted.len();
        self.wanted.retain(|wanted| wanted.filter != filter);
        self.wanted.len() < before
    }

    /// A connection began. Without a session the broker knows of no subscription.
    pub(crate) fn connected(&mut self, session_present: bool) {
        self.unanswered.clear();
        for wanted in &mut self.wanted {
            if !(session_present && wanted.progress == Progress::Granted) {
                wanted.progress = Progress::Unsent;
            }
        }
    }

    /// What the broker is yet to be asked, in SUBSCRIBE packets of at most `max_packet` bytes.
    pub(crate) fn ask(&mut self, max_packet: usize) -> Vec<Vec<(String, QoS)>> {
        // Fixed header with its longest length field, and the packet identifier.
        const OVERHEAD: usize = 5 + 2;
        let mut packets: Vec<Vec<(String, QoS)>> = Vec::new();
        let mut size = usize::MAX;
        for wanted in &mut self.wanted {
            if wanted.progress != Progress::Unsent {
                continue;
            }
            wanted.progress = Progress::Asked;
            let entry = 2 + wanted.filter.len() + 1;
            if size.saturating_add(entry) > max_packet {
                packets.push(Vec::new());
                size = OVERHEAD;
            }
            size += entry;
            if let Some(packet) = packets.last_mut() {
                packet.push((wanted.filter.clone(), wanted.qos));
            }
        }
        for packet in &packets {
            self.unanswered.push_back(Batch {
                packet_id: None,
                filters: packet.iter().map(|(filter, _)| filter.clone()).collect(),
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

    /// SUBACK came. Returns the filters that were refused.
    pub(crate) fn answered(&mut self, packet_id: u16, granted: &[bool]) -> Vec<String> {
        let position = self
            .unanswered
            .iter()
            .position(|batch| batch.packet_id == Some(packet_id));
        let Some(batch) = position.and_then(|at| self.unanswered.remove(at)) else {
            return Vec::new();
        };
        let mut refused = Vec::new();
        for (n, filter) in batch.filters.into_iter().enumerate() {
            // A code for each filter is a must [MQTT-3.9.3-1]; a missing one grants nothing.
            let is_granted = granted.get(n).copied().unwrap_or(false);
            if let Some(wanted) = self.find(&filter) {
                if wanted.progress == Progress::Asked {
                    wanted.progress = match is_granted {
                        true => Progress::Granted,
                        false => Progress::Refused,
                    };
                }
            }
            if !is_granted {
                refused.push(filter);
            }
        }
        refused
    }

    /// Whether messages of QoS 2 can come.
    pub(crate) fn any_exactly_once(&self) -> bool {
        self.wanted
            .iter()
            .any(|wanted| wanted.qos == QoS::ExactlyOnce)
    }

    /// Whether every wanted filter has its answer.
    pub(crate) fn all_answered(&self) -> bool {
        self.unanswered.is_empty()
            && self
                .wanted
                .iter()
                .all(|wanted| matches!(wanted.progress, Progress::Granted | Progress::Refused))
    }

    /// Since when the oldest SUBSCRIBE waits for its SUBACK.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.unanswered.front().map(|batch| batch.asked_at)
    }

    fn find(&mut self, filter: &str) -> Option<&mut Wanted> {
        self.wanted
            .iter_mut()
            .find(|wanted| wanted.filter == filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Subscriptions {
        Subscriptions::new(vec![
            ("a".into(), QoS::AtMostOnce),
            ("b".into(), QoS::AtLeastOnce),
        ])
    }

    #[test]
    fn a_lost_session_asks_again_and_a_kept_one_does_not() {
        let mut subscriptions = two();
        subscriptions.connected(true);
        assert_eq!(subscriptions.ask(1_000).len(), 1);
        assert!(!subscriptions.all_answered());
        subscriptions.written(7);
        assert_eq!(subscriptions.answered(7, &[true, false]), ["b"]);
        assert!(subscriptions.all_answered());
        subscriptions.connected(true);
        let again = subscriptions.ask(1_000);
        assert_eq!(again, [[("b".to_owned(), QoS::AtLeastOnce)]]);
        subscriptions.connected(false);
        assert_eq!(subscriptions.ask(1_000)[0].len(), 2);
    }

    #[test]
    fn packets_stay_below_the_limit() {
        let wanted = (0..100)
            .map(|i| (format!("filter/{i:03}"), QoS::AtMostOnce))
            .collect();
        let mut subscriptions = Subscriptions::new(wanted);
        subscriptions.connected(false);
        let packets = subscriptions.ask(100);
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
        subscriptions.connected(false);
        subscriptions.ask(1_000);
        subscriptions.want("c".into(), QoS::AtMostOnce);
        subscriptions.ask(1_000);
        subscriptions.written(1);
        subscriptions.written(2);
        assert!(subscriptions.answered(9, &[true]).is_empty());
        assert!(subscriptions.answered(2, &[true]).is_empty());
        assert!(!subscriptions.all_answered());
        assert!(subscriptions.answered(1, &[true, true]).is_empty());
        assert!(subscriptions.all_answered());
        assert!(subscriptions.drop_filter("c"));
        assert!(!subscriptions.drop_filter("c"));
    }
}
