//! Where a broker is: a URL or a host and a port, parsed once.

use fluent_uri::UriRef;

use crate::spec::credentials::Credentials;

/// The port that the standard's registration gives to MQTT without TLS.
const DEFAULT_PORT: u16 = 1883;

/// The address of a broker, with the credentials that its URL may carry.
///
/// Made from a URL (`mqtt://host`, `mqtt://user:password@host:1884`, `mqtt://[::1]:1883`) or from
/// `(host, port)`. The port defaults to 1883. A text that is no broker URL is kept as the error
/// that it is and comes out of `start()`, with the client's name.
///
/// ```
/// use mqtt_fleet::Broker;
///
/// assert_eq!(Broker::from("mqtt://10.0.0.5").to_string(), "10.0.0.5:1883");
/// assert_eq!(Broker::from(("::1", 1884)).to_string(), "[::1]:1884");
/// assert!(Broker::from("http://10.0.0.5").error().is_some());
/// ```
#[derive(Debug, Clone)]
pub struct Broker {
    parsed: Result<Address, BrokerError>,
    /// Userinfo of the URL. Used unless the spec names other credentials.
    pub(crate) credentials: Credentials,
}

/// A host, as a name or an address without brackets, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why a text is not the URL of a broker. It never repeats the text: that may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The text does not follow RFC 3986.
    #[error("it is not a URL")]
    NotAUrl,
    /// Only `mqtt` (also spelled `tcp`) can be connected to.
    #[error("its scheme '{0}' is not supported: use mqtt://host:port")]
    Scheme(String),
    /// There is no host between `//` and the port.
    #[error("it names no host")]
    NoHost,
    /// The port is not a number from 1 to 65,535.
    #[error("its port is not a number from 1 to 65,535")]
    Port,
    /// A path, query or fragment has no meaning for MQTT over TCP.
    #[error("it has a path, a query or a fragment, which MQTT over TCP does not use")]
    Path,
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

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
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
            (host, port) => Ok(Address {
                host: host.to_owned(),
                port,
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
    let scheme = uri.scheme().ok_or(BrokerError::NotAUrl)?.as_str();
    let authority = uri.authority().ok_or(match scheme {
        // `localhost:1883` parses as the scheme `localhost` and a path: say what is missing.
        "mqtt" | "tcp" => BrokerError::NoHost,
        _ => BrokerError::Scheme(scheme.to_owned()),
    })?;
    if !scheme.eq_ignore_ascii_case("mqtt") && !scheme.eq_ignore_ascii_case("tcp") {
        return Err(BrokerError::Scheme(scheme.to_owned()));
    }
    if !matches!(uri.path().as_str(), "" | "/") || uri.has_query() || uri.has_fragment() {
        return Err(BrokerError::Path);
    }
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    if host.is_empty() {
        return Err(BrokerError::NoHost);
    }
    let port = match authority.port().map(|port| port.as_str()) {
        None | Some("") => DEFAULT_PORT,
        Some(digits) => digits.parse().map_err(|_| BrokerError::Port)?,
    };
    if port == 0 {
        return Err(BrokerError::Port);
    }
    let credentials = match authority.userinfo() {
        None => Credentials::Anonymous,
        Some(userinfo) => {
            let (username, password) = match userinfo.split_once(':') {
                Some((username, password)) => (username, Some(password)),
                None => (userinfo, None),
            };
            let decode = |text: &fluent_uri::pct_enc::EStr<_>| {
                text.decode()
                    .to_string()
                    .map(|text| text.into_owned())
                    .map_err(|_| BrokerError::UserInfo)
            };
            let password = password.map(decode).transpose()?.unwrap_or_default();
            Credentials::Fixed {
                username: decode(username)?,
                password,
            }
        }
    };
    let address = Address {
        host: host.to_owned(),
        port,
    };
    Ok((address, credentials))
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
        assert_eq!(
            address("mqtts://h"),
            Err(BrokerError::Scheme("mqtts".into()))
        );
        assert_eq!(address("mqtt://"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt:h"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt://h:0"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h:70000"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h/path"), Err(BrokerError::Path));
        assert_eq!(address("mqtt://a b"), Err(BrokerError::NotAUrl));
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
