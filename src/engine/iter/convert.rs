//! Between rumqttc's types and ours.

use std::time::Duration;

use rumqttc::{
    LastWill, MqttOptions, NetworkOptions, Publish, Subscribe, SubscribeFilter, Unsubscribe,
};

use crate::{
    session::packet::{Outgoing, Publication, Received},
    spec::{
        qos::QoS,
        settings::{Session, Settings},
    },
};

pub(crate) fn options(
    settings: &Settings,
    host: &str,
    port: u16,
    login: Option<(String, String)>,
) -> MqttOptions {
    let id = settings.client_id.clone().unwrap_or_default();
    let mut options = MqttOptions::new(id, host, port);
    // Every value was checked at start: rumqttc's setters panic on what they do not like.
    options
        .set_keep_alive(settings.keep_alive)
        .set_clean_session(settings.session == Session::Clean)
        .set_max_packet_size(settings.max_packet_size, settings.max_packet_size)
        .set_manual_acks(true);
    if let Some(will) = &settings.will {
        options.set_last_will(LastWill {
            topic: will.topic.clone(),
            message: will.payload.clone(),
            qos: qos_out(will.qos),
            retain: will.retain,
        });
    }
    if let Some((username, password)) = login {
        options.set_credentials(username, password);
    }
    options
}

/// The system tells that a socket takes more bytes when a third of its buffer is free. With a buffer
/// that grows to several megabytes, a slow line that moves would be silent for many seconds.
const SEND_BUFFER: u32 = 192 * 1024;

pub(crate) fn network_options() -> NetworkOptions {
    let mut options = NetworkOptions::new();
    // Nagle's algorithm and delayed acknowledgements together make steps of 40 ms.
    options.set_tcp_nodelay(true);
    options.set_tcp_send_buffer_size(SEND_BUFFER);
    options
}

/// rumqttc counts whole seconds, and zero would fail at once.
pub(crate) fn whole_seconds(timeout: Duration) -> u64 {
    let seconds = timeout.as_millis().div_ceil(1_000).max(1);
    u64::try_from(seconds).unwrap_or(u64::MAX)
}

pub(crate) fn publish(message: Outgoing) -> Publish {
    let mut publish = Publish::from_bytes(message.topic, qos_out(message.qos), message.payload);
    publish.retain = message.retain;
    publish
}

pub(crate) fn subscribe(packet_id: u16, filters: Vec<(String, QoS)>) -> Subscribe {
    let mut subscribe = Subscribe::new_many(filters.into_iter().map(filter));
    subscribe.pkid = packet_id;
    subscribe
}

pub(crate) fn unsubscribe(packet_id: u16, filters: Vec<String>) -> Unsubscribe {
    Unsubscribe {
        pkid: packet_id,
        topics: filters,
    }
}

pub(crate) fn filter((path, qos): (String, QoS)) -> SubscribeFilter {
    SubscribeFilter::new(path, qos_out(qos))
}

pub(crate) fn outgoing(publish: Publish) -> Outgoing {
    Outgoing {
        topic: publish.topic,
        qos: qos_in(publish.qos),
        retain: publish.retain,
        payload: publish.payload,
    }
}

pub(crate) fn received(publish: Publish) -> Received {
    Received {
        packet_id: publish.pkid,
        content: Publication {
            topic: publish.topic,
            payload: publish.payload,
            qos: qos_in(publish.qos),
            retain: publish.retain,
            duplicate: publish.dup,
        },
    }
}

pub(crate) fn qos_in(qos: rumqttc::QoS) -> QoS {
    match qos {
        rumqttc::QoS::AtMostOnce => QoS::AtMostOnce,
        rumqttc::QoS::AtLeastOnce => QoS::AtLeastOnce,
        rumqttc::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(crate) fn qos_out(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}
