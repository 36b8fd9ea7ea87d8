//! More packets in one wake-up than rumqttc reads by itself.

use std::{
    future::Future,
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use rumqttc::{ConnectionError, Event, Outgoing};

use crate::{client::link::Link, supervise::cause::Cause};

/// rumqttc reads 9 packets for each run of its runtime. With as many rounds more, a flood costs
/// little for each message, and nobody waits long for what the outbox has meanwhile.
const MOST_ROUNDS: usize = 16;

impl Link {
    /// Reads what has arrived already. To be called after `next`, when all its events are taken:
    /// then everything that was given to the encoder is on its way. Waits for nothing.
    pub(crate) fn read_on(&mut self) -> Result<(), Cause> {
        let mut context = TaskContext::from_waker(Waker::noop());
        let eventloop = &mut self.connection.eventloop;
        let Some(network) = &mut eventloop.network else {
            return Ok(());
        };
        for _ in 0..MOST_ROUNDS {
            let begin = eventloop.state.events.len();
            let read = pin!(network.readb(&mut eventloop.state)).poll(&mut context);
            // Pending before it has read anything, or it would have said so: what a packet is
            // answered with (PUBREL, PUBCOMP; everything else is ours) waits only for an encoder
            // that is full, and this one was empty and has been given a few bytes.
            let Poll::Ready(read) = read else {
                return Ok(());
            };
            let mut new = eventloop.state.events.range(begin..);
            let answered =
                new.any(|event| matches!(event, Event::Outgoing(outgoing) if is_answer(outgoing)));
            let done = match read {
                // rumqttc flushes after its own reading only. Should the socket be full, the next
                // wake-up does it.
                Ok(()) if answered => match pin!(network.flush()).poll(&mut context) {
                    Poll::Ready(flushed) => flushed,
                    Poll::Pending => Ok(()),
                },
                Ok(()) => continue,
                Err(error) => Err(error),
            };
            return done.map_err(|error| self.failed(ConnectionError::MqttState(error)));
        }
        Ok(())
    }
}

fn is_answer(outgoing: &Outgoing) -> bool {
    matches!(outgoing, Outgoing::PubRel(_) | Outgoing::PubComp(_))
}
