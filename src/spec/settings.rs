//! The data of one client. `fleet/check.rs` checks it.

use std::time::Duration;

use bytes::Bytes;

use crate::spec::{
    broker::Broker,
    broker_error::BrokerError,
    credentials::Credentials,
    outbox::{OnLowered, OutboxSettings, RefusedSubscription},
    qos::QoS,
    retry::Retry,
    template,
    tls::Tls,
    will::Will,
};

/// Whether the broker keeps the client's subscriptions and undelivered messages while it is
/// away (section 3.1.2.4).
///
/// ```
/// use mqtt_fleet::{ClientSpec, Session};
///
/// // A kept session belongs to a client id: it needs one that stays the same.
/// let spec = ClientSpec::new("plant", "mqtt://10.0.0.5")
///     .client_id("gw-7f3a-plant")
///     .session(Session::Kept);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Session {
    /// Each connection begins anew: clean session 1.
    #[default]
    Clean,
    /// The broker keeps the session over a loss: clean session 0. Needs a given client id.
    Kept,
}

/// A message that a client publishes after every CONNACK.
#[derive(Debug, Clone)]
pub(crate) struct Birth {
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Bytes,
}

/// Everything about a client that is data.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    /// Tried in this order. The start refuses a client without one.
    pub(crate) brokers: Vec<Broker>,
    /// The first one that was no broker, and the setter that it was given to: the start reports it.
    pub(crate) broker_error: Option<(&'static str, BrokerError)>,
    /// How brokers with `mqtts` and `wss` are spoken to; `None` is the system's roots.
    pub(crate) tls: Option<Tls>,
    /// `None`: made from the name, unique in this run.
    pub(crate) client_id: Option<String>,
    pub(crate) keep_alive: Duration,
    pub(crate) session: Session,
    /// `Anonymous`: those of each broker's URL.
    pub(crate) credentials: Credentials,
    pub(crate) will: Option<Will>,
    pub(crate) birth: Option<Birth>,
    pub(crate) subscriptions: Vec<(String, QoS)>,
    pub(crate) retry: Retry,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_packet_size: usize,
    pub(crate) filters_per_subscribe: u16,
    pub(crate) outbox: OutboxSettings,
    pub(crate) refused_subscription: RefusedSubscription,
    pub(crate) lowered_subscription: OnLowered,
}

impl Settings {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            credentials: Credentials::Anonymous,
            brokers: Vec::new(),
            broker_error: None,
            tls: None,
            client_id: None,
            keep_alive: Duration::from_secs(30),
            session: Session::Clean,
            will: None,
            birth: None,
            subscriptions: Vec::new(),
            retry: Retry::default(),
            connect_timeout: Duration::from_secs(5),
            max_packet_size: 256 * 1024,
            filters_per_subscribe: u16::MAX,
            outbox: OutboxSettings::default(),
            refused_subscription: RefusedSubscription::default(),
            lowered_subscription: OnLowered::default(),
        }
    }

    /// Adds a broker behind the others.
    pub(crate) fn add_broker(
        &mut self,
        setter: &'static str,
        broker: Result<Broker, impl Into<BrokerError>>,
    ) {
        match broker {
            Ok(broker) => self.brokers.push(broker),
            Err(error) if self.broker_error.is_none() => {
                self.broker_error = Some((setter, error.into()));
            }
            Err(_) => {}
        }
    }

    /// Whether any of them is spoken to over TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.brokers
            .iter()
            .any(|broker| broker.address().is_encrypted())
    }

    /// The files that it names.
    #[cfg(feature = "files")]
    pub(crate) fn files(&mut self) -> impl Iterator<Item = &mut std::path::PathBuf> {
        let password = self.credentials.file();
        password
            .into_iter()
            .chain(self.tls.iter_mut().flat_map(Tls::files))
    }

    /// The copy number `i` of a template.
    pub(crate) fn numbered(&self, i: usize) -> Self {
        self.fill(template::number(&self.name, i), |text| {
            template::number(text, i)
        })
    }

    /// With `{name}` filled in, and a client id if none was given.
    pub(crate) fn named(&self, run: u64) -> Self {
        let mut settings = self.fill(self.name.clone(), |text| template::name(text, &self.name));
        if settings.client_id.is_none() {
            settings.client_id = Some(generated_id(&settings.name, run));
        }
        settings
    }

    /// With all of its texts filled in. URLs have no placeholders, only the credentials that they carry.
    fn fill(&self, name: String, fill: impl Fn(&str) -> String) -> Self {
        // Field by field, and no `..`: a new one has to say here whether it is a text.
        let Self {
            name: _,
            brokers,
            broker_error: _,
            tls,
            client_id,
            keep_alive: _,
            session: _,
            credentials,
            will,
            birth,
            subscriptions,
            retry: _,
            connect_timeout: _,
            max_packet_size: _,
            filters_per_subscribe: _,
            outbox: _,
            refused_subscription: _,
            lowered_subscription: _,
        } = self;
        let mut filled = self.clone();
        filled.name = name;
        filled.brokers = brokers.iter().map(|it| it.filled(&fill)).collect();
        filled.tls = tls.as_ref().map(|tls| tls.filled(&fill));
        filled.client_id = client_id.as_deref().map(&fill);
        filled.credentials = credentials.filled(&fill);
        filled.subscriptions = subscriptions
            .iter()
            .map(|(filter, qos)| (fill(filter), *qos))
            .collect();
        filled.will = will.as_ref().map(|will| Will {
            topic: fill(&will.topic),
            payload: template::payload(&will.payload, &fill),
            ..will.clone()
        });
        filled.birth = birth.as_ref().map(|birth| Birth {
            topic: fill(&birth.topic),
            payload: template::payload(&birth.payload, &fill),
            ..birth.clone()
        });
        filled
    }
}

