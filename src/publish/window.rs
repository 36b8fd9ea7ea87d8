//! Which packet identifiers are in use, so that rumqttc never runs out of them or uses one twice.
//!
//! rumqttc stops reading requests when its own window is full and does not check whether the
//! identifier of a SUBSCRIBE is still taken. Our window is strictly smaller than its: then
//! neither can happen, and a request always wakes the network thread.

use std::collections::VecDeque;

use crate::spec::qos::QoS;

/// Identifiers kept free for SUBSCRIBE and UNSUBSCRIBE.
const RESERVE: u16 = 8;

/// At most this many publishes of QoS 2 are unacknowledged, whatever the window. mosquitto 2.0
/// completes the exchange for those beyond its `max_inflight_messages`, 20 unless configured, and
/// loses them; and it ends the connection of a client that sends anything of QoS 1 or 2 while it
/// has that many of QoS 2 open, and every further one, on which they are repeated. MQTT 3.1.1 has
/// no way to ask a broker for its limit; half of it leaves room.
const MOST_EXACTLY_ONCE: u16 = 10;

/// At most this many birth messages of one session wait for the end of their exchange at a time. One of
/// QoS 2 keeps its identifier until PUBCOMP comes, on whichever connection: a session whose connections
/// are all too short for that would use up every identifier.
pub(crate) const MOST_BIRTHS: usize = 4;

/// A window begins with this, and with as few identifiers, until so many publishes are
/// unacknowledged for the first time: rumqttc has 64 bytes for each identifier, and most clients of a
/// large fleet never have more than one or two publishes under way.
const FIRST_LIMIT: u16 = 8;

/// What was handed over and has no identifier yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ahead {
    /// Publishes of QoS 1 and 2.
    pub(crate) publishes: u16,
    /// Those of QoS 2 among them.
    pub(crate) exactly_once: u16,
    /// Publishes, and SUBSCRIBE and UNSUBSCRIBE.
    pub(crate) identifiers: u16,
}

/// What rumqttc must have from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    /// How many identifiers.
    pub(crate) ids: u16,
    /// The one that was used last.
    pub(crate) last: u16,
}

#[derive(Debug)]
pub(crate) struct Window {
    /// At most this many publishes are unacknowledged.
    limit: u16,
    /// What `limit` is once the window has grown.
    full: u16,
    /// rumqttc counts identifiers from 1 to this and around.
    ids: u16,
    /// The identifier that was used last, of any kind.
    last: u16,
    /// From the oldest unacknowledged publish on, in the order of sending.
    outstanding: VecDeque<Slot>,
    unacknowledged: u16,
    exactly_once: u16,
}

#[derive(Debug)]
struct Slot {
    packet_id: u16,
    qos: QoS,
    acknowledged: bool,
}

impl Window {
    /// How many identifiers rumqttc must have for a window of this size: twice as many, so that
    /// a broker which acknowledges out of order does not close it early.
    fn ids_for(limit: u16) -> u16 {
        limit.saturating_mul(2).saturating_add(2 * RESERVE)
    }

    /// How many identifiers rumqttc must have for a window that will be of this size and has not
    /// grown yet.
    pub(crate) fn first_ids(full: u16) -> u16 {
        Self::ids_for(full.min(FIRST_LIMIT))
    }

    pub(crate) fn new(full: u16) -> Self {
        let limit = full.min(FIRST_LIMIT);
        Self {
            limit,
            full,
            ids: Self::ids_for(limit),
            last: 0,
            outstanding: VecDeque::new(),
            unacknowledged: 0,
            exactly_once: 0,
        }
    }

    /// A publish of QoS 1 or 2 was written; of a repeated one only the repetition counts.
    pub(crate) fn published(&mut self, packet_id: u16, qos: QoS) {
        // What follows the last one is free, or it would not have been admitted.
        let is_next = packet_id == self.last % self.ids + 1;
        if !is_next && self.is_outstanding(packet_id) {
            return;
        }
        self.last = packet_id;
        self.unacknowledged += 1;
        self.exactly_once += u16::from(qos == QoS::ExactlyOnce);
        self.outstanding.push_back(Slot {
            packet_id,
            qos,
            acknowledged: false,
        });
    }

    /// Takes an identifier for a publish outside of rumqttc's count: the free one that the count
    /// reaches last. A birth message is sent on each connection, also while the window is full, so
    /// that with rumqttc's next identifier it would come round to one that is in use. `None` if all
    /// are in use, which [`MOST_BIRTHS`] rules out.
    pub(crate) fn reserve(&mut self, qos: QoS) -> Option<u16> {
        let id_of = |age: u16| (self.last + self.ids - age - 1) % self.ids + 1;
        let age = (0..self.ids).find(|age| !self.is_outstanding(id_of(*age)))?;
        let packet_id = id_of(age);
        // In its place by age, because the oldest identifier has to stay in front.
        let is_older = |slot: &&Slot| self.age(slot.packet_id) > age;
        let at = self.outstanding.iter().take_while(is_older).count();
        self.unacknowledged += 1;
        self.exactly_once += u16::from(qos == QoS::ExactlyOnce);
        self.outstanding.insert(
            at,
            Slot {
                packet_id,
                qos,
                acknowledged: false,
            },
        );
        Some(packet_id)
    }

    /// How many packets that take an identifier a connection may begin with.
    pub(crate) fn room(&self) -> u16 {
        self.ids - self.distance()
    }

