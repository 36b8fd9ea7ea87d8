//! What can be wrong with the URL or the host of a broker.

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
    /// None of the schemes in the table of [`Broker`](crate::Broker).
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

/// Where something is taken that becomes a [`Broker`](crate::Broker), a `Broker` is, which can't fail.
impl From<std::convert::Infallible> for BrokerError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

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
