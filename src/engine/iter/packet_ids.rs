//! rumqttc's packet identifiers, kept in step with the session's.
//!
//! The session chooses every identifier. rumqttc has a table of those in flight, and a count of its own for
//! what comes through its channel: the packet that is carried with a wake-up.

use std::mem;

use crate::engine::iter::{
    releases::{advance, expecting},
    state::IterEngine,
};

/// rumqttc has 64 bytes for each identifier, and most clients need few: a table of 256 is 14 KiB larger.
pub(super) const FIRST_IDS: u16 = 16;

impl IterEngine {
    /// Moves rumqttc's count, so that what it takes from its channel next gets this identifier.
    pub(super) fn move_count_to(&mut self, id: u16) {
        self.make_room_for(id);
        let steps = match id >= self.next_id {
            true => id - self.next_id,
            false => self.ids - self.next_id + id,
        };
        advance(&mut self.connection.eventloop.state, steps);
        self.next_id = id;
    }

    /// rumqttc has sent a packet from its channel under this identifier.
    pub(super) fn counted(&mut self, id: u16) {
        if id != 0 {
            self.next_id = id % self.ids + 1;
        }
    }

    /// Gives rumqttc a state with more identifiers, in which everything is as it was.
    pub(super) fn make_room_for(&mut self, id: u16) {
        if id <= self.ids {
            return;
        }
        while self.ids < id {
            self.ids = self.ids.saturating_mul(8);
        }
        let eventloop = &mut self.connection.eventloop;
        eventloop.mqtt_options.set_inflight(self.ids);
        let mut old = mem::replace(&mut eventloop.state, expecting(self.ids));
        let state = &mut eventloop.state;
        state.await_pingresp = old.await_pingresp;
        // What is unacknowledged is in flight there too, and is not written again.
        for request in old.clean() {
            let _ = state.handle_outgoing_packet(request);
            state.events.pop_back();
        }
        state.events = mem::take(&mut old.events);
        advance(state, self.next_id - 1);
    }
}