    /// The identifier that was used last.
    pub(crate) fn last(&self) -> u16 {
        self.last
    }

    /// Another packet with an identifier was written.
    pub(crate) fn used(&mut self, packet_id: u16) {
        self.last = packet_id;
    }

    /// PUBACK or PUBCOMP came.
    pub(crate) fn acknowledged(&mut self, packet_id: u16) {
        let slot = self
            .outstanding
            .iter_mut()
            .find(|slot| slot.packet_id == packet_id && !slot.acknowledged);
        if let Some(slot) = slot {
            slot.acknowledged = true;
            self.unacknowledged -= 1;
            self.exactly_once -= u16::from(slot.qos == QoS::ExactlyOnce);
        }
        while self
            .outstanding
            .front()
            .is_some_and(|slot| slot.acknowledged)
        {
            self.outstanding.pop_front();
        }
    }

    /// Grows the window to its full size, if it was filled and was not yet of that size. The
    /// identifiers that are in use stay, and must not have come round: their order would be lost.
    pub(crate) fn grow(&mut self) -> Option<Growth> {
        let came_round = |oldest: &Slot| oldest.packet_id > self.last;
        if self.limit == self.full
            || self.unacknowledged < self.limit
            || self.outstanding.front().is_some_and(came_round)
        {
            return None;
        }
        self.limit = self.full;
        self.ids = Self::ids_for(self.full);
        Some(Growth {
            ids: self.ids,
            last: self.last,
        })
    }

    /// The session is gone, and with it what was outstanding. rumqttc counts on from where it is.
    pub(crate) fn forget(&mut self) {
        self.outstanding.clear();
        self.unacknowledged = 0;
        self.exactly_once = 0;
    }

    /// Whether a publish of QoS 1 or 2 may be handed over, behind others that were handed over
    /// and whose identifiers are not known yet.
    pub(crate) fn admits_publish(&self, qos: QoS, ahead: Ahead) -> bool {
        let exactly_once = self.exactly_once + ahead.exactly_once;
        let too_many = qos == QoS::ExactlyOnce && exactly_once >= MOST_EXACTLY_ONCE;
        !too_many
            && self.unacknowledged + ahead.publishes < self.limit
            && self.distance() + ahead.identifiers < self.ids - RESERVE
    }

    /// Whether a SUBSCRIBE or UNSUBSCRIBE may be handed over, behind those.
    pub(crate) fn admits_subscribe(&self, ahead: Ahead) -> bool {
        self.distance() + ahead.identifiers < self.ids
    }

    /// How many identifiers lie from the oldest unacknowledged one to the last used one.
    fn distance(&self) -> u16 {
        match self.outstanding.front() {
            None => 0,
            Some(oldest) => self.age(oldest.packet_id) + 1,
        }
    }

    /// How many identifiers were used after this one.
    fn age(&self, packet_id: u16) -> u16 {
        (self.last + self.ids - packet_id) % self.ids
    }

    fn is_outstanding(&self, packet_id: u16) -> bool {
        self.outstanding
            .iter()
            .any(|slot| slot.packet_id == packet_id && !slot.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// rumqttc's counter: 1 to `ids`, then 1 again.
    fn next(last: &mut u16, ids: u16) -> u16 {
        *last = if *last == ids { 1 } else { *last + 1 };
        *last
    }

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        /// Whatever the order of acknowledgements, an identifier is never handed out twice.
        #[test]
        fn identifiers_never_collide(
            limit in 1_u16..40, steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>()), 0..600),
        ) {
            let mut window = Window::new(limit);
            let mut ids = Window::first_ids(limit);
            let mut last = 0;
            let mut unacknowledged: Vec<u16> = Vec::new();
            let mut births: Vec<u16> = Vec::new();
            for (step, choice) in steps {
                match step {
                    0 if window.admits_subscribe(Ahead::default()) => {
                        let id = next(&mut last, ids);
                        prop_assert!(!unacknowledged.contains(&id), "SUBSCRIBE took {id}");
                        window.used(id);
                    }
                    1 | 2 if window.admits_publish(QoS::AtLeastOnce, Ahead::default()) => {
                        let id = next(&mut last, ids);
                        prop_assert!(!unacknowledged.contains(&id), "PUBLISH took {id}");
                        window.published(id, QoS::AtLeastOnce);
                        unacknowledged.push(id);
                    }
                    4 if births.len() < MOST_BIRTHS => {
                        let id = window.reserve(QoS::AtLeastOnce).unwrap();
                        prop_assert!(!unacknowledged.contains(&id), "the birth took {id}");
                        unacknowledged.push(id);
                        births.push(id);
                    }
                    3 if !unacknowledged.is_empty() => {
                        let id = unacknowledged.remove(choice.index(unacknowledged.len()));
                        window.acknowledged(id);
                        births.retain(|birth| *birth != id);
                    }
                    _ => {}
                }
                if let Some(growth) = window.grow() {
                    prop_assert_eq!(growth.last % ids, last % ids);
                    prop_assert!(unacknowledged.iter().all(|id| *id <= growth.last));
                    (ids, last) = (growth.ids, growth.last);
                }
                prop_assert!(unacknowledged.len() <= usize::from(limit) + MOST_BIRTHS);
            }
            for id in unacknowledged.drain(..) {
                window.acknowledged(id);
            }
            prop_assert!(window.admits_publish(QoS::AtLeastOnce, Ahead::default()) && window.admits_subscribe(Ahead::default()));
        }
    }
}
