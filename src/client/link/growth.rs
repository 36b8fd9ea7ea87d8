//! More packet identifiers for rumqttc, on a live connection.

use std::mem;

use crate::{
    client::link::{
        Link,
        releases::{advance, expecting},
    },
    publish::window::Growth,
};

impl Link {
    /// Gives rumqttc a state with more identifiers, in which everything is as it was. To be called
    /// when it has reported all that it was given: then what it holds is what was written and is
    /// unacknowledged.
    pub(crate) fn grow(&mut self, growth: Growth) {
        self.ids = growth.ids;
        let eventloop = &mut self.connection.eventloop;
        eventloop.mqtt_options.set_inflight(growth.ids);
        let mut old = mem::replace(&mut eventloop.state, expecting(growth.ids));
        let state = &mut eventloop.state;
        state.await_pingresp = old.await_pingresp;
        advance(state, growth.last);
        // What is unacknowledged is in flight there too, and is not written again.
        for request in old.clean() {
            let _ = state.handle_outgoing_packet(request);
            state.events.pop_back();
        }
    }
}
