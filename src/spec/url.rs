//! The URL of a broker, by RFC 3986: its address, and the credentials that it carries.

use std::{net::Ipv6Addr, path::PathBuf};

use fluent_uri::{
    UriRef,
    component::Authority,
    pct_enc::{EStr, encoder::Userinfo},
};

use crate::spec::{
    address::{Address, Scheme, with_port},
    broker_error::BrokerError,
    credentials::Credentials,
    host,
    readable::may_be_secret,
};

/// What a WebSocket asks for if its URL has no path.
const DEFAULT_PATH: &str = "/mqtt";

/// The longest path that Linux's `sockaddr_un` has room for.
const LONGEST_SOCKET_PATH: usize = 107;

/// The schemes, as other clients spell them too.
const SCHEMES: [(&str, Scheme); 10] = [
    ("mqtt", Scheme::Mqtt),
    ("tcp", Scheme::Mqtt),
    ("mqtt+tcp", Scheme::Mqtt),
    ("mqtts", Scheme::Mqtts),
    ("ssl", Scheme::Mqtts),
    ("tls", Scheme::Mqtts),
    ("mqtt+ssl", Scheme::Mqtts),
    ("mqtt+tls", Scheme::Mqtts),
    ("ws", Scheme::Ws),
    ("wss", Scheme::Wss),
];

pub(super) fn parse(url: &str) -> Result<(Address, Credentials), BrokerError> {
    host::check_ends(url)?;
    let (name, rest) = split_scheme(url)?;
    let lower = name.to_ascii_lowercase();
    if cfg!(unix) && lower == "unix" {
        return socket(url);
    }
    let known = SCHEMES.iter().find(|(known, _)| *known == lower);
    let Some((_, scheme)) = known.copied() else {
        return Err(BrokerError::Scheme(repeatable(name)));
    };
    if let Some(feature) = scheme.missing_features() {
        return Err(BrokerError::Feature {
            scheme: name.to_owned(),
            feature,
        });
    }
    if let Some((second, _)) = rest.split_once("://") {
        let second = second.to_ascii_lowercase();
        if SCHEMES.iter().any(|(known, _)| *known == second) {
            return Err(BrokerError::TwoSchemes);
        }
    }
    let place = Place::of(rest, scheme)?;
    if place.is_followed_by_more && !scheme.is_websocket() {
        return Err(BrokerError::Path);
    }
    // The place is in order by now: what is left is a path or query with such a character.
    let uri = UriRef::parse(url).map_err(|_| BrokerError::NotAUrl)?;
    let authority = uri.authority().ok_or(BrokerError::NoHost)?;
    if uri.has_fragment() {
        return Err(BrokerError::Path);
    }
    let target = match (uri.path().as_str(), uri.query()) {
        _ if !scheme.is_websocket() => String::new(),
        ("", None) => DEFAULT_PATH.to_owned(),
        ("", Some(query)) => format!("{DEFAULT_PATH}?{query}"),
        (path, None) => path.to_owned(),
        (path, Some(query)) => format!("{path}?{query}"),
    };
    let address = Address::Network {
        scheme,
        host: place.host.to_owned(),
        port: place.port,
        target,
    };
    Ok((address, credentials(&authority)?))
}

/// The scheme of a URL, and what stands behind its `://`.
fn split_scheme(url: &str) -> Result<(&str, &str), BrokerError> {
    let is_scheme = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    if let Some((name, rest)) = url.split_once("://") {
        if is_scheme(name) {
            return Ok((name, rest));
        }
    }
    let is_known = |name: &str| SCHEMES.iter().any(|(known, _)| *known == name) || name == "unix";
    let lower = url.to_ascii_lowercase();
    if lower
        .split_once(':')
        .is_some_and(|(name, _)| is_known(name))
    {
        return Err(match lower.starts_with("unix:") {
            true => BrokerError::SocketPath,
            false => BrokerError::NoHost,
        });
    }
    if lower
        .split_once("//")
        .is_some_and(|(name, _)| is_known(name))
    {
        return Err(BrokerError::Colon);
    }
    let complete = completed(url);
    Err(BrokerError::NoScheme { complete })
}