/// An id of at most 23 bytes, as brokers must take them [MQTT-3.1.3-5]: begun with the letters and digits of
/// the name, so that a broker's log can be read, and ended with a hash of name and run. The hyphen between
/// tells client 4 from client 44. It is none of the characters that every broker must take, but a broker that
/// refuses it is not known.
fn generated_id(name: &str, run: u64) -> String {
    let readable: String = name
        .chars()
        .filter(|character| character.is_ascii_alphanumeric())
        .take(13)
        .collect();
    let mut generator = fastrand::Rng::with_seed(name.bytes().fold(run, |hash, byte| {
        // FNV-1a: stable, and good enough to keep the names of one run apart.
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }));
    let hash: String = (0..9).map(|_| generator.alphanumeric()).collect();
    match readable.is_empty() {
        true => hash,
        false => format!("{readable}-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn placeholders_reach_every_text() {
        let mut settings = Settings::new("dev-{i}".into());
        settings.client_id = Some("id-{name}".into());
        settings.subscriptions = vec![("cmd/{i}/{name}/#".into(), QoS::AtMostOnce)];
        settings.will = Some(Will::new("state/{name}", "off"));
        settings.birth = Some(Birth {
            topic: "state/{i}".into(),
            qos: QoS::AtMostOnce,
            retain: false,
            payload: Bytes::new(),
        });
        let filled = settings.numbered(3).named(1);
        assert_eq!(filled.name, "dev-3");
        assert_eq!(filled.client_id.as_deref(), Some("id-dev-3"));
        assert_eq!(filled.subscriptions[0].0, "cmd/3/dev-3/#");
        assert_eq!(filled.will.unwrap().topic, "state/dev-3");
        assert_eq!(filled.birth.unwrap().topic, "state/3");
    }

    #[test]
    fn generated_ids_are_short_and_unlike() {
        let ids: HashSet<_> = (0..10_000)
            .map(|i| generated_id(&format!("a-long-device-name-{i}"), 7))
            .collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() <= 23));
        assert!(!ids.contains(&generated_id("a-long-device-name-1", 8)));
    }

    /// Fails when the end of a name can't be told from what follows: is it client 4 or client 44?
    #[test]
    fn a_name_is_told_from_its_hash() {
        for name in ["client4", "client44", "plant", "7"] {
            let id = generated_id(name, 7);
            let hash = id.strip_prefix(&format!("{name}-")).unwrap();
            assert!(hash.len() == 9 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        assert!(generated_id("Werk-3/übergabe", 7).starts_with("Werk3bergabe-"));
        // A name without any such character leaves the hash.
        assert_eq!(generated_id("日本", 7).len(), 9);
    }
}
