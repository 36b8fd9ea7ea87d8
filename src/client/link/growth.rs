//! More packet identifiers for rumqttc, on a live connection.

use std::{collections::VecDeque, mem};

use rumqttc::{MqttState, Request, Subscribe};

use crate::{client::link::Link, publish::window::Growth};

impl Link {
    /// Gives rumqttc a state with more identifiers, in which everything is as it was. To be called
    /// when it has reported all that it was given: then what it holds is what was written and is
    /// unacknowledged.
    pub(crate) fn grow(&mut self, growth: Growth, receives_qos2: bool) {
        self.ids = growth.ids;
        let eventloop = &mut self.connection.eventloop;
        eventloop.mqtt_options.set_inflight(growth.ids);
        let grown = MqttState::new(growth.ids, true);
        let mut old = mem::replace(&mut eventloop.state, grown);
        let state = &mut eventloop.state;
        // As at the start: room for as many events as there are.
        state.events = VecDeque::new();
        state.await_pingresp = old.await_pingresp;
        // The only way to move its count: a SUBSCRIBE that is never sent.
        for _ in 0..growth.last {
            let none = Request::Subscribe(Subscribe::new("-", rumqttc::QoS::AtMostOnce));
            let _ = state.handle_outgoing_packet(none);
            state.events.pop_back();
        }
        // What is unacknowledged is in flight there too, and is not written again.
        for request in old.clean() {
            let _ = state.handle_outgoing_packet(request);
            state.events.pop_back();
        }
        if receives_qos2 || self.unsolicited {
            self.expect_releases();
        }
    }
}