/// A text that is a host, with or without a port, made a URL. Anything else may hold a secret and is
/// not to be repeated.
fn completed(text: &str) -> Option<String> {
    let text = text.trim_start_matches('/').trim_end_matches('/');
    let (host, port) = match text.parse::<Ipv6Addr>() {
        Ok(_) => (text, None),
        Err(_) => host_and_port(text).ok()?,
    };
    host::check(host).ok()?;
    if may_be_secret(host) {
        return None;
    }
    let is_one = host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost");
    match port {
        Some(port @ 8883) => Some(format!("mqtts://{}", with_port(host, port))),
        Some(port) => Some(format!("mqtt://{}", with_port(host, port))),
        None if host.contains(':') => Some(format!("mqtt://[{host}]")),
        None => is_one.then(|| format!("mqtt://{host}")),
    }
}

/// Schemes of others, which people write by mistake.
const FOREIGN: [&str; 14] = [
    "http", "https", "ftp", "file", "amqp", "amqps", "mqtt5", "mqtt3", "mqtt+ws", "mqtt+wss",
    "ws+mqtt", "wss+mqtt", "coap", "redis",
];

/// The name of a scheme if it is a well-known one, or one of ours with up to three characters more: a password
/// may have `://` in it, too.
fn repeatable(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let is_almost = |known: &str| lower.contains(known) && lower.len() <= known.len() + 3;
    let mut known = SCHEMES.iter().map(|(known, _)| *known);
    match FOREIGN.contains(&lower.as_str()) || known.any(is_almost) {
        true => name.to_owned(),
        false => String::new(),
    }
}

/// What stands between `://` and the path.
struct Place<'a> {
    /// Without brackets.
    host: &'a str,
    port: u16,
    /// A path, a query or a fragment stands behind it.
    is_followed_by_more: bool,
}

