//! PUBREL is answered with PUBCOMP whatever its identifier, as often as it comes [MQTT-4.3.3-2].
//!
//! rumqttc answers by itself, and only for a message that it has seen on this connection; any other
//! PUBREL is an error to it. A broker may repeat one for a message of an earlier connection, or of an
//! earlier process, and is never rid of it without the answer. What was delivered is remembered in
//! `session/ack_order.rs`, so that rumqttc is made to take every PUBREL.

use std::mem;

use bytes::Bytes;
use parking_lot::Mutex;
use rumqttc::{MqttState, Packet, Publish, QoS, Request, Unsubscribe};

use crate::engine::iter::state::IterEngine;

/// States that expect every PUBREL, one for each number of packet identifiers. Making one takes
/// thousands of times as long as copying it (70 ms), and all clients of a fleet may connect at once: the
/// first one makes it, under the lock, and the others wait for that.
static EXPECTING: Mutex<Vec<(u16, MqttState)>> = Mutex::new(Vec::new());

/// Windows of this many sizes have one there; in a usual fleet there are one or two.
const MOST_KEPT: usize = 8;

impl IterEngine {
    /// Gives rumqttc a state that expects every PUBREL. To be called when there is nothing in the old one but
    /// events.
    pub(super) fn expect_releases(&mut self) {
        let state = expecting(self.ids);
        let old = mem::replace(&mut self.connection.eventloop.state, state);
        self.connection.eventloop.state.events = old.events;
        self.next_id = 1;
    }

    /// This PUBREL was answered, and may come again.
    pub(super) fn expect_release(&mut self, packet_id: u16) {
        expect(&mut self.connection.eventloop.state, packet_id);
    }
}

/// A new state that expects every PUBREL.
pub(super) fn expecting(ids: u16) -> MqttState {
    let mut kept = EXPECTING.lock();
    if let Some((_, state)) = kept.iter().find(|(of, _)| *of == ids) {
        return state.clone();
    }
    let mut state = MqttState::new(ids, true);
    // It makes room for 100 events, which are few.
    state.events = Default::default();
    for packet_id in 1..=u16::MAX {
        expect(&mut state, packet_id);
    }
    state.events = Default::default();
    if kept.len() < MOST_KEPT {
        kept.push((ids, state.clone()));
    }
    state
}

fn expect(state: &mut MqttState, packet_id: u16) {
    let mut publish = Publish::from_bytes("", QoS::ExactlyOnce, Bytes::new());
    publish.pkid = packet_id;
    // With manual acknowledgement it answers nothing, and can't fail.
    let _ = state.handle_incoming_packet(Packet::Publish(publish));
    state.events.pop_back();
}

/// Moves the count of identifiers. There is no other way than packets that are never sent.
pub(super) fn advance(state: &mut MqttState, by: u16) {
    for _ in 0..by {
        let nothing = Unsubscribe {
            pkid: 0,
            topics: Vec::new(),
        };
        let _ = state.handle_outgoing_packet(Request::Unsubscribe(nothing));
        state.events.pop_back();
    }
}
