//! Which packet identifiers are in use, and how many publishes may be unacknowledged.
//!
//! Identifiers are handed out in rotation: the one that was freed last is used again last, so that a
//! late or repeated answer names no newer packet. They stay small, so that an engine may index a
//! table by them: the range begins with a few identifiers and grows when half of them are in use.

use crate::spec::qos::QoS;

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

/// Most clients of a large fleet never have more than one or two publishes under way.
const FIRST_RANGE: u16 = 16;

/// How much larger the next range is.
const GROWTH: u16 = 8;

/// The identifiers of one client's session.
#[derive(Debug)]
pub(crate) struct PacketIds {
    /// At most this many publishes are unacknowledged.
    window: u16,
    /// Identifiers are taken from 1 to this.
    range: u16,
    /// The identifier that was taken last.
    last: u16,
    /// One bit for each identifier of the range; bit 0 stays unused.
    used: Vec<u64>,
    n_used: u16,
    publishes: u16,
    exactly_once: u16,
    /// Those of SUBSCRIBE and UNSUBSCRIBE packets that were not answered. They belong to one connection.
    requests: Vec<u16>,
}

impl PacketIds {
    pub(crate) fn new(window: u16) -> Self {
        Self {
            window,
            range: FIRST_RANGE,
            last: 0,
            used: vec![0; words(FIRST_RANGE)],
            n_used: 0,
            publishes: 0,
            exactly_once: 0,
            requests: Vec::new(),
        }
    }

    /// Whether the window has room for one more publish of this quality of service.
    pub(crate) fn admits(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtMostOnce => true,
            QoS::AtLeastOnce => self.publishes < self.window,
            QoS::ExactlyOnce => {
                self.publishes < self.window && self.exactly_once < MOST_EXACTLY_ONCE
            }
        }
    }

    /// The identifier that is taken next, or `None` if all 65,535 are in use.
    pub(crate) fn next(&self) -> Option<u16> {
        let is_free = |id: &u16| !self.is_used(*id);
        let mut in_rotation = (self.last..self.range).chain(0..self.last).map(|it| it + 1);
        in_rotation.find(is_free)
    }

    /// Takes an identifier for a publish of QoS 1 or 2. The window is for the caller to ask: birth
    /// messages are sent beside it.
    pub(crate) fn take_publish(&mut self, qos: QoS) -> Option<u16> {
        let id = self.take()?;
        self.publishes += 1;
        self.exactly_once += u16::from(qos == QoS::ExactlyOnce);
        Some(id)
    }

    /// Takes an identifier for a SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn take_request(&mut self) -> Option<u16> {
        let id = self.take()?;
        self.requests.push(id);
        Some(id)
    }

    /// The exchange of a publish is complete, or it was not sent after all.
    pub(crate) fn free_publish(&mut self, id: u16, qos: QoS) {
        if self.free(id) {
            self.publishes = self.publishes.saturating_sub(1);
            let exactly_once = u16::from(qos == QoS::ExactlyOnce);
            self.exactly_once = self.exactly_once.saturating_sub(exactly_once);
        }
    }

    /// SUBACK or UNSUBACK came.
    pub(crate) fn free_request(&mut self, id: u16) {
        if let Some(at) = self.requests.iter().position(|it| *it == id) {
            self.requests.swap_remove(at);
            self.free(id);
        }
    }

    /// The connection is over, and no request of it will be answered.
    pub(crate) fn free_requests(&mut self) {
        for id in std::mem::take(&mut self.requests) {
            self.free(id);
        }
    }

    /// The session is gone, and every exchange with it.
    pub(crate) fn free_all(&mut self) {
        self.used.fill(0);
        self.requests.clear();
        (self.n_used, self.publishes, self.exactly_once) = (0, 0, 0);
    }

    fn take(&mut self) -> Option<u16> {
        let id = self.next()?;
        self.used[usize::from(id) / 64] |= 1 << (id % 64);
        self.n_used += 1;
        self.last = id;
        // Now, so that `next` holds for the next one.
        if self.n_used >= self.range / 2 && self.range < u16::MAX {
            self.range = self.range.saturating_mul(GROWTH);
            self.used.resize(words(self.range), 0);
        }
        Some(id)
    }

    /// Says whether it was in use.
    fn free(&mut self, id: u16) -> bool {
        let was_used = self.is_used(id);
        if was_used {
            self.used[usize::from(id) / 64] &= !(1 << (id % 64));
            self.n_used -= 1;
        }
        was_used
    }

    fn is_used(&self, id: u16) -> bool {
        let word = self.used.get(usize::from(id) / 64);
        word.is_some_and(|word| word & (1 << (id % 64)) != 0)
    }
}