impl<'a> Place<'a> {
    fn of(rest: &'a str, scheme: Scheme) -> Result<Self, BrokerError> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, more) = rest.split_at(end);
        let place = match authority.rsplit_once('@') {
            Some((userinfo, place)) => {
                if !is_encoded(userinfo) {
                    return Err(BrokerError::UserInfoNotEncoded);
                }
                place
            }
            None => authority,
        };
        let is_at_left = !authority.contains('@') && more.contains('@');
        if is_at_left && (!scheme.is_websocket() || host_and_port(place).is_err()) {
            // `mqtt://user:pass/word@host`: the password has ended the authority.
            return Err(BrokerError::UserInfoNotEncoded);
        }
        let (host, port) = host_and_port(place)?;
        host::check(host)?;
        Ok(Self {
            host,
            port: port.unwrap_or(scheme.default_port()),
            is_followed_by_more: !matches!(more, "" | "/"),
        })
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port`. The host is not checked.
fn host_and_port(place: &str) -> Result<(&str, Option<u16>), BrokerError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(BrokerError::Ipv6)?;
        if host.contains('%') {
            return Err(BrokerError::Zone);
        }
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(BrokerError::Ipv6);
        }
        return match port.strip_prefix(':') {
            Some(digits) => Ok((host, port_of(digits)?)),
            None if port.is_empty() => Ok((host, None)),
            None => Err(BrokerError::Port),
        };
    }
    match place.split_once(':') {
        None => Ok((place, None)),
        Some((_, more)) if more.contains(':') => {
            let before = place.rsplit_once(':').map_or(place, |(before, _)| before);
            let is_address = |text: &str| text.trim_end_matches(']').parse::<Ipv6Addr>().is_ok();
            let has_zone = place
                .split_once('%')
                .is_some_and(|(before, _)| is_address(before));
            match is_address(place) || is_address(before) {
                _ if has_zone => Err(BrokerError::Zone),
                true => Err(BrokerError::Ipv6),
                false => Err(BrokerError::Port),
            }
        }
        Some((host, digits)) => Ok((host, port_of(digits)?)),
    }
}

fn port_of(digits: &str) -> Result<Option<u16>, BrokerError> {
    if digits.is_empty() {
        return Ok(None);
    }
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port @ 1..) if is_number => Ok(Some(port)),
        _ => Err(BrokerError::Port),
    }
}

/// Whether a user name and password are as RFC 3986 wants them in a URL (its section 3.2.1).
fn is_encoded(userinfo: &str) -> bool {
    EStr::<Userinfo>::new(userinfo).is_some()
}

/// `unix:///path`.
fn socket(url: &str) -> Result<(Address, Credentials), BrokerError> {
    let uri = UriRef::parse(url).map_err(|_| BrokerError::NotAUrl)?;
    let authority = uri.authority().ok_or(BrokerError::SocketPath)?;
    if uri.has_fragment() || uri.has_query() {
        return Err(BrokerError::Path);
    }
    let path = decoded(uri.path()).map_err(|_| BrokerError::SocketPath)?;
    let is_path = authority.host().is_empty() && path.starts_with('/') && !path.ends_with('/');
    if !is_path || path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
        return Err(BrokerError::SocketPath);
    }
    let address = Address::Unix(PathBuf::from(path));
    Ok((address, credentials(&authority)?))
}

/// The userinfo of a URL.
fn credentials(authority: &Authority<'_>) -> Result<Credentials, BrokerError> {
    let userinfo = authority.userinfo().filter(|given| !given.is_empty());
    let Some(userinfo) = userinfo else {
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
        assert_eq!(address("http://h"), Err(BrokerError::Scheme("http".into())));
        assert_eq!(address("mqtt://"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt:h"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt://h:0"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h:70000"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h/path"), Err(BrokerError::Path));
        assert_eq!(address("mqtt://my_broker"), Ok("my_broker:1883".into()));
        assert_eq!(address("mqtt+tcp://h"), Ok("h:1883".into()));
        assert_eq!(address("mqtt://h?a"), Err(BrokerError::Path));
        assert_eq!(address("mqtt://h#a"), Err(BrokerError::Path));
        assert_eq!(address(""), Err(BrokerError::Empty));
        assert_eq!(address(" \n"), Err(BrokerError::Empty));
        assert_eq!(address("mqtt://h\n"), Err(BrokerError::Whitespace));
        assert_eq!(address("mqtt//h"), Err(BrokerError::Colon));
        assert_eq!(address("mqtt://h:1:2"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://h:+1"), Err(BrokerError::Port));
        assert_eq!(address("mqtt://u:p@"), Err(BrokerError::NoHost));
        assert_eq!(address("mqtt://u:p@:1883"), Err(BrokerError::NoHost));
        for wrong in [
            "mqtt://::1",
            "mqtt://::1:1883",
            "mqtt://[::1",
            "mqtt://[h]:1883",
        ] {
            assert_eq!(address(wrong), Err(BrokerError::Ipv6), "{wrong}");
        }
        for zone in ["mqtt://[fe80::1%eth0]", "mqtt://[fe80::1%25eth0]:1883"] {
            assert_eq!(address(zone), Err(BrokerError::Zone), "{zone}");
        }
        for wrong in [
            "mqtt://a b",
            "mqtt://bröker",
            "mqtt://{name}",
            "mqtt://10.0.0.256",
        ] {
            let error = address(wrong);
            assert!(
                matches!(error, Err(BrokerError::Host { .. })),
                "{wrong}: {error:?}"
            );
        }
    }

    /// Fails when a text without a scheme is not answered with the URL that was meant.
    #[test]
    fn a_missing_scheme_is_put_in_front() {
        for (text, url) in [
            ("localhost", Some("mqtt://localhost")),
            ("localhost:1883", Some("mqtt://localhost:1883")),
            ("broker:1884", Some("mqtt://broker:1884")),
            ("10.0.0.5", Some("mqtt://10.0.0.5")),
            ("[::1]:1883", Some("mqtt://[::1]:1883")),
            ("::1", Some("mqtt://[::1]")),
            (
                "broker.example.com:8883",
                Some("mqtts://broker.example.com:8883"),
            ),
            ("//h.example", Some("mqtt://h.example")),
            ("://h.example:1883", None),
            ("h.example/mqtt", None),
            ("broker", None),
            ("hunter2", None),
            ("user:hunter2", None),
            ("user:hunter2@h", None),
            ("user:1883@h", None),
            ("user:pa://hunter2@h", None),
        ] {
            let complete = url.map(str::to_owned);
            assert_eq!(
                address(text),
                Err(BrokerError::NoScheme { complete }),
                "{text}"
            );
            let told = address(text).unwrap_err().to_string();
            assert!(told.contains(url.unwrap_or("mqtt://host:1883")), "{told}");
            assert!(!told.contains("hunter"), "{told}");
        }
    }

    /// Fails when a scheme of HTTP is not answered with that of a WebSocket.
    #[test]
    fn http_is_told_the_scheme_of_a_websocket() {
        for (url, wanted) in [("http://h/mqtt", "ws://"), ("HTTPS://h", "wss://")] {
            let told = address(url).unwrap_err().to_string();
            assert!(told.contains(&format!("use {wanted}")), "{told}");
        }
    }

    /// Fails when a password with a character that has to be encoded is not told so, or is repeated.
    #[test]
    fn a_password_that_is_not_encoded_is_told_so() {
        for password in [
            "50%off", "100%", "%", "a@b", "a#b", "a/b", "a?b", "a b", "pä", "a\\b", "a[b", "\"a\"",
            "12/34", "12#34", "12?34", "a^b", "a|b", "a{b}", "a%zz",
        ] {
            for url in [
                format!("mqtt://user:hunter{password}hunter@h"),
                format!("mqtt://user:{password}@h:1883"),
                format!("tcp://{password}:hunter@h"),
            ] {
                let error = address(&url).unwrap_err();
                assert_eq!(error, BrokerError::UserInfoNotEncoded, "{url}");
                let told = format!("{error} {error:?}");
                assert!(!told.contains("hunter"), "{told}");
                assert!(told.contains("percent-encode") && told.contains("credentials"));
            }
        }
        let latin = address("mqtt://u:%ff@h").unwrap_err();
        assert_eq!(latin, BrokerError::UserInfo);
        let forgotten = address("mqtt://user:hunter2").unwrap_err().to_string();
        assert!(forgotten.contains("user:password@host") && !forgotten.contains("hunter"));
        #[cfg(feature = "websocket")]
        {
            let split = address("ws://user:hun/ter@h/mqtt");
            assert_eq!(split, Err(BrokerError::UserInfoNotEncoded));
            assert_eq!(address("ws://h/a@b"), Ok("ws://h:80/a@b".into()));
            assert_eq!(address("ws://h/a b"), Err(BrokerError::NotAUrl));
            assert_eq!(address("ws://h/a#b"), Err(BrokerError::Path));
        }
        let nobody = parse("mqtt://@h").unwrap().1;
        assert!(matches!(nobody, Credentials::Anonymous));
    }

    /// Fails when a host and a port may be anything, or a link-local address loses its zone.
    #[test]
    fn a_host_is_checked() {
        let error = |host: &str, port| Broker::try_from((host, port)).err();
        assert_eq!(error("mqtt://h", 1883), Some(BrokerError::NotOnlyAHost));
        assert_eq!(error("h:1883", 1883), Some(BrokerError::NotOnlyAHost));
        assert_eq!(error("", 1883), Some(BrokerError::NoHost));
        assert_eq!(error("h", 0), Some(BrokerError::Port));
        assert_eq!(error("h ", 1), Some(BrokerError::Whitespace));
        assert!(matches!(error("a b", 1), Some(BrokerError::Host { .. })));
        let local: std::net::SocketAddr = "[fe80::1%7]:1883".parse().unwrap();
        let local = Broker::try_from(local).unwrap();
        assert_eq!(local.to_string(), "[fe80::1%7]:1883");
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
        for alias in ["ssl", "tls", "mqtt+ssl", "MQTT+TLS", "mqtts"] {
            assert_eq!(
                address(&format!("{alias}://h")),
                Ok("mqtts://h:8883".into())
            );
        }
        assert_eq!(address("ws://h"), Ok("ws://h:80/mqtt".into()));
        assert_eq!(address("ws://h/"), Ok("ws://h:80/".into()));
        assert_eq!(address("wss://h:1/a/b?c=d"), Ok("wss://h:1/a/b".into()));
        assert_eq!(address("mqtts://h/path"), Err(BrokerError::Path));
        assert_eq!(address("wss://h#f"), Err(BrokerError::Path));
        let signed = Broker::try_from("wss://h/mqtt?signature=secret").unwrap();
        assert!(!format!("{signed:?} {signed}").contains("secret"));
        match signed.address() {
            Address::Network { target, .. } => assert_eq!(target, "/mqtt?signature=secret"),
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
        let broker = Broker::try_from("mqtt://us%40er:se%3Acret@h").unwrap();
        match &broker.credentials {
            Credentials::Fixed { username, password } => {
                assert_eq!((username.as_str(), password.as_str()), ("us@er", "se:cret"));
            }
            other => panic!("{other:?}"),
        }
        assert!(!format!("{broker:?} {broker}").contains("cret"));
        let broken = Broker::try_from("mqtt://user:secret@h:badport").unwrap_err();
        assert!(!format!("{broken:?}").contains("secret"));
    }
}
