//! The road out: packets are given to rumqttc's encoder without a run of its runtime, and leave together with
//! the next flush.

use std::{
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use bytes::Bytes;
use rumqttc::{ConnectionError, Publish, Request, StateError};

use crate::{
    engine::iter::{
        budget::ENCODER_LIMIT,
        convert::{publish, qos_out, subscribe, unsubscribe},
        state::IterEngine,
    },
    observe::cause::Cause,
    session::packet::Packet,
    spec::qos::QoS,
};

impl IterEngine {
    /// rumqttc's state is told only what it needs to recognize the answers: which identifiers of QoS 1 and 2
    /// are in flight. The outbox has the messages.
    pub(super) fn send_packet(&mut self, packet: Packet) -> Result<(), Cause> {
        let size = packet.size();
        self.expects_large |= size > ENCODER_LIMIT;
        self.unflushed_bytes += size;
        let packet = match packet {
            Packet::Publish {
                packet_id,
                duplicate,
                message,
            } => {
                if message.qos != QoS::AtMostOnce {
                    self.expect_answer(packet_id, message.qos)?;
                }
                let mut publish = publish(message);
                publish.pkid = packet_id;
                publish.dup = duplicate;
                rumqttc::Packet::Publish(publish)
            }
            Packet::Release { packet_id } => {
                let release = rumqttc::PubRel::new(packet_id);
                self.hand_to_state(Request::PubRel(release.clone()))?;
                rumqttc::Packet::PubRel(release)
            }
            Packet::Acknowledge { packet_id, qos } => match qos {
                QoS::ExactlyOnce => rumqttc::Packet::PubRec(rumqttc::PubRec::new(packet_id)),
                QoS::AtMostOnce | QoS::AtLeastOnce => {
                    rumqttc::Packet::PubAck(rumqttc::PubAck::new(packet_id))
                }
            },
            Packet::Subscribe { packet_id, filters } => {
                rumqttc::Packet::Subscribe(subscribe(packet_id, filters))
            }
            Packet::Unsubscribe { packet_id, filters } => {
                rumqttc::Packet::Unsubscribe(unsubscribe(packet_id, filters))
            }
            Packet::Ping => {
                // The answer is told as an event; whether it is late is decided in `session/keep_alive.rs`.
                self.line.pinged();
                rumqttc::Packet::PingReq
            }
            Packet::Disconnect => rumqttc::Packet::Disconnect,
        };
        self.encode(packet)
    }

    /// PUBACK or PUBREC will come for this identifier.
    fn expect_answer(&mut self, packet_id: u16, qos: QoS) -> Result<(), Cause> {
        self.make_room_for(packet_id);
        let mut marker = Publish::from_bytes("", qos_out(qos), Bytes::new());
        if packet_id == self.next_id {
            // Its count moves on with ours.
            self.next_id = self.next_id % self.ids + 1;
        } else {
            marker.pkid = packet_id;
        }
        self.hand_to_state(Request::Publish(marker))
    }

    fn hand_to_state(&mut self, request: Request) -> Result<(), Cause> {
        let state = &mut self.connection.eventloop.state;
        let packet = state
            .handle_outgoing_packet(request)
            .map_err(|error| self.context.cause(ConnectionError::MqttState(error)))?;
        // Its own event, which it has just appended.
        let state = &mut self.connection.eventloop.state;
        state.events.pop_back();
        if packet.is_none() {
            state.collision = None;
            return Err(Cause::Protocol {
                message: "a packet identifier is in use twice".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn encode(&mut self, packet: rumqttc::Packet) -> Result<(), Cause> {
        let Some(network) = &mut self.connection.eventloop.network else {
            return Err(Cause::Closed);
        };
        // Ready at once while the encoder holds less than 8 KiB, and less is ever in it when something is
        // sent. A connection that is not ready all the same counts as lost: nothing may be dropped here.
        let written = pin!(network.write(packet)).poll(&mut TaskContext::from_waker(Waker::noop()));
        match written {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => Err(self.encoding_failed(error)),
            Poll::Pending => Err(Cause::WriteTimeout),
        }
    }

    fn encoding_failed(&self, error: StateError) -> Cause {
        self.context.cause(ConnectionError::MqttState(error))
    }
}
