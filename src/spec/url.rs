//! The URL of a broker, by RFC 3986: its address, and the credentials that it carries.

use std::path::PathBuf;

use fluent_uri::{UriRef, component::Authority, pct_enc::EStr};

use crate::spec::{
    address::{Address, Scheme},
    broker::BrokerError,
    credentials::Credentials,
};

/// What a WebSocket asks for if its URL has no path.
const DEFAULT_PATH: &str = "/mqtt";

/// The longest path that Linux's `sockaddr_un` has room for.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) fn parse(url: &str) -> Result<(Address, Credentials), BrokerError> {
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
    use crate::spec::broker::Broker;

    fn address(url: &str) -> Result<String, BrokerError> {
        parse(url).map(|(address, _)| address.to_string())
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
        let error = parse("wss://h").unwrap_err().to_string();
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
