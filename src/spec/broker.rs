//! Where a broker is: a URL or a host and a port, parsed once.

use crate::spec::{
    address::{Address, Scheme},
    credentials::Credentials,
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
/// | `mqtt://host`, `tcp://host` | MQTT over TCP | 1883 | |
/// | `mqtts://host`, `ssl://host` | over TLS | 8883 | `tls` |
/// | `ws://host/path` | over WebSocket, sub-protocol `mqtt` | 80 | `websocket` |
/// | `wss://host/path` | over WebSocket over TLS | 443 | both |
/// | `unix:///path` | over a Unix domain socket | | |
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
/// assert!(Broker::from("http://10.0.0.5").error().is_some());
/// ```
#[derive(Debug, Clone)]
pub struct Broker {
    parsed: Result<Address, BrokerError>,
    /// Userinfo of the URL. Used unless the spec names other credentials.
    pub(crate) credentials: Credentials,
}

/// Why a text is not the URL of a broker. It never repeats the text: that may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The text does not follow RFC 3986.
    #[error("it is not a URL")]
    NotAUrl,
    /// None of the schemes in the table of [`Broker`].
    #[error("its scheme '{0}' is not supported: use mqtt://host:port")]
    Scheme(String),
    /// A scheme that takes a feature of this crate that is off.
    #[error("its scheme '{scheme}' takes the feature `{feature}` of mqtt-fleet, which is off")]
    Feature {
        /// The scheme of the URL.
        scheme: String,
        /// The feature, or both of them.
        feature: &'static str,
    },
    /// There is no host between `//` and the port.
    #[error("it names no host")]
    NoHost,
    /// The port is not a number from 1 to 65,535.
    #[error("its port is not a number from 1 to 65,535")]
    Port,
    /// A path or query has no meaning without a WebSocket, and a fragment has none at all.
    #[error("it has a path, a query or a fragment, which its scheme does not use")]
    Path,
    /// `unix` takes an absolute path of at most 107 bytes and no host.
    #[error("the path of its socket is not absolute or too long: use unix:///path")]
    SocketPath,
    /// The user name or the password is not UTF-8 once its percent signs are decoded.
    #[error("its user name or password is not UTF-8")]
    UserInfo,
}

impl Broker {
    /// What is wrong with the URL that this was made from, if anything is.
    pub fn error(&self) -> Option<&BrokerError> {
        self.parsed.as_ref().err()
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
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let parsed = match (host, port) {
            ("", _) => Err(BrokerError::NoHost),
            (_, 0) => Err(BrokerError::Port),
            (host, port) => Ok(Address::Network {
                scheme: Scheme::Mqtt,
                host: host.to_owned(),
                port,
                target: String::new(),
            }),
        };
        Self {
            parsed,
            credentials: Credentials::Anonymous,
        }
    }
}

impl From<std::net::SocketAddr> for Broker {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::from((address.ip().to_string(), address.port()))
    }
}
