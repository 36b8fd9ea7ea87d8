//! Who gets a message: subscriptions, shared subscriptions and retained messages.
//!
//! Knows client ids and filters, and neither sessions nor connections. Filters without a wildcard
//! are looked up, those with one are tried one after the other: good enough for a test broker.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::session::filter::topic_matches;
use crate::spec::qos::QoS;

/// A message on its way through the broker.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) payload: Bytes,
}

/// All subscriptions and all retained messages.
#[derive(Debug, Default)]
pub(super) struct Router {
    exact: HashMap<String, Subscribers>,
    wild: HashMap<String, Subscribers>,
    /// By the whole filter, `$share/group/filter`.
    shared: HashMap<String, Group>,
    /// The filters of each client, to find them when its session ends.
    filters: HashMap<Arc<str>, HashSet<String>>,
    /// Ordered, so that a new subscriber gets them in the same order each time.
    retained: BTreeMap<String, Message>,
}

type Subscribers = BTreeMap<Arc<str>, QoS>;

#[derive(Debug, Default)]
struct Group {
    members: Vec<(Arc<str>, QoS)>,
    next: usize,
}

impl Router {
    pub(super) fn subscribe(&mut self, client: &Arc<str>, filter: &str, qos: QoS) {
        let filters = self.filters.entry(client.clone()).or_default();
        filters.insert(filter.to_owned());
        if is_shared(filter) {
            let group = self.shared.entry(filter.to_owned()).or_default();
            group.members.retain(|(member, _)| member != client);
            group.members.push((client.clone(), qos));
        } else {
            let subscribers = self.table(filter).entry(filter.to_owned()).or_default();
            subscribers.insert(client.clone(), qos);
        }
    }

    pub(super) fn unsubscribe(&mut self, client: &Arc<str>, filter: &str) {
        if let Some(filters) = self.filters.get_mut(client) {
            filters.remove(filter);
        }
        self.remove(client, filter);
    }

    /// Ends all subscriptions of a client.
    pub(super) fn forget(&mut self, client: &Arc<str>) {
        for filter in self.filters.remove(client).unwrap_or_default() {
            self.remove(client, &filter);
        }
    }

    /// The receivers of a message, each at its granted QoS. A client with several filters that
    /// match is named once, at the highest [MQTT-3.3.5-1], and once for each group that chose it.
    pub(super) fn receivers(
        &mut self,
        topic: &str,
        is_online: impl Fn(&str) -> bool,
    ) -> Vec<(Arc<str>, QoS)> {
        let wild = self.wild.iter();
        let matching = wild
            .filter(|(filter, _)| topic_matches(filter, topic))
            .map(|(_, subscribers)| subscribers);
        let mut receivers = Subscribers::new();
        for (client, qos) in self.exact.get(topic).into_iter().chain(matching).flatten() {
            let highest = receivers.entry(client.clone()).or_default();
            *highest = (*highest).max(*qos);
        }
        let mut receivers: Vec<_> = receivers.into_iter().collect();
        for (filter, group) in &mut self.shared {
            if topic_matches(filter, topic) {
                receivers.extend(group.choose(&is_online));
            }
        }
        receivers
    }

    /// Keeps a message as its topic's retained one; an empty payload clears it [MQTT-3.3.1-10].
    pub(super) fn retain(&mut self, message: &Message) {
        if message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else {
            self.retained.insert(message.topic.clone(), message.clone());
        }
    }

    /// The retained messages that a new subscription gets; a shared one gets none.
    pub(super) fn retained(&self, filter: &str) -> Vec<Message> {
        if is_shared(filter) {
            return Vec::new();
        }
        self.retained
            .values()
            .filter(|message| topic_matches(filter, &message.topic))
            .cloned()
            .collect()
    }

    fn table(&mut self, filter: &str) -> &mut HashMap<String, Subscribers> {
        match filter.contains(['+', '#']) {
            true => &mut self.wild,
            false => &mut self.exact,
        }
    }

    fn remove(&mut self, client: &Arc<str>, filter: &str) {
        if is_shared(filter) {
            if let Some(group) = self.shared.get_mut(filter) {
                group.members.retain(|(member, _)| member != client);
                if group.members.is_empty() {
                    self.shared.remove(filter);
                }
            }
            return;
        }
        let table = self.table(filter);
        if let Some(subscribers) = table.get_mut(filter) {
            subscribers.remove(client);
            if subscribers.is_empty() {
                table.remove(filter);
            }
        }
    }
}

impl Group {
    /// In turn; members that are away are passed over unless all are.
    fn choose(&mut self, is_online: impl Fn(&str) -> bool) -> Option<(Arc<str>, QoS)> {
        let n_members = self.members.len();
        let turn = (0..n_members).map(|step| (self.next + step) % n_members);
        let online = turn.clone().find(|at| is_online(&self.members[*at].0));
        let chosen = online.or_else(|| turn.clone().next())?;
        self.next = (chosen + 1) % n_members;
        Some(self.members[chosen].clone())
    }
}

fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}
