//! What the command line says: the client at each side, and which topic becomes which.

use std::{error::Error, time::Duration};

use mqtt_fleet::{ClientSpec, QoS, Retry, Session, Tls, check_filter, topic_matches};

use crate::support::Arguments;

pub(crate) const HELP: &str = "\
usage: gateway [--local URL] [--cloud URL] [--ca FILE] [--site NAME]
               [--up FILTER]... [--down FILTER]... [--in-hand N] [--seconds N]

  --local URL     the broker of the site; needs --cloud too
  --cloud URL     the broker in the cloud; needs --local too. Both may be mqtt://, mqtts://
                  and unix://, and with the feature websocket ws:// and wss://
  --ca FILE       the certificate authorities for mqtts:// and wss://, a PEM file
                  (those of the system)
  --site NAME     one topic level, also part of the client ids (site-7)
  --up FILTER     what goes up, without the site; may be repeated (sensors/#)
  --down FILTER   what goes down, without the site; may be repeated (commands/#)
  --in-hand N     how many messages may wait for their acknowledgement each way (1000)
  --seconds N     ends after N seconds; Ctrl-C and SIGTERM end it at any time
  --help          prints this";

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

    pub(crate) fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
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
        while let Some(option) = arguments.next()? {
            match option.as_str() {
                "--local" => options.local = Some(arguments.broker()?),
                "--cloud" => options.cloud = Some(arguments.broker()?),
                "--ca" => options.ca = Some(arguments.file()?),
                "--site" => options.site = arguments.level()?,
                "--up" => options.up.push(filter(&mut arguments)?),
                "--down" => options.down.push(filter(&mut arguments)?),
                "--in-hand" => options.in_hand = arguments.count()?,
                "--seconds" => options.seconds = Some(arguments.seconds()?),
                _ => return Ok(arguments.unknown()?),
            }
        }
        if options.local.is_some() != options.cloud.is_some() {
            let text = "--local and --cloud: give both, or neither";
            return Err(Arguments::conflict(text).into());
        }
        for (filters, default) in [
            (&mut options.up, "sensors/#"),
            (&mut options.down, "commands/#"),
        ] {
            if filters.is_empty() {
                filters.push(default.to_owned());
            }
        }
        Ok(options)
    }
}

/// A filter is used before the fleet checks it.
fn filter(arguments: &mut Arguments) -> Result<String, Box<dyn Error>> {
    let filter = arguments.text()?;
    match check_filter(&filter) {
        Ok(()) => Ok(filter),
        Err(error) => Err(arguments.because(error).into()),
    }
}
