//! Why an attempt failed or a connection ended: small, clonable, typed.

use std::{fmt, io, time::Duration};

use crate::spec::readable::Rounded;

use crate::spec::qos::QoS;

/// Why a connect attempt failed, a connection ended or a subscription was not granted as asked.
///
/// ```
/// use mqtt_fleet::{Cause, Refusal};
///
/// let cause = Cause::Refused(Refusal::NotAuthorized);
/// let text = cause.to_string();
/// assert!(text.starts_with("the broker refused the connection: not authorized (code 5)"), "{text}");
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The host name has no address, or the name service did not answer.
    #[error(
        "the host {host} was not resolved: {message}: is its name right, and does this system's name service work?"
    )]
    Resolve {
        /// The name that was looked up.
        host: String,
        /// What the name service said.
        message: String,
    },
    /// No connection came about: refused, unreachable, no such socket.
    #[error("no connection to {address}: {}{}", plain(message), to_connect(*kind))]
    Connect {
        /// What was tried: `address:port`, `host:port` where TLS needs the name, or the path of a
        /// socket.
        address: String,
        /// The operating system's class of error.
        kind: io::ErrorKind,
        /// The operating system's text.
        message: String,
    },
    /// Connect and CONNACK took longer than the connect timeout.
    #[error(
        "no CONNACK from {address} within {}: is a broker there, and does it speak what its URL says ({SCHEMES})?",
        Rounded(*timeout)
    )]
    ConnectTimeout {
        /// What was tried.
        address: String,
        /// The client's connect timeout.
        timeout: Duration,
    },
    /// CONNACK with a return code other than 0 (section 3.2.2.3).
    #[error("the broker refused the connection: {}{}", .0, to_be_let_in(*.0))]
    Refused(Refusal),
    /// The first answer was no CONNACK.
    #[error("{address} does not speak MQTT: {message}{}", to_find_mqtt(message))]
    NotMqtt {
        /// What was tried.
        address: String,
        /// What was wrong with the answer.
        message: String,
    },
    /// The broker's certificate was not accepted, or the broker did not accept that of the client.
    #[error("the certificate exchange with {address} failed: {message}")]
    Certificate {
        /// What was tried.
        address: String,
        /// Which certificate, and what is wrong with it.
        message: String,
    },
    /// TLS did not come about for another reason than a certificate.
    #[error("no TLS with {address}: {message}")]
    Tls {
        /// What was tried.
        address: String,
        /// What rustls said.
        message: String,
    },
    /// The server did not agree to a WebSocket with the sub-protocol `mqtt`.
    #[error("no WebSocket with {address}: {message}")]
    WebSocket {
        /// What was tried.
        address: String,
        /// What the server answered.
        message: String,
    },
    /// The function that was asked for credentials failed or panicked.
    #[error("no credentials: {message}")]
    Credentials {
        /// The function's error.
        message: String,
    },
    /// The broker closed the connection. MQTT 3.1.1 gives it no way to say why.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker closed the connection, as it did before, with the same message under way.
    #[error("the broker closed the connection on the message to {topic:?}{}", in_a_row(*times))]
    ClosedOn {
        /// The message's topic.
        topic: String,
        /// How many connections in a row.
        times: u32,
    },
    /// Reading or writing failed.
    #[error("the connection broke: {}", plain(message))]
    Broken {
        /// The operating system's class of error.
        kind: io::ErrorKind,
        /// The operating system's text.
        message: String,
    },
    /// A keep alive ping was not answered in time, and no piece of a packet came either.
    #[error("the broker did not answer the keep alive ping")]
    KeepAlive,
    /// The broker read nothing of what was sent for as long as the connect timeout.
    #[error("the broker does not read")]
    WriteTimeout,
    /// A packet that the standard does not allow here, or that cannot be decoded.
    #[error("protocol error: {message}")]
    Protocol {
        /// What was wrong.
        message: String,
    },
    /// A packet is larger than the client's packet size limit.
    #[error("a packet of {size} bytes exceeds the limit of {limit} (max_packet_size)")]
    TooLarge {
        /// Bytes of the packet.
        size: usize,
        /// The client's limit.
        limit: usize,
    },
    /// A SUBSCRIBE was not answered in time.
    #[error("the broker did not answer a SUBSCRIBE")]
    SubackTimeout,
    /// SUBACK with return code 0x80 for this filter [MQTT-3.9.3-2].
    #[error("the broker refused the subscription to {filter}")]
    SubscriptionRefused {
        /// The filter that was refused.
        filter: String,
    },
    /// SUBACK granted this filter with a lower quality of service than was asked for (section
    /// 3.9.3). Messages come with the lower one at most.
    #[error(
        "the broker lowered the subscription to {filter}: asked for QoS {}, granted QoS {}",
        u8::from(*.asked),
        u8::from(*.granted)
    )]
    SubscriptionLowered {
        /// The filter.
        filter: String,
        /// What was asked for.
        asked: QoS,
        /// What was granted.
        granted: QoS,
    },
}

