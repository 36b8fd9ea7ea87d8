//! What is given to rumqttc's encoder without a run of its runtime: it is sent with the next flush.

use std::{
    future::Future,
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use rumqttc::{ConnectionError, Disconnect, Packet, Request, StateError};

use crate::{
    client::link::{
        Happened, Link, Unfed,
        cause::Context,
        convert::{acknowledgement, publish, subscribe, unsubscribe},
    },
    publish::message::{Control, Item},
    spec::qos::QoS,
    supervise::cause::Cause,
};

impl Link {
    /// Gives an item to the encoder. It is sent with the next flush.
    pub(crate) fn feed(&mut self, item: Item) -> Result<Happened, Unfed> {
        let request = match item {
            // Of this and of acknowledgements rumqttc would note the time, and tell us with an event.
            Item::Publish(message) if message.qos == QoS::AtMostOnce => {
                self.encode(Packet::Publish(publish(message)), 0)?;
                return Ok(Happened::PublishWritten { packet_id: 0 });
            }
            Item::Control(Control::Acknowledge { packet_id, qos }) => {
                self.encode(acknowledgement(packet_id, qos), 0)?;
                return Ok(Happened::AcknowledgementWritten);
            }
            Item::Publish(message) => Request::Publish(publish(message)),
            Item::Control(Control::Subscribe(filters)) => subscribe(filters),
            Item::Control(Control::Unsubscribe(filter)) => unsubscribe(vec![filter]),
            Item::Control(Control::Disconnect) => Request::Disconnect(Disconnect),
        };
        self.feed_request(request)
    }

    pub(super) fn feed_request(&mut self, request: Request) -> Result<Happened, Unfed> {
        let state = &mut self.connection.eventloop.state;
        let packet = state
            .handle_outgoing_packet(request)
            .map_err(|error| unfed(&self.context, 0, error))?;
        // Its own event, which it has just appended: the earlier ones are taken already.
        let event = state.events.pop_back();
        let (Some(packet), Some(event)) = (packet, event) else {
            let message = "a packet identifier is in use twice".to_owned();
            return Err(Unfed {
                packet_id: 0,
                cause: Cause::Protocol { message },
            });
        };
        let packet_id = match &packet {
            Packet::Publish(publish) => publish.pkid,
            _ => 0,
        };
        self.encode(packet, packet_id)?;
        Ok(self.translate(event))
    }

    pub(super) fn encode(&mut self, packet: Packet, packet_id: u16) -> Result<(), Unfed> {
        let Some(network) = &mut self.connection.eventloop.network else {
            let cause = Cause::Closed;
            return Err(Unfed { packet_id, cause });
        };
        // Ready at once while the encoder holds less than 8 KiB, and less is ever fed to it. A
        // connection that is not ready all the same counts as lost: nothing may be dropped here.
        let written = pin!(network.write(packet)).poll(&mut TaskContext::from_waker(Waker::noop()));
        match written {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => Err(unfed(&self.context, packet_id, error)),
            Poll::Pending => {
                let cause = Cause::WriteTimeout;
                Err(Unfed { packet_id, cause })
            }
        }
    }
}

fn unfed(context: &Context, packet_id: u16, error: StateError) -> Unfed {
    let cause = context.cause(ConnectionError::MqttState(error));
    Unfed { packet_id, cause }
}
