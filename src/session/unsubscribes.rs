//! The filters that the broker is to forget, until it says that it has.

use std::collections::{HashSet, VecDeque};

use crate::session::packet::split;

/// UNSUBSCRIBE packets without UNSUBACK, oldest first. They outlive connections: the broker may keep the
/// session.
#[derive(Debug, Default)]
pub(super) struct Unsubscribes(VecDeque<PendingUnsubscribe>);

/// It may still know the filters in a kept session.
#[derive(Debug)]
struct PendingUnsubscribe {
    /// Known once the packet is sent.
    packet_id: Option<u16>,
    filters: Vec<String>,
}

impl Unsubscribes {
    /// A filter is not wanted any more. Without a connection it is noted once.
    pub(super) fn add(&mut self, filter: &str, is_connected: bool) {
        let is_noted = |pending: &PendingUnsubscribe| pending.filters.iter().any(|it| it == filter);
        if is_connected || !self.0.iter().any(is_noted) {
            self.0.push_back(PendingUnsubscribe {
                packet_id: None,
                filters: vec![filter.to_owned()],
            });
        }
    }

    /// A connection began. Returns what the broker is to forget, each filter once, in packets of at most
    /// `most` filters and `max_packet` bytes.
    pub(super) fn connected(
        &mut self,
        is_unwanted: impl Fn(&String) -> bool,
        most: Option<usize>,
        max_packet: usize,
    ) -> Vec<Vec<String>> {
        let mut unwanted = Vec::new();
        for filter in self.0.drain(..).flat_map(|it| it.filters) {
            if is_unwanted(&filter) && !unwanted.contains(&filter) {
                unwanted.push(filter);
            }
        }
        let packets = split(unwanted, most, max_packet, |filter| 2 + filter.len());
        self.0
            .extend(packets.iter().map(|filters| PendingUnsubscribe {
                packet_id: None,
                filters: filters.clone(),
            }));
        packets
    }

    /// A packet was sent: they leave in the order in which they were asked for.
    pub(super) fn written(&mut self, packet_id: u16) {
        let mut unsent = self.0.iter_mut();
        if let Some(next) = unsent.find(|it| it.packet_id.is_none()) {
            next.packet_id = Some(packet_id);
        }
    }

    /// UNSUBACK came.
    pub(super) fn answered(&mut self, packet_id: u16) {
        self.0
            .retain(|pending| pending.packet_id != Some(packet_id));
    }

    /// DISCONNECT was written: the broker reads what was sent before it, and its answers do not matter.
    pub(super) fn disconnect_written(&mut self) {
        self.0.retain(|pending| pending.packet_id.is_none());
    }

    /// Whether a packet with several filters was sent and not answered.
    pub(super) fn left_several_unanswered(&self) -> bool {
        let mut pending = self.0.iter();
        pending.any(|it| it.packet_id.is_some() && it.filters.len() > 1)
    }

    /// The filters that the broker may still have and that are not wanted, each once.
    pub(super) fn unfinished(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut known = HashSet::new();
        let filters = self.0.iter().flat_map(|it| &it.filters);
        filters
            .filter(|filter| !is_wanted(filter) && known.insert(filter.as_str()))
            .cloned()
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