crate::spec::readable::debug_is_text!(Cause);

/// What a URL may begin with.
const SCHEMES: &str = "mqtt://, mqtts:// for TLS, ws:// or wss:// for WebSocket";

/// How often the broker closed on a message, if it was more than once.
pub(crate) fn in_a_row(times: u32) -> String {
    match times {
        0 | 1 => String::new(),
        _ => format!(", {times} times in a row"),
    }
}

/// Without the number that std puts behind the system's text.
fn plain(message: &str) -> &str {
    let end = message.rfind(" (os error ").unwrap_or(message.len());
    message.get(..end).unwrap_or(message)
}

/// What to look at when no connection comes about.
fn to_connect(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound,
        PermissionDenied, TimedOut,
    };
    match kind {
        ConnectionRefused => ": is the broker running, and is the port right?",
        HostUnreachable | NetworkUnreachable | AddrNotAvailable => {
            ": is the address right, and the network up?"
        }
        TimedOut => ": is the address right, and does a firewall let it through?",
        NotFound => ": is the broker running, and is the path of its socket right?",
        PermissionDenied => ": may this user connect there?",
        _ => "",
    }
}

/// What to look at when something else than MQTT is spoken, unless that is known.
fn to_find_mqtt(message: &str) -> String {
    match message.contains("://") {
        true => String::new(),
        false => format!(": is the port right, and what its URL begins with ({SCHEMES})?"),
    }
}

/// What to do about a refusal.
pub(crate) fn to_be_let_in(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::ProtocolVersion => ": this client speaks MQTT 3.1.1",
        Refusal::ClientId => ": set another one with client_id",
        Refusal::ServerUnavailable => "",
        Refusal::BadUserNameOrPassword => ": check both",
        Refusal::NotAuthorized => {
            ": check user name, password and client id, and what the broker allows them"
        }
    }
}

/// Why an attempt failed. A connection that ends so early may be one to something else: a broker that
/// expects TLS resets or closes the connection of a client that speaks plain MQTT.
pub(crate) struct OfAttempt<'a>(pub(crate) &'a Cause);

impl fmt::Display for OfAttempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        self.0.fmt(f)?;
        match self.0 {
            Cause::Closed => {}
            Cause::Broken { kind, .. }
                if [BrokenPipe, ConnectionAborted, ConnectionReset].contains(kind) => {}
            _ => return Ok(()),
        }
        f.write_str(": if it never lasts, does it expect TLS (mqtts://) or a WebSocket (ws://)?")
    }
}

/// The return codes with which a broker refuses a connection (section 3.2.2.3).
///
/// ```
/// use mqtt_fleet::Refusal;
///
/// assert_eq!(Refusal::BadUserNameOrPassword.code(), 4);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Code 1.
    #[error("unacceptable protocol version (code 1)")]
    ProtocolVersion,
    /// Code 2.
    #[error("client id rejected (code 2)")]
    ClientId,
    /// Code 3: the only one that is not permanent.
    #[error("server unavailable (code 3)")]
    ServerUnavailable,
    /// Code 4.
    #[error("bad user name or password (code 4)")]
    BadUserNameOrPassword,
    /// Code 5.
    #[error("not authorized (code 5)")]
    NotAuthorized,
}

crate::spec::readable::debug_is_text!(Refusal);

impl Refusal {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::ProtocolVersion => 1,
            Self::ClientId => 2,
            Self::ServerUnavailable => 3,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized => 5,
        }
    }

    /// Whether the same attempt would be refused again.
    pub fn is_permanent(self) -> bool {
        self != Self::ServerUnavailable
    }
}
