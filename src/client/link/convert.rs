//! Between rumqttc's types and ours.

use std::time::Duration;

use rumqttc::{
    LastWill, MqttOptions, NetworkOptions, Publish, Request, Subscribe, SubscribeFilter,
};

use crate::{
    publish::{outbox::Outgoing, window::Window},
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
        .set_inflight(Window::ids_for(settings.window))
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

pub(crate) fn network_options(connect_timeout: Duration) -> NetworkOptions {
    let mut options = NetworkOptions::new();
    // Nagle's algorithm and delayed acknowledgements together make steps of 40 ms.
    options.set_tcp_nodelay(true);
    // rumqttc counts whole seconds, and zero would fail at once.
    let seconds = connect_timeout.as_millis().div_ceil(1_000).max(1);
    options.set_connection_timeout(u64::try_from(seconds).unwrap_or(u64::MAX));
    options
}

pub(crate) fn subscribe(filters: Vec<(String, QoS)>) -> Request {
    Request::Subscribe(Subscribe::new_many(filters.into_iter().map(filter)))
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
