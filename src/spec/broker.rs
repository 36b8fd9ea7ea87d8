//! Where a broker is: a URL or a host and a port, parsed once.

use std::path::PathBuf;

use fluent_uri::{UriRef, component::Authority, pct_enc::EStr};

use crate::spec::{
    address::{Address, Scheme},
    credentials::Credentials,
};

/// What a WebSocket asks for if its URL has no path.
const DEFAULT_PATH: &str = "/mqtt";

/// The longest path that Linux's `sockaddr_un` has room for.
const LONGEST_SOCKET_PATH: usize = 107;

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

fn parse(url: &str) -> Result<(Address, Credentials), BrokerError> {
    let uri = UriRef::parse(url).map_err(|_| BrokerError::NotAUrl)?;
    let name = uri.scheme().ok_or(BrokerError::NotAUrl)?.as_str();
    let scheme = match name.to_ascii_lowercase().as_str() {
        "mqtt" | "tcp" => Some(Scheme::Mqtt),
        "mqtts" | "ssl" => Some(Scheme::Mqtts),
        "ws" => Some(Scheme::Ws),
        "wss" => Some(Scheme::Wss),
        "unix" if cfg!(unix) => None,
        // `localhost:1883` parses as the scheme `localhost` and a path.
        _ => return Err(BrokerError::Scheme(name.to_owned())),
    };
    if uri.has_fragment() {
        return Err(BrokerError::Path);
    }
    let path = uri.path();
    let Some(scheme) = scheme else {
        let authority = uri.authority().ok_or(BrokerError::SocketPath)?;
        if uri.has_query() {
            return Err(BrokerError::Path);
        }
        let path = decoded(path).map_err(|_| BrokerError::SocketPath)?;
        let is_path = authority.host().is_empty() && path.starts_with('/');
        if !is_path || path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
            return Err(BrokerError::SocketPath);
        }
        let address = Address::Unix(PathBuf::from(path));
        return Ok((address, credentials(&authority)?));
    };
    if let Some(feature) = scheme.missing_features() {
        return Err(BrokerError::Feature {
            scheme: name.to_owned(),
            feature,
        });
    }
    let authority = uri.authority().ok_or(BrokerError::NoHost)?;
    let target = match (path.as_str(), uri.query()) {
        ("" | "/", None) if !scheme.is_websocket() => String::new(),
        _ if !scheme.is_websocket() => return Err(BrokerError::Path),
        ("", None) => DEFAULT_PATH.to_owned(),
        ("", Some(query)) => format!("{DEFAULT_PATH}?{query}"),
        (path, None) => path.to_owned(),
        (path, Some(query)) => format!("{path}?{query}"),
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    if host.is_empty() {
        return Err(BrokerError::NoHost);
    }
    let port = match authority.port().map(|port| port.as_str()) {
        None | Some("") => scheme.default_port(),
        Some(digits) => digits.parse().map_err(|_| BrokerError::Port)?,
    };
    if port == 0 {
        return Err(BrokerError::Port);
    }
    let address = Address::Network {
        scheme,
        host: host.to_owned(),
        port,
        target,
    };
    Ok((address, credentials(&authority)?))
}

/// The userinfo of a URL.
fn credentials(authority: &Authority<'_>) -> Result<Credentials, BrokerError> {
    let Some(userinfo) = authority.userinfo() else {
        return Ok(Credentials::Anonymous);
    };
    let (username, password) = match userinfo.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (userinfo, None),
    };
    Ok(Credentials::Fixed {
        username: decoded(username)?,
        password: password.map(decoded).transpose()?.unwrap_or_default(),
    })
}

/// Percent signs decoded.
fn decoded<E: fluent_uri::pct_enc::Encoder>(text: &EStr<E>) -> Result<String, BrokerError> {
    text.decode()
        .to_string()
        .map(|text| text.into_owned())
        .map_err(|_| BrokerError::UserInfo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<String, BrokerError> {
        Broker::from(url).parsed.map(|address| address.to_string())
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(address("mqtt://h"), Ok("h:1883".into()));
        assert_eq!(address("mqtt://h:"), Ok("h:1883".into()));
        assert_eq!(address("MQTT://h:99/"), Ok("h:99".into()));
        assert_eq!(address("tcp://[::1]:99"), Ok("[::1]:99".into()));
        assert_eq!(address("mqtt://[fe80::1]"), Ok("[fe80::1]:1883".into()));
        assert_eq!(address("localhost"), Err(BrokerError::NotAUrl));
        assert_eq!(
            address("localhost:1883"),
            Err(BrokerError::Scheme("localhost".into()))
        );
        assert_eq!(address("http://h"), Err(BrokerError::Scheme("http".into())));
        assert_eq!(address("mqtt://"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt:h"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt://h:0"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h:70000"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h/path"), Err(BrokerError::Path));
        assert_eq!(address("mqtt://a b"), Err(BrokerError::NotAUrl));
    }

    #[test]
    fn sockets_are_read() {
        let socket = "unix:///run/mqtt.sock";
        assert_eq!(address(socket), Ok(socket.into()));
        assert_eq!(address("unix:///a%20b"), Ok("unix:///a b".into()));
        for wrong in [
            "unix://run/mqtt.sock",
            "unix:run",
            "unix:///a%00",
            "unix://",
        ] {
            assert_eq!(address(wrong), Err(BrokerError::SocketPath), "{wrong}");
        }
        let long = format!("unix:///{}", "x".repeat(107));
        assert_eq!(address(&long), Err(BrokerError::SocketPath));
        assert_eq!(address("unix:///a?b"), Err(BrokerError::Path));
    }

    #[cfg(all(feature = "tls", feature = "websocket"))]
    #[test]
    fn each_scheme_has_its_port_and_path() {
        assert_eq!(address("mqtts://h"), Ok("mqtts://h:8883".into()));
        assert_eq!(address("SSL://[::1]"), Ok("mqtts://[::1]:8883".into()));
        assert_eq!(address("ws://h"), Ok("ws://h:80/mqtt".into()));
        assert_eq!(address("ws://h/"), Ok("ws://h:80/".into()));
        assert_eq!(address("wss://h:1/a/b?c=d"), Ok("wss://h:1/a/b".into()));
        assert_eq!(address("mqtts://h/path"), Err(BrokerError::Path));
        assert_eq!(address("wss://h#f"), Err(BrokerError::Path));
        let signed = Broker::from("wss://h/mqtt?signature=secret");
        assert!(!format!("{signed:?} {signed}").contains("secret"));
        match signed.address() {
            Ok(Address::Network { target, .. }) => assert_eq!(target, "/mqtt?signature=secret"),
            other => panic!("{other:?}"),
        }
    }

    #[cfg(not(any(feature = "tls", feature = "websocket")))]
    #[test]
    fn a_feature_that_is_off_is_named() {
        let error = Broker::from("wss://h").parsed.unwrap_err().to_string();
        assert!(error.contains("`tls` and `websocket`"), "{error}");
    }

    #[test]
    fn userinfo_becomes_credentials_and_is_never_shown() {
        let broker = Broker::from("mqtt://us%40er:se%3Acret@h");
        match &broker.credentials {
            Credentials::Fixed { username, password } => {
                assert_eq!((username.as_str(), password.as_str()), ("us@er", "se:cret"));
            }
            other => panic!("{other:?}"),
        }
        assert!(!format!("{broker:?} {broker}").contains("cret"));
        let broken = Broker::from("mqtt://user:secret@h:badport");
        assert!(!format!("{broken:?}").contains("secret"));
    }
}
