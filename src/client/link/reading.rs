//! More packets in one wake-up than rumqttc reads by itself.

use std::{
    future::Future,
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use rumqttc::{ConnectionError, Packet, QoS};

use crate::{
    client::link::{Happened, Link, convert::received},
    supervise::cause::Cause,
};

impl Link {
    /// What has arrived already. To be called after `next`, when all its events are taken: then
    /// everything that was given to the encoder is on its way. Waits for nothing. Once there is no
    /// more, or it is enough, `answer` has to follow.
    pub(crate) fn arrived(&mut self) -> Result<Option<Happened>, Cause> {
        if let Some(happened) = self.buffered() {
            return Ok(Some(happened));
        }
        let mut context = TaskContext::from_waker(Waker::noop());
        let eventloop = &mut self.connection.eventloop;
        let Some(network) = &mut eventloop.network else {
            return Ok(None);
        };
        let read = pin!(network.read()).poll(&mut context);
        let handled = match read {
            Poll::Pending => return Ok(None),
            // rumqttc does nothing with these but to queue a copy: acknowledging is ours.
            Poll::Ready(Ok(Packet::Publish(publish))) if publish.qos != QoS::ExactlyOnce => {
                self.line.heard();
                return Ok(Some(Happened::Received(received(publish))));
            }
            Poll::Ready(Ok(packet)) => eventloop.state.handle_incoming_packet(packet),
            Poll::Ready(Err(error)) => Err(error),
        };
        let written = match handled {
            // PUBREL or PUBCOMP; everything else is ours.
            Ok(Some(answer)) => {
                self.unflushed = true;
                pin!(network.write(answer)).poll(&mut context)
            }
            Ok(None) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        };
        match written {
            Poll::Ready(Ok(())) => Ok(self.buffered()),
            Poll::Ready(Err(error)) => Err(self.failed(ConnectionError::MqttState(error))),
            // The encoder was empty and has been given a few bytes for each packet: it is not full.
            Poll::Pending => Err(Cause::WriteTimeout),
        }
    }

    /// Sends what rumqttc has answered by itself to what had arrived: it flushes after its own
    /// reading only. Should the socket be full, the next wake-up does it.
    pub(crate) fn answer(&mut self) -> Result<(), Cause> {
        let Some(network) = &mut self.connection.eventloop.network else {
            return Ok(());
        };
        if !std::mem::take(&mut self.unflushed) {
            return Ok(());
        }
        let flushed = pin!(network.flush()).poll(&mut TaskContext::from_waker(Waker::noop()));
        match flushed {
            Poll::Ready(Err(error)) => Err(self.failed(ConnectionError::MqttState(error))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}