fn words(range: u16) -> usize {
    usize::from(range) / 64 + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::properties::fixed_seed())]

        /// Fails when an identifier is handed out while it is in use, or when the window admits too much
        /// or, with everything answered, nothing.
        #[test]
        fn identifiers_never_collide(
            window in 1_u16..400,
            steps in prop::collection::vec((0_u8..6, any::<prop::sample::Index>()), 0..1_500),
        ) {
            let mut ids = PacketIds::new(window);
            let mut publishes: Vec<(u16, QoS)> = Vec::new();
            let mut requests: Vec<u16> = Vec::new();
            for (step, choice) in steps {
                let qos = if choice.index(4) == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                let taken = match step {
                    0 => ids.take_request().inspect(|id| requests.push(*id)),
                    1..=3 if ids.admits(qos) => {
                        let next = ids.next();
                        let id = ids.take_publish(qos);
                        prop_assert_eq!(id, next);
                        id.inspect(|id| publishes.push((*id, qos)))
                    }
                    4 if !publishes.is_empty() => {
                        let (id, qos) = publishes.swap_remove(choice.index(publishes.len()));
                        ids.free_publish(id, qos);
                        // A repeated answer changes nothing.
                        ids.free_publish(id, qos);
                        None
                    }
                    5 if !requests.is_empty() => {
                        ids.free_request(requests.swap_remove(choice.index(requests.len())));
                        None
                    }
                    _ => None,
                };
                if let Some(id) = taken {
                    let in_use = publishes.iter().map(|it| it.0).chain(requests.iter().copied());
                    prop_assert_eq!(in_use.filter(|it| *it == id).count(), 1);
                    prop_assert!(id > 0);
                }
                prop_assert!(publishes.len() <= usize::from(window));
            }
            for (id, qos) in publishes {
                ids.free_publish(id, qos);
            }
            ids.free_requests();
            prop_assert!(ids.admits(QoS::ExactlyOnce) && ids.n_used == 0);
        }
    }

    /// Fails when the identifier that was freed last is the next one: a repeated PUBACK would
    /// acknowledge a newer message.
    #[test]
    fn a_freed_identifier_is_used_again_last() {
        let mut ids = PacketIds::new(10);
        let first = ids.take_publish(QoS::AtLeastOnce).unwrap();
        ids.free_publish(first, QoS::AtLeastOnce);
        let later: Vec<_> = (1..FIRST_RANGE)
            .map(|_| {
                let id = ids.take_publish(QoS::AtLeastOnce).unwrap();
                ids.free_publish(id, QoS::AtLeastOnce);
                id
            })
            .collect();
        assert!(!later.contains(&first));
        assert_eq!(ids.take_publish(QoS::AtLeastOnce), Some(first));
    }

    #[test]
    fn the_range_grows_while_exchanges_are_open_and_ends_at_the_last_identifier() {
        let mut ids = PacketIds::new(u16::MAX);
        for expected in 1..=u16::MAX {
            assert_eq!(ids.take_publish(QoS::AtLeastOnce), Some(expected));
        }
        assert_eq!((ids.next(), ids.take_request()), (None, None));
        ids.free_publish(7, QoS::AtLeastOnce);
        assert_eq!(ids.take_request(), Some(7));
        ids.free_all();
        assert_eq!(ids.take_request(), Some(8), "in rotation");
    }

    /// Fails when a large window lets more QoS 2 messages out than mosquitto can take.
    #[test]
    fn few_publishes_of_qos_2_are_unacknowledged() {
        let mut ids = PacketIds::new(100);
        for _ in 0..MOST_EXACTLY_ONCE {
            assert!(ids.admits(QoS::ExactlyOnce));
            ids.take_publish(QoS::ExactlyOnce).unwrap();
        }
        assert!(!ids.admits(QoS::ExactlyOnce) && ids.admits(QoS::AtLeastOnce));
    }
}
