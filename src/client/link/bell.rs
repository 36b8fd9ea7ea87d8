//! The bell: rumqttc's request channel, which wakes the network thread.

use bytes::Bytes;
use rumqttc::{AsyncClient, Publish, Request};

use crate::{
    client::link::convert::{filter, outgoing, qos_in, qos_out},
    publish::{
        message::{Control, Item},
        outbox::Bell,
    },
    spec::qos::QoS,
};

/// Wakes the network thread by handing one item to rumqttc's channel.
pub(crate) struct RumqttcBell(pub(super) AsyncClient);

impl Bell for RumqttcBell {
    fn ring(&self, item: Item) -> Result<(), Item> {
        let rung = match item {
            Item::Publish(message) => self.0.try_publish(
                message.topic,
                qos_out(message.qos),
                message.retain,
                message.payload,
            ),
            Item::Control(Control::Acknowledge { packet_id, qos }) => {
                let mut publish = Publish::from_bytes("", qos_out(qos), Bytes::new());
                publish.pkid = packet_id;
                self.0.try_ack(&publish)
            }
            Item::Control(Control::Subscribe(filters)) => {
                self.0.try_subscribe_many(filters.into_iter().map(filter))
            }
            Item::Control(Control::Unsubscribe(filter)) => self.0.try_unsubscribe(filter),
            Item::Control(Control::Disconnect) => self.0.try_disconnect(),
        };
        rung.map_err(|error| match error {
            rumqttc::ClientError::Request(request) | rumqttc::ClientError::TryRequest(request) => {
                item_of(request)
            }
        })
    }
}

/// The item that a refused request was made from.
fn item_of(request: Request) -> Item {
    match request {
        Request::Publish(publish) => Item::Publish(outgoing(publish)),
        Request::PubAck(ack) => Item::Control(Control::Acknowledge {
            packet_id: ack.pkid,
            qos: QoS::AtLeastOnce,
        }),
        Request::PubRec(ack) => Item::Control(Control::Acknowledge {
            packet_id: ack.pkid,
            qos: QoS::ExactlyOnce,
        }),
        Request::Subscribe(subscribe) => Item::Control(Control::Subscribe(
            subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, qos_in(filter.qos)))
                .collect(),
        )),
        Request::Unsubscribe(unsubscribe) => Item::Control(Control::Unsubscribe(
            unsubscribe.topics.into_iter().next().unwrap_or_default(),
        )),
        // The bell sends nothing else.
        _ => Item::Control(Control::Disconnect),
    }
}
