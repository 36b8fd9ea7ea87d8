//! Waking the network thread: rumqttc's request channel, which takes nothing but packets to send.

use bytes::Bytes;
use rumqttc::{ClientError, Publish, Request};

use crate::{
    engine::iter::convert::{filter, outgoing, qos_in, qos_out},
    outbox::Waker,
    session::packet::Packet,
    spec::qos::QoS,
};

/// Wakes the network thread by handing one packet to rumqttc's channel.
pub(crate) struct RequestWaker(pub(super) rumqttc::Client);

impl Waker for RequestWaker {
    fn wake(&self) -> bool {
        false
    }

    fn wake_with(&self, packet: Packet) -> Result<(), Packet> {
        let taken = match packet {
            Packet::Publish {
                packet_id,
                duplicate: false,
                message,
            } => {
                let (topic, qos) = (message.topic, qos_out(message.qos));
                // rumqttc gives it the next identifier of its own count, which is this one.
                self.0
                    .try_publish(topic, qos, message.retain, message.payload)
                    .map_err(|error| (packet_id, error))
            }
            Packet::Acknowledge { packet_id, qos } => {
                let mut publish = Publish::from_bytes("", qos_out(qos), Bytes::new());
                publish.pkid = packet_id;
                self.0.try_ack(&publish).map_err(|error| (packet_id, error))
            }
            Packet::Subscribe { packet_id, filters } => self
                .0
                .try_subscribe_many(filters.into_iter().map(filter))
                .map_err(|error| (packet_id, error)),
            // The channel has room for one filter only.
            Packet::Unsubscribe {
                packet_id,
                mut filters,
            } if filters.len() == 1 => {
                let filter = filters.pop().unwrap_or_default();
                let taken = self.0.try_unsubscribe(filter);
                taken.map_err(|error| (packet_id, error))
            }
            Packet::Disconnect => self.0.try_disconnect().map_err(|error| (0, error)),
            other => return Err(other),
        };
        taken.map_err(|(packet_id, error)| {
            let (ClientError::Request(request) | ClientError::TryRequest(request)) = error;
            packet_of(packet_id, request)
        })
    }
}

/// The packet that a refused request was made from.
fn packet_of(packet_id: u16, request: Request) -> Packet {
    match request {
        Request::Publish(publish) => Packet::Publish {
            packet_id,
            duplicate: false,
            message: outgoing(publish),
        },
        Request::PubAck(_) => Packet::Acknowledge {
            packet_id,
            qos: QoS::AtLeastOnce,
        },
        Request::PubRec(_) => Packet::Acknowledge {
            packet_id,
            qos: QoS::ExactlyOnce,
        },
        Request::Subscribe(subscribe) => {
            let filters = subscribe.filters.into_iter();
            Packet::Subscribe {
                packet_id,
                filters: filters.map(|it| (it.path, qos_in(it.qos))).collect(),
            }
        }
        Request::Unsubscribe(unsubscribe) => Packet::Unsubscribe {
            packet_id,
            filters: unsubscribe.topics,
        },
        // Nothing else was handed over.
        _ => Packet::Disconnect,
    }
}
