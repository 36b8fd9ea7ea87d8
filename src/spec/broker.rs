//! Where a broker is: a URL or a host and a port, parsed once.

use crate::spec::{
    address::{Address, Scheme},
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

/// Why a text is not the URL of a broker, or no host of one, and what to write instead. It repeats the
/// text only as far as that can't hold a password.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// There is no text.
    #[error("it is empty: write mqtt://host:port")]
    Empty,
    /// White space or a character that can't be seen at the beginning or the end, such as the line end or
    /// the byte order mark of a file.
    #[error(
        "it begins or ends with a space, a line end or a character that can't be seen: take that away"
    )]
    Whitespace,
    /// Quotes around the text, as a shell or a file of settings leaves them.
    #[error(
        "it has a quote or an angle bracket at its beginning or end, which is taken as a part of it: take that away"
    )]
    Quoted,
    /// There is no `://`.
    #[error("it has no scheme: {}", scheme_wanted(.complete.as_deref()))]
    NoScheme {
        /// The URL that was meant, if the text is only a host, or a host and a port.
        complete: Option<String>,
    },
    /// `mqtt//host`.
    #[error("there is no colon behind its scheme: write mqtt://host:port")]
    Colon,
    /// The path or the query of a WebSocket, or the path of a socket, does not follow RFC 3986.
    #[error(
        "it is not a URL: its path or query has a character that has to be percent-encoded, such as a space as \
         %20, and a URL has no placeholders"
    )]
    NotAUrl,
    /// None of the schemes in the table of [`Broker`].
    ///
    /// The text is the scheme if it is a well-known one or almost one of the table's, and empty otherwise: it may be a secret.
    #[error("its scheme {}is not one that is spoken here: {}", shown_scheme(.0), instead_of(.0))]
    Scheme(String),
    /// `mqtt://mqtt://host`.
    #[error("it has two schemes: leave one of them, as in mqtt://host:port")]
    TwoSchemes,
    /// A scheme that takes a feature of this crate that is off.
    #[error("its scheme '{scheme}' takes the feature `{feature}` of mqtt-fleet, which is off")]
    Feature {
        /// The scheme of the URL.
        scheme: String,
        /// The feature, or both of them.
        feature: &'static str,
    },
    /// There is no host between `://` and the port, or the two slashes are missing.
    #[error("it names no host behind '://': write mqtt://host:port")]
    NoHost,
    /// What stands in the place of the host can't be one.
    #[error("its host {problem}")]
    Host {
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },
    /// The host of `(host, port)` has a scheme, a port, a path or credentials.
    #[error(
        "the host of (host, port) is a name or an address and nothing else: write a URL as one text, \
         such as \"mqtt://host:1883\""
    )]
    NotOnlyAHost,
    /// An IPv6 address without its brackets, or brackets around something else.
    #[error("an IPv6 address stands in brackets: write mqtt://[::1]:1883")]
    Ipv6,
    /// A URL has no place for the zone of a link-local IPv6 address.
    #[error(
        "a URL has no place for the zone of an IPv6 address (what follows its '%'): give host and port, \
         such as (\"fe80::1%eth0\", 1883)"
    )]
    Zone,
    /// The port is not a number from 1 to 65,535.
    #[error(
        "its port is not a number from 1 to 65,535: write mqtt://host:1883, with a user name and password \
         mqtt://user:password@host:1883"
    )]
    Port,
    /// A path or query has no meaning without a WebSocket, and a fragment has none at all.
    #[error(
        "it has a path, a query or a fragment, which its scheme does not use: end it after the port \
         (ws:// and wss:// take a path and a query; in a path, percent-encode ? as %3F and # as %23)"
    )]
    Path,
    /// `unix` takes the absolute path of a file, of at most 107 bytes, and no host.
    #[error(
        "the path of its socket is not absolute, not that of a file, or longer than 107 bytes: use unix:///path, \
         with three slashes"
    )]
    SocketPath,
    /// A character of the user name or the password has a meaning of its own in a URL.
    #[error(
        "its user name or password has a character that a URL can't have as it is: percent-encode it (% as \
         %25, @ as %40, # as %23, / as %2F, ? as %3F, : as %3A), or leave both out and use `credentials`"
    )]
    UserInfoNotEncoded,
    /// The user name or the password is not UTF-8 once its percent signs are decoded.
    #[error(
        "its user name or password is not UTF-8 once its percent signs are decoded: percent-encode the bytes of \
         its UTF-8, and % itself as %25, or use `credentials`"
    )]
    UserInfo,
}

crate::spec::readable::debug_is_text!(BrokerError);

/// What a URL without a scheme lacks.
fn scheme_wanted(complete: Option<&str>) -> String {
    match complete {
        Some(url) if url.starts_with("mqtts:") => format!("write {url}"),
        Some(url) => format!("write {url} (mqtts:// for TLS, ws:// or wss:// for WebSocket)"),
        None => "begin it with mqtt:// (mqtts:// for TLS, ws:// or wss:// for WebSocket), as in \
                 mqtt://host:1883"
            .to_owned(),
    }
}

fn shown_scheme(scheme: &str) -> String {
    match scheme {
        "" => String::new(),
        scheme => format!("'{scheme}' "),
    }
}

/// What to write for a scheme that there is not.
fn instead_of(scheme: &str) -> &'static str {
    match scheme.to_ascii_lowercase().as_str() {
        "mqtt+ws" | "ws+mqtt" => "use ws://",
        "mqtt+wss" | "wss+mqtt" => "use wss://",
        "http" => "use ws:// for MQTT over WebSocket, else mqtt://host:port",
        "https" => "use wss:// for MQTT over WebSocket and TLS, else mqtts://host:port",
        _ => "use mqtt://host:port, or mqtts://, ws://, wss:// or unix://",
    }
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
