//! Where a broker is: a URL or a host and a port, parsed once.

use crate::spec::{
    address::{Address, Scheme},
    broker_error::BrokerError,
    credentials::Credentials,
    host,
    url::parse,
};

/// The address of a broker, with the credentials that its URL may carry.
///
/// Made from a URL (`mqtt://host`, `mqtt://user:password@host:1884`, `mqtt://[::1]:1883`) or, for
/// MQTT over TCP, from `(host, port)`. A text that is no broker URL is kept as the error that it
/// is and comes out of `start()`, with the client's name.
///
/// | URL | what is spoken | port, if none is given | feature |
/// |---|---|---|---|
/// | `mqtt://host`, `tcp://`, `mqtt+tcp://` | MQTT over TCP | 1883 | |
/// | `mqtts://host`, `ssl://`, `tls://`, `mqtt+ssl://`, `mqtt+tls://` | over TLS | 8883 | `tls` |
/// | `ws://host/path` | over WebSocket, sub-protocol `mqtt` | 80 | `websocket` |
/// | `wss://host/path` | over WebSocket over TLS | 443 | both |
/// | `unix:///path` | over a Unix domain socket | | |
///
/// Upper and lower case of a scheme are the same. In the user name and the password of a URL, `%`, `@`,
/// `#`, `/`, `?` and `:` are percent-encoded ([`ClientSpec::credentials`](crate::ClientSpec::credentials)
/// takes them as they are). A host is a name of letters, digits, `-`, `_` and `.` (in punycode if it has
/// others), an IPv4 address, or an IPv6 address, in brackets in a URL.
///
/// The path of a WebSocket defaults to `/mqtt`. A query behind it is sent along and never shown:
/// signed URLs have their secret there. How TLS is done says
/// [`ClientSpec::tls`](crate::ClientSpec::tls).
///
/// ```
/// use mqtt_fleet::Broker;
///
/// assert_eq!(Broker::from("mqtt://10.0.0.5").to_string(), "10.0.0.5:1883");
/// assert_eq!(Broker::from("unix:///run/mqtt.sock").to_string(), "unix:///run/mqtt.sock");
/// assert_eq!(Broker::from(("::1", 1884)).to_string(), "[::1]:1884");
///
/// let typo = Broker::from("localhost:1883");
/// assert_eq!(
///     typo.error().map(ToString::to_string).as_deref(),
///     Some("it has no scheme: write mqtt://localhost:1883 (mqtts:// for TLS, ws:// or wss:// for WebSocket)"),
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Broker {
    parsed: Result<Address, BrokerError>,
    /// Userinfo of the URL. Used unless the spec names other credentials.
    pub(crate) credentials: Credentials,
}

impl Broker {
    /// What is wrong with the URL that this was made from, if anything is.
    pub fn error(&self) -> Option<&BrokerError> {
        self.parsed.as_ref().err()
    }

    /// The same with the texts of its credentials filled in.
    pub(crate) fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        Self {
            parsed: self.parsed.clone(),
            credentials: self.credentials.filled(fill),
        }
    }

    pub(crate) fn address(&self) -> Result<&Address, &BrokerError> {
        self.parsed.as_ref()
    }
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.parsed {
            Ok(address) => address.fmt(f),
            Err(_) => f.write_str("(no broker)"),
        }
    }
}

impl From<&str> for Broker {
    fn from(url: &str) -> Self {
        match parse(url) {
            Ok((address, credentials)) => Self {
                parsed: Ok(address),
                credentials,
            },
            Err(error) => Self {
                parsed: Err(error),
                credentials: Credentials::Anonymous,
            },
        }
    }
}

impl From<String> for Broker {
    fn from(url: String) -> Self {
        Self::from(url.as_str())
    }
}

impl From<&String> for Broker {
    fn from(url: &String) -> Self {
        Self::from(url.as_str())
    }
}

impl<H: Into<String>> From<(H, u16)> for Broker {
    fn from((host, port): (H, u16)) -> Self {
        let host = host.into();
        let parsed = match host::alone(&host) {
            Ok(_) if port == 0 => Err(BrokerError::Port),
            Ok(host) => Ok(Address::Network {
                scheme: Scheme::Mqtt,
                host: host.to_owned(),
                port,
                target: String::new(),
            }),
            Err(error) => Err(error),
        };
        Self {
            parsed,
            credentials: Credentials::Anonymous,
        }
    }
}

impl From<std::net::SocketAddr> for Broker {
    fn from(address: std::net::SocketAddr) -> Self {
        let host = match address {
            // A link-local address is of no use without its zone.
            std::net::SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                format!("{}%{}", v6.ip(), v6.scope_id())
            }
            _ => address.ip().to_string(),
        };
        Self::from((host, address.port()))
    }
}
