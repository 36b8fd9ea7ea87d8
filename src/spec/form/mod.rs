//! The shape of a client in a file: its keys, what may be left out, and the way to [`Settings`] and
//! back.
//!
//! Nothing here is `untagged` or `flatten`: serde would lose the place of an error.

use serde::{Deserialize, Serialize};

use crate::spec::{
    credentials::Credentials,
    form::{
        broker::{BrokerList, SerializedBrokers},
        duration::Span,
        message::MessageForm,
        topic::Subscription,
    },
    outbox::{Offline, OnLowered, OutboxOverflow, RefusedSubscription, Replay},
    retry::Retry,
    settings::{Session, Settings},
    tls::Tls,
    will::Will,
};

mod broker;
mod credentials;
mod duration;
mod message;
mod qos;
mod retry;
mod tls;
mod topic;

/// What may be said of a client; what is left out is as the setters say.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with the settings of a client"
)]
pub(crate) struct Form {
    name: String,
    pub(crate) times: Option<usize>,
    broker: BrokerList,
    tls: Option<Tls>,
    client_id: Option<String>,
    keep_alive: Option<Span>,
    session: Option<Session>,
    credentials: Option<Credentials>,
    will: Option<Will>,
    birth: Option<MessageForm>,
    #[serde(default)]
    subscribe: Vec<Subscription>,
    retry: Option<Retry>,
    connect_timeout: Option<Span>,
    max_packet_size: Option<usize>,
    filters_per_subscribe: Option<u16>,
    outbox_capacity: Option<usize>,
    outbox_overflow: Option<OutboxOverflow>,
    window: Option<u16>,
    offline: Option<Offline>,
    max_age: Option<Span>,
    max_closes: Option<u32>,
    replay: Option<Replay>,
    refused_subscription: Option<RefusedSubscription>,
    lowered_subscription: Option<OnLowered>,
}

impl Form {
    pub(crate) fn into_settings(self) -> Settings {
        let mut settings = Settings::new(self.name);
        settings.brokers = self.broker.0;
        settings.tls = self.tls;
        let outbox = &mut settings.outbox;
        set(&mut outbox.capacity, self.outbox_capacity);
        set(&mut outbox.overflow, self.outbox_overflow);
        set(&mut outbox.window, self.window);
        set(&mut outbox.offline, self.offline);
        set(&mut outbox.replay, self.replay);
        outbox.max_age = self.max_age.map(|age| age.0);
        set(
            &mut outbox.max_closes,
            self.max_closes.map(|closes| (closes > 0).then_some(closes)),
        );
        settings.client_id = self.client_id;
        set(&mut settings.keep_alive, self.keep_alive.map(|span| span.0));
        set(&mut settings.session, self.session);
        set(&mut settings.credentials, self.credentials);
        settings.will = self.will;
        settings.birth = self.birth.map(MessageForm::into_birth);
        settings.subscriptions = self
            .subscribe
            .into_iter()
            .map(|it| (it.filter, it.qos))
            .collect();
        set(&mut settings.retry, self.retry);
        let timeout = self.connect_timeout.map(|span| span.0);
        set(&mut settings.connect_timeout, timeout);
        set(&mut settings.max_packet_size, self.max_packet_size);
        set(
            &mut settings.filters_per_subscribe,
            self.filters_per_subscribe,
        );
        set(
            &mut settings.refused_subscription,
            self.refused_subscription,
        );
        set(
            &mut settings.lowered_subscription,
            self.lowered_subscription,
        );
        settings
    }
}

fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

/// A client as it is written: what is as it would be without a word is left out.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<usize>,
    broker: SerializedBrokers<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_packet_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters_per_subscribe: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_capacity: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_overflow: Option<OutboxOverflow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offline: Option<Offline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_closes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_subscription: Option<RefusedSubscription>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lowered_subscription: Option<OnLowered>,
    // Values come before tables: formats such as TOML need it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<Subscription>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<&'a Retry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials: Option<&'a Credentials>,
    #[serde(skip_serializing_if = "Option::is_none")]
    will: Option<&'a Will>,
    #[serde(skip_serializing_if = "Option::is_none")]
    birth: Option<MessageForm>,
}

impl<'a> Written<'a> {
    pub(crate) fn new(settings: &'a Settings, times: Option<usize>) -> Self {
        let usual = Settings::new(String::new());
        let (outbox, usual_outbox) = (&settings.outbox, &usual.outbox);
        Self {
            name: &settings.name,
            times,
            broker: SerializedBrokers(settings),
            client_id: settings.client_id.as_deref(),
            keep_alive: other(Span(settings.keep_alive), Span(usual.keep_alive)),
            session: other(settings.session, usual.session),
            connect_timeout: other(Span(settings.connect_timeout), Span(usual.connect_timeout)),
            max_packet_size: other(settings.max_packet_size, usual.max_packet_size),
            filters_per_subscribe: other(
                settings.filters_per_subscribe,
                usual.filters_per_subscribe,
            ),
            outbox_capacity: other(outbox.capacity, usual_outbox.capacity),
            outbox_overflow: other(outbox.overflow, usual_outbox.overflow),
            window: other(outbox.window, usual_outbox.window),
            offline: other(outbox.offline, usual_outbox.offline),
            max_age: outbox.max_age.map(Span),
            max_closes: other(
                outbox.max_closes.unwrap_or(0),
                usual_outbox.max_closes.unwrap_or(0),
            ),
            replay: other(outbox.replay, usual_outbox.replay),
            refused_subscription: other(settings.refused_subscription, usual.refused_subscription),
            lowered_subscription: other(settings.lowered_subscription, usual.lowered_subscription),
            subscribe: settings
                .subscriptions
                .iter()
                .map(|(filter, qos)| Subscription {
                    filter: filter.clone(),
                    qos: *qos,
                })
                .collect(),
            retry: other(&settings.retry, &usual.retry).map(|_| &settings.retry),
            tls: settings.tls.as_ref(),
            credentials: match &settings.credentials {
                // A function is no data.
                Credentials::Anonymous | Credentials::Asked(_) => None,
                credentials => Some(credentials),
            },
            will: settings.will.as_ref(),
            birth: settings.birth.as_ref().map(MessageForm::from_birth),
        }
    }
}

fn other<T: PartialEq>(given: T, usual: T) -> Option<T> {
    (given != usual).then_some(given)
}
