//! What the events of rumqttc mean.

use rumqttc::{ConnectionError, Packet, StateError, SubscribeReasonCode};

use crate::{
    engine::{
        Event, WakePacket,
        iter::{
            convert::{qos_in, received},
            state::IterEngine,
        },
    },
    observe::cause::Cause,
};

impl IterEngine {
    pub(super) fn failed(&mut self, error: ConnectionError) -> Cause {
        self.forget_refused(&error);
        self.context.cause(error)
    }

    /// rumqttc queues the event of a packet before it looks at the packet: one that it then refuses
    /// has no effect. A PUBCOMP for a message of QoS 1 does not acknowledge it.
    fn forget_refused(&mut self, error: &ConnectionError) {
        let events = &mut self.connection.eventloop.state.events;
        let is_refused = match (error, events.back()) {
            (
                ConnectionError::MqttState(StateError::WrongPacket),
                Some(rumqttc::Event::Incoming(_)),
            ) => true,
            (
                ConnectionError::MqttState(StateError::Unsolicited(refused)),
                Some(rumqttc::Event::Incoming(packet)),
            ) => acknowledges(packet) == Some(*refused),
            _ => false,
        };
        if is_refused {
            events.pop_back();
        }
    }

    /// The next event that rumqttc has queued. Taking it from its public queue spares one run of its runtime
    /// for each.
    pub(super) fn pop_event(&mut self) -> Option<Event> {
        loop {
            let event = self.connection.eventloop.state.events.pop_front()?;
            if let Some(event) = self.translate(event) {
                return Some(event);
            }
        }
    }

    /// What an event of rumqttc's means, if anybody needs to know it.
    pub(super) fn translate(&mut self, event: rumqttc::Event) -> Option<Event> {
        match event {
            rumqttc::Event::Incoming(packet) => {
                self.line.heard();
                self.incoming(packet)
            }
            rumqttc::Event::Outgoing(outgoing) => self.outgoing(&outgoing),
        }
    }

    fn incoming(&mut self, packet: Packet) -> Option<Event> {
        Some(match packet {
            Packet::Publish(publish) => Event::Received(received(publish)),
            Packet::PubAck(ack) => Event::Acknowledged {
                packet_id: ack.pkid,
            },
            Packet::PubComp(ack) => Event::Acknowledged {
                packet_id: ack.pkid,
            },
            Packet::PubRec(ack) => Event::Released {
                packet_id: ack.pkid,
            },
            Packet::PubRel(release) => {
                self.expect_release(release.pkid);
                Event::Completed {
                    packet_id: release.pkid,
                }
            }
            Packet::SubAck(ack) => Event::Subscribed {
                packet_id: ack.pkid,
                granted: ack
                    .return_codes
                    .iter()
                    .map(|code| match code {
                        SubscribeReasonCode::Success(qos) => Some(qos_in(*qos)),
                        SubscribeReasonCode::Failure => None,
                    })
                    .collect(),
            },
            Packet::PingResp => Event::PingAnswered,
            Packet::UnsubAck(ack) => Event::Unsubscribed {
                packet_id: ack.pkid,
            },
            _ => return None,
        })
    }

    /// What is sent by us goes past rumqttc's state. It tells only of its own pings and answers, and of what
    /// came through its channel.
    fn outgoing(&mut self, outgoing: &rumqttc::Outgoing) -> Option<Event> {
        use rumqttc::Outgoing;
        let carried = match outgoing {
            Outgoing::PingReq => {
                // Whether the answer is late is decided in `session/keep_alive.rs`: rumqttc does not see that bytes come.
                self.connection.eventloop.state.await_pingresp = false;
                self.line.pinged();
                return None;
            }
            Outgoing::Publish(packet_id) => {
                self.counted(*packet_id);
                WakePacket::Other
            }
            Outgoing::Subscribe(packet_id) => {
                self.counted(*packet_id);
                WakePacket::Subscribe {
                    packet_id: *packet_id,
                }
            }
            Outgoing::Unsubscribe(packet_id) => {
                self.counted(*packet_id);
                WakePacket::Unsubscribe {
                    packet_id: *packet_id,
                }
            }
            Outgoing::PubAck(_) | Outgoing::PubRec(_) => WakePacket::Other,
            Outgoing::Disconnect => WakePacket::Disconnect,
            _ => return None,
        };
        Some(Event::WakeSent(carried))
    }
}

/// The identifier of what a packet acknowledges or completes.
fn acknowledges(packet: &Packet) -> Option<u16> {
    match packet {
        Packet::PubAck(ack) => Some(ack.pkid),
        Packet::PubRec(ack) => Some(ack.pkid),
        Packet::PubRel(release) => Some(release.pkid),
        Packet::PubComp(ack) => Some(ack.pkid),
        _ => None,
    }
}
