//! Where a broker listens, and what is spoken on the way there.

use std::{fmt, path::PathBuf};

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

    /// The same text for the same listener, however it is spelled.
    pub(crate) fn listener(&self) -> String {
        match self {
            // Host names do not tell upper from lower case.
            Self::Network { host, port, .. } => with_port(host, *port).to_ascii_lowercase(),
            Self::Unix(path) => path.display().to_string(),
        }
    }
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
