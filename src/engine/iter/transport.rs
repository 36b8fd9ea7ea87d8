//! What rumqttc is told about the way to a broker: TCP, TLS, WebSocket or a Unix domain socket.

use std::net::SocketAddr;

use rumqttc::{MqttOptions, Transport};

use crate::{
    engine::iter::convert,
    spec::{
        address::{Address, Scheme, with_port},
        settings::Settings,
    },
    transport::{resolve::Target, tls::TlsConfig},
};

/// What an error names as the place that was tried.
pub(super) fn place(address: &Address, target: &Target) -> String {
    match (target, address) {
        (Target::Address(socket), _) => socket.to_string(),
        (Target::Name, Address::Network { host, port, .. }) => with_port(host, *port),
        (Target::InPlaceOfName(socket), Address::Network { host, .. }) => {
            format!("{socket} (an address of {host}, without SNI)")
        }
        (Target::InPlaceOfName(socket), _) => socket.to_string(),
        (_, Address::Unix(path)) => path.display().to_string(),
        (Target::File, other) => other.to_string(),
    }
}

/// All options for an attempt.
pub(super) fn options(
    settings: &Settings,
    address: &Address,
    target: &Target,
    tls: Option<&TlsConfig>,
    login: Option<(String, String)>,
) -> MqttOptions {
    match address {
        Address::Unix(path) => unix(settings, &path.to_string_lossy(), login),
        Address::Network {
            scheme,
            host,
            port,
            target: request_target,
        } => match scheme {
            Scheme::Mqtt => {
                let host = match target {
                    Target::Address(socket) => bracketed(*socket),
                    _ => host.clone(),
                };
                convert::options(settings, &host, *port, login)
            }
            Scheme::Mqtts => {
                // Without brackets: rumqttc makes the name of the certificate of it, too.
                let (place, name) = match target {
                    Target::InPlaceOfName(socket) => (socket.ip().to_string(), Some(&**host)),
                    _ => (host.clone(), None),
                };
                let options = convert::options(settings, &place, *port, login);
                with_tls(options, tls, name)
            }
            Scheme::Ws | Scheme::Wss => {
                let place = match target {
                    Target::Address(socket) => format!("{}:{}", bracketed(*socket), socket.port()),
                    _ => with_port(host, *port),
                };
                let url = format!("{}://{place}{request_target}", scheme.name());
                let options = convert::options(settings, &url, *port, login);
                websocket(options, *scheme, (host, *port), request_target, tls)
            }
        },
    }
}

/// rumqttc joins host and port with a colon. The scope of a link-local address is part of the
/// address, so it is written as the whole socket address would be.
fn bracketed(socket: SocketAddr) -> String {
    match socket {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(_) => {
            let text = socket.to_string();
            text.rsplit_once(':')
                .map_or(text.clone(), |(host, _)| host.to_owned())
        }
    }
}

#[cfg(unix)]
fn unix(settings: &Settings, path: &str, login: Option<(String, String)>) -> MqttOptions {
    let mut options = convert::options(settings, path, 0, login);
    options.set_transport(Transport::Unix);
    options
}

/// No URL says so where there are none.
#[cfg(not(unix))]
fn unix(settings: &Settings, path: &str, login: Option<(String, String)>) -> MqttOptions {
    convert::options(settings, path, 0, login)
}

/// With a name, the certificate must be for that and not for what is connected to.
#[cfg(feature = "tls")]
fn with_tls(mut options: MqttOptions, tls: Option<&TlsConfig>, name: Option<&str>) -> MqttOptions {
    if let Some(tls) = tls {
        let config = match name {
            Some(name) => tls.for_host(name),
            None => std::sync::Arc::clone(&tls.rustls),
        };
        options.set_transport(Transport::Tls(rumqttc::TlsConfiguration::Rustls(config)));
    }
    options
}

/// No URL asks for it without the feature.
#[cfg(not(feature = "tls"))]
fn with_tls(options: MqttOptions, _: Option<&TlsConfig>, _: Option<&str>) -> MqttOptions {
    options
}

/// rumqttc connects to the host of its own URL, which is an address. What the server is asked for,
/// and the name that TLS tells it, are put right before the request leaves.
#[cfg(feature = "websocket")]
fn websocket(
    mut options: MqttOptions,
    scheme: Scheme,
    (host, port): (&str, u16),
    request_target: &str,
    tls: Option<&TlsConfig>,
) -> MqttOptions {
    options.set_transport(match (scheme, tls) {
        #[cfg(feature = "tls")]
        (Scheme::Wss, Some(tls)) => Transport::Wss(rumqttc::TlsConfiguration::Rustls(
            std::sync::Arc::clone(&tls.rustls),
        )),
        _ => Transport::Ws,
    });
    let server_name = tls.and_then(|tls| tls.server_name.as_deref());
    let place = with_port(server_name.unwrap_or(host), port);
    let url = format!("{}://{place}{request_target}", scheme.name());
    // A port that goes without saying is left out (RFC 9110, section 7.2).
    let header = match port == scheme.default_port() {
        true => with_port(host, port)
            .trim_end_matches(&format!(":{port}"))
            .to_owned(),
        false => with_port(host, port),
    };
    options.set_request_modifier(move |mut request| {
        if let (Ok(url), Ok(header)) = (url.parse(), header.parse()) {
            *request.uri_mut() = url;
            request.headers_mut().insert("host", header);
        }
        std::future::ready(request)
    });
    options
}

/// No URL asks for it without the feature.
#[cfg(not(feature = "websocket"))]
fn websocket(
    options: MqttOptions,
    _: Scheme,
    _: (&str, u16),
    _: &str,
    _: Option<&TlsConfig>,
) -> MqttOptions {
    options
}
