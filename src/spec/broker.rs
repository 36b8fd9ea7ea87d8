//! Where a broker is: a URL or a host and a port, parsed once.

use std::{fmt, net::SocketAddr, str::FromStr};

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
/// MQTT over TCP, from `(host, port)` or a socket address. What is no broker is a [`BrokerError`].
/// [`ClientSpec::new`](crate::ClientSpec::new) takes whatever a broker can be made from, and leaves it to
/// the start to report such an error, with the client's name.
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
/// # fn main() -> Result<(), mqtt_fleet::BrokerError> {
/// let plant: Broker = "mqtt://10.0.0.5".parse()?;
/// assert_eq!(plant.to_string(), "10.0.0.5:1883");
/// assert_eq!(Broker::try_from("unix:///run/mqtt.sock")?.to_string(), "unix:///run/mqtt.sock");
/// assert_eq!(Broker::try_from(("::1", 1884))?.to_string(), "[::1]:1884");
///
/// let typo = Broker::try_from("localhost:1883").unwrap_err();
/// assert_eq!(
///     typo.to_string(),
///     "it has no scheme: write mqtt://localhost:1883 (mqtts:// for TLS, ws:// or wss:// for WebSocket)",
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Broker {
    address: Address,
    /// Userinfo of the URL. Used unless the spec names other credentials.
    pub(crate) credentials: Credentials,
}

impl Broker {
    /// The same with the texts of its credentials filled in.
    pub(crate) fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        Self {
            address: self.address.clone(),
            credentials: self.credentials.filled(fill),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

/// `host:port` for MQTT over TCP, else a URL, without user, password and query.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl FromStr for Broker {
    type Err = BrokerError;

    fn from_str(url: &str) -> Result<Self, BrokerError> {
        let (address, credentials) = parse(url)?;
        Ok(Self {
            address,
            credentials,
        })
    }
}

impl TryFrom<&str> for Broker {
    type Error = BrokerError;

    fn try_from(url: &str) -> Result<Self, BrokerError> {
        url.parse()
    }
}

impl TryFrom<String> for Broker {
    type Error = BrokerError;

    fn try_from(url: String) -> Result<Self, BrokerError> {
        url.parse()
    }
}

impl TryFrom<&String> for Broker {
    type Error = BrokerError;

    fn try_from(url: &String) -> Result<Self, BrokerError> {
        url.parse()
    }
}

impl<H: Into<String>> TryFrom<(H, u16)> for Broker {
    type Error = BrokerError;

    fn try_from((host, port): (H, u16)) -> Result<Self, BrokerError> {
        let host = host.into();
        let host = host::alone(&host)?;
        if port == 0 {
            return Err(BrokerError::Port);
        }
        Ok(Self {
            address: Address::Network {
                scheme: Scheme::Mqtt,
                host: host.to_owned(),
                port,
                target: String::new(),
            },
            credentials: Credentials::Anonymous,
        })
    }
}

impl TryFrom<SocketAddr> for Broker {
    type Error = BrokerError;

    fn try_from(address: SocketAddr) -> Result<Self, BrokerError> {
        let host = match address {
            // A link-local address is of no use without its zone.
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                format!("{}%{}", v6.ip(), v6.scope_id())
            }
            _ => address.ip().to_string(),
        };
        Self::try_from((host, address.port()))
    }
}
