//! Where a broker listens, and what is spoken on the way there.

use std::{fmt, path::PathBuf};

use crate::spec::host;

/// What is between TCP and MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
}

impl Scheme {
    /// The ports that are registered for MQTT, and those of HTTP for a WebSocket.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The features of this crate that it takes and that are off.
    pub(crate) fn missing_features(self) -> Option<&'static str> {
        let tls = self.is_encrypted() && !cfg!(feature = "tls");
        let websocket = self.is_websocket() && !cfg!(feature = "websocket");
        match (tls, websocket) {
            (true, true) => Some("tls` and `websocket"),
            (true, false) => Some("tls"),
            (false, true) => Some("websocket"),
            (false, false) => None,
        }
    }
}

/// Where a broker is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Network {
        scheme: Scheme,
        /// A name, or an address without brackets.
        host: String,
        port: u16,
        /// What a WebSocket asks for: path and query, which may hold a signature. Else empty.
        target: String,
    },
    /// The file of a Unix domain socket.
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Network { scheme, .. } if scheme.is_encrypted())
    }

    /// The same for the same broker, however its address is spelled. Behind one port of a web server, the
    /// path and the query of a WebSocket choose the broker. Not to be shown: a query may hold a secret.
    pub(crate) fn listener(&self) -> Listener {
        match self {
            Self::Network {
                host, port, target, ..
            } => Listener::Network(host::canonical(host), *port, target.clone()),
            // Its components: without doubled slashes and `.`.
            Self::Unix(path) => Listener::Unix(path.components().collect()),
        }
    }
}

/// What tells two brokers apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Listener {
    Network(String, u16, String),
    Unix(PathBuf),
}

/// `host:port`, with the brackets that an IPv6 address takes.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// `host:port` for MQTT over TCP, else a URL. Without the query.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network {
                scheme,
                host,
                port,
                target,
            } => {
                let place = with_port(host, *port);
                let path = target.split('?').next().unwrap_or_default();
                match scheme {
                    Scheme::Mqtt => f.write_str(&place),
                    _ => write!(f, "{}://{place}{path}", scheme.name()),
                }
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{address::Listener, broker::Broker};

    fn listener(url: &str) -> Listener {
        let broker: Broker = url.parse().unwrap();
        broker.address().listener()
    }

    fn is_one(one: &str, other: &str) -> bool {
        listener(one) == listener(other)
    }

    /// Fails when two spellings of one broker count as two: two clients with one client id would end each other.
    #[test]
    fn spellings_of_one_broker() {
        for (one, other) in [
            ("mqtt://H", "tcp://h:1883"),
            ("mqtt://h/", "MQTT://h."),
            ("mqtt://[::1]", "mqtt://[0:0:0:0:0:0:0:1]:1883"),
            ("mqtt://u:p@h", "mqtt://v:q@h"),
            ("unix:///run/a", "unix:///run/./a"),
            ("unix:///run/a", "unix:////run//a"),
            ("unix:///run/a", "unix:///run/%61"),
        ] {
            assert!(is_one(one, other), "{one} {other}");
        }
        #[cfg(feature = "websocket")]
        assert!(is_one("ws://h", "ws://H:80/mqtt"));
        #[cfg(feature = "tls")]
        assert!(is_one("mqtts://h", "ssl://h:8883"));
    }

    /// Fails when two brokers count as one: a client id that both know would be refused.
    #[test]
    fn brokers_that_differ() {
        for (one, other) in [
            ("mqtt://h", "mqtt://h:1884"),
            ("mqtt://localhost", "mqtt://127.0.0.1"),
            ("unix:///run/a", "unix:///run/A"),
            ("unix:///run/a", "unix:///run/b/../a"),
        ] {
            assert!(!is_one(one, other), "{one} {other}");
        }
        #[cfg(feature = "websocket")]
        for (one, other) in [
            ("ws://h/a", "ws://h/b"),
            ("ws://h/a", "ws://h/A"),
            ("ws://h/a", "ws://h/a/"),
            ("ws://h/a?tenant=1", "ws://h/a?tenant=2"),
            ("ws://h", "ws://h/"),
        ] {
            assert!(!is_one(one, other), "{one} {other}");
        }
        #[cfg(all(feature = "tls", feature = "websocket"))]
        assert!(!is_one("ws://h", "wss://h"));
    }
}
