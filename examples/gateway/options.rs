//! What the command line says: the client at each side, and which topic becomes which.

use std::time::Duration;

use mqtt_fleet::{ClientSpec, QoS, Retry, Session, Tls, check_filter, topic_matches};

const USAGE: &str = "usage: gateway [--local URL] [--cloud URL] [--ca FILE] [--site NAME] \
                     [--up FILTER]... [--down FILTER]... [--in-hand N] [--seconds N]";

pub(crate) struct Options {
    pub(crate) local: Option<String>,
    pub(crate) cloud: Option<String>,
    ca: Option<String>,
    site: String,
    up: Vec<String>,
    down: Vec<String>,
    pub(crate) in_hand: usize,
    pub(crate) seconds: Option<Duration>,
}

impl Options {
    /// The client at one side.
    pub(crate) fn side(&self, name: &str) -> Result<ClientSpec, &'static str> {
        let (url, filters) = match name {
            "local" => (&self.local, self.up.clone()),
            _ => {
                let below_site = |filter| format!("{}/{filter}", self.site);
                (&self.cloud, self.down.iter().map(below_site).collect())
            }
        };
        let url = url.as_ref().ok_or("both --local and --cloud, or neither")?;
        let spec = ClientSpec::new(name, url)
            // The session belongs to this id: a new process goes on where the last one was.
            .client_id(format!("gateway-{}-{name}", self.site))
            .session(Session::Kept)
            .retry(Retry::forever().pause(Duration::from_millis(200)..=Duration::from_secs(5)))
            .outbox_capacity(self.in_hand);
        let is_encrypted = url.starts_with("mqtts:") || url.starts_with("wss:");
        let spec = match &self.ca {
            Some(file) if is_encrypted => spec.tls(Tls::ca_file(file)),
            _ => spec,
        };
        let subscribe = |spec: ClientSpec, filter| spec.subscribe(filter, QoS::AtLeastOnce);
        Ok(filters.into_iter().fold(spec, subscribe))
    }

    /// The topic in the cloud, unless the message came from there.
    pub(crate) fn going_up(&self, topic: &str) -> Option<String> {
        let is_ours = self.has_site(topic) || self.goes_down(topic);
        (!is_ours).then(|| format!("{}/{topic}", self.site))
    }

    /// The topic at the local broker, unless the message came from there.
    pub(crate) fn going_down(&self, topic: &str) -> Option<String> {
        let topic = topic.strip_prefix(self.site.as_str())?.strip_prefix('/')?;
        (self.goes_down(topic) && !self.has_site(topic)).then(|| topic.to_owned())
    }

    fn has_site(&self, topic: &str) -> bool {
        topic.split('/').any(|level| level == self.site)
    }

    fn goes_down(&self, topic: &str) -> bool {
        self.down.iter().any(|filter| topic_matches(filter, topic))
    }

    pub(crate) fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            local: None,
            cloud: None,
            ca: None,
            site: "site-7".to_owned(),
            up: Vec::new(),
            down: Vec::new(),
            in_hand: 1_000,
            seconds: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} needs a value\n{USAGE}");
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--local" => options.local = Some(value()?),
                "--cloud" => options.cloud = Some(value()?),
                "--ca" => options.ca = Some(value()?),
                "--site" => options.site = value()?,
                "--up" => options.up.push(value()?),
                "--down" => options.down.push(value()?),
                "--in-hand" => options.in_hand = value()?.parse().map_err(|_| USAGE)?,
                "--seconds" => {
                    let seconds = value()?.parse().map_err(|_| USAGE)?;
                    options.seconds = Some(Duration::from_secs(seconds));
                }
                _ => return Err(format!("unknown argument {argument}\n{USAGE}")),
            }
        }
        for (filters, default) in [
            (&mut options.up, "sensors/#"),
            (&mut options.down, "commands/#"),
        ] {
            if filters.is_empty() {
                filters.push(default.to_owned());
            }
            // They are used before the fleet checks them.
            let broken = filters.iter().find_map(|filter| check_filter(filter).err());
            if let Some(error) = broken {
                return Err(format!("not a filter: {error}\n{USAGE}"));
            }
        }
        if options.site.is_empty() || options.site.contains(['/', '+', '#']) {
            return Err(format!("--site is one topic level\n{USAGE}"));
        }
        if options.in_hand == 0 {
            return Err(format!("--in-hand is at least 1\n{USAGE}"));
        }
        Ok(options)
    }
}
