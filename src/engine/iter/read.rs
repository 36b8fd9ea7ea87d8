//! The road in: what has arrived, without a run of rumqttc's runtime for each packet.

use std::{
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use rumqttc::{ConnectionError, Packet, QoS};

use crate::{
    engine::{
        Event,
        iter::{budget::Budget, convert::received, state::IterEngine},
    },
    observe::cause::Cause,
};

impl IterEngine {
    pub(super) fn read_next(&mut self) -> Result<Option<Event>, Cause> {
        // rumqttc's answer to the last packet is an event too: left there, it would be all that the next
        // wait returns.
        let event = match (self.pop_event(), self.budget.is_spent()) {
            (Some(event), _) => Some(event),
            (None, true) => None,
            (None, false) => self.read_one()?,
        };
        if let Some(event) = &event {
            self.budget.spend(event);
        }
        Ok(event)
    }

    fn read_one(&mut self) -> Result<Option<Event>, Cause> {
        let mut context = TaskContext::from_waker(Waker::noop());
        loop {
            let eventloop = &mut self.connection.eventloop;
            let Some(network) = &mut eventloop.network else {
                return Ok(None);
            };
            let read = match self.line.finder() {
                None => pin!(network.read()).poll(&mut context),
                Some(finder) => pin!(network.read()).poll(&mut TaskContext::from_waker(&finder)),
            };
            let handled = match read {
                Poll::Pending => return Ok(None),
                // rumqttc does nothing with these but to queue a copy: acknowledging is ours.
                Poll::Ready(Ok(Packet::Publish(publish))) if publish.qos != QoS::ExactlyOnce => {
                    self.line.heard();
                    return Ok(Some(Event::Received(received(publish))));
                }
                Poll::Ready(Ok(packet)) => eventloop.state.handle_incoming_packet(packet),
                Poll::Ready(Err(error)) => Err(error),
            };
            let written = match handled {
                // PUBREL or PUBCOMP; everything else is ours.
                Ok(Some(answer)) => {
                    self.has_answered = true;
                    pin!(network.write(answer)).poll(&mut context)
                }
                Ok(None) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            };
            match written {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    return Err(self.failed(ConnectionError::MqttState(error)));
                }
                // The encoder was empty and has been given a few bytes for each packet: it is not full.
                Poll::Pending => return Err(Cause::WriteTimeout),
            }
            if let Some(event) = self.pop_event() {
                return Ok(Some(event));
            }
        }
    }

    /// rumqttc flushes its own answers after its own reading only.
    pub(super) fn flush_answers(&mut self) -> Result<(), Cause> {
        self.budget = Budget::default();
        match std::mem::take(&mut self.has_answered) {
            true => self.begin_flush(),
            false => Ok(()),
        }
    }
}
