//! rumqttc's errors, made ours: small, clonable, and with what was tried.

use std::{io, sync::Arc, time::Duration};

use rumqttc::{ConnectReturnCode, ConnectionError, Packet, StateError, mqttbytes};

#[cfg(feature = "tls")]
use crate::engine::iter::tls;
#[cfg(feature = "websocket")]
use crate::engine::iter::websocket;
use crate::observe::cause::{Cause, Refusal};

/// What to do where MQTT was spoken to a web server.
const FOR_WEBSOCKETS: &str = "a broker behind it needs ws:// or wss:// and perhaps a path";

/// What an error must be read with: rumqttc's own errors name neither address nor limit.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) connect_timeout: Duration,
    pub(crate) max_packet_size: usize,
    /// What the current attempt is made to.
    pub(crate) address: Option<Arc<str>>,
    /// Whether CONNACK has come.
    pub(crate) connected: bool,
}

impl Context {
    /// What an error of rumqttc means.
    pub(crate) fn cause(&self, error: ConnectionError) -> Cause {
        let address = || self.address.as_deref().unwrap_or_default().to_owned();
        match error {
            ConnectionError::NetworkTimeout => Cause::ConnectTimeout {
                address: address(),
                timeout: self.connect_timeout,
            },
            ConnectionError::Io(error) => Cause::Connect {
                address: address(),
                kind: error.kind(),
                message: error.to_string(),
            },
            ConnectionError::ConnectionRefused(code) => match refusal(code) {
                Some(code) => Cause::Refused(code),
                None => protocol("a CONNACK that refuses with code 0"),
            },
            ConnectionError::NotConnAck(packet) => Cause::NotMqtt {
                address: address(),
                message: match is_http(&packet) {
                    true => format!("it answers HTTP: {FOR_WEBSOCKETS}"),
                    false => "its first packet is no CONNACK".to_owned(),
                },
            },
            ConnectionError::FlushTimeout => Cause::WriteTimeout,
            ConnectionError::MqttState(error) => self.state_cause(error),
            #[cfg(feature = "tls")]
            ConnectionError::Tls(error) => tls::handshake(address(), &error),
            #[cfg(feature = "websocket")]
            ConnectionError::Websocket(error) => websocket::handshake(address(), &error),
            #[cfg(feature = "websocket")]
            ConnectionError::ResponseValidation(_) => websocket::no_sub_protocol(address()),
            other => protocol(&other.to_string()),
        }
    }

    fn state_cause(&self, error: StateError) -> Cause {
        let error = match error {
            StateError::ConnectionAborted => return Cause::Closed,
            StateError::AwaitPingResp => return Cause::KeepAlive,
            StateError::Deserialization(error) => error,
            StateError::Io(error) => return self.broken(&error),
            other => return protocol(&other.to_string()),
        };
        let not_mqtt = |message| Cause::NotMqtt {
            address: self.address.as_deref().unwrap_or_default().to_owned(),
            message,
        };
        match error {
            // The codec's own error, of no operating system: the peer closed within a packet. It
            // was to be a CONNACK, of four bytes, which leave a broker together.
            mqttbytes::Error::Io(error)
                if !self.connected
                    && error.kind() == io::ErrorKind::Other
                    && error.to_string() == "bytes remaining on stream" =>
            {
                not_mqtt(format!(
                    "it closed after an answer that is no packet: if that is a web server, {FOR_WEBSOCKETS}"
                ))
            }
            mqttbytes::Error::Io(error) => self.broken(&error),
            mqttbytes::Error::OutgoingPacketTooLarge { pkt_size, max } => Cause::TooLarge {
                size: pkt_size,
                limit: max,
            },
            // Before CONNACK, bytes that make no sense mean that this is no broker at all.
            error if !self.connected => not_mqtt(error.to_string()),
            mqttbytes::Error::PayloadSizeLimitExceeded(size) => Cause::TooLarge {
                size,
                limit: self.max_packet_size,
            },
            error => protocol(&error.to_string()),
        }
    }

    /// Reading or writing failed: also where TLS 1.3 tells what the broker thinks of the client's
    /// certificate, after the handshake.
    fn broken(&self, error: &io::Error) -> Cause {
        #[cfg(feature = "tls")]
        if let Some(cause) = tls::within(self.address.as_deref().unwrap_or_default(), error) {
            return cause;
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Cause::Closed,
            kind => Cause::Broken {
                kind,
                message: error.to_string(),
            },
        }
    }
}

/// Whether a first packet is the beginning of `HTTP/1.1`: read as MQTT, a PUBACK of 84 bytes for the identifier
/// `TP`.
fn is_http(packet: &Packet) -> bool {
    matches!(packet, Packet::PubAck(ack) if ack.pkid == u16::from_be_bytes(*b"TP"))
}

fn refusal(code: ConnectReturnCode) -> Option<Refusal> {
    match code {
        ConnectReturnCode::Success => None,
        ConnectReturnCode::RefusedProtocolVersion => Some(Refusal::ProtocolVersion),
        ConnectReturnCode::BadClientId => Some(Refusal::ClientId),
        ConnectReturnCode::ServiceUnavailable => Some(Refusal::ServerUnavailable),
        ConnectReturnCode::BadUserNamePassword => Some(Refusal::BadUserNameOrPassword),
        ConnectReturnCode::NotAuthorized => Some(Refusal::NotAuthorized),
    }
}

fn protocol(message: &str) -> Cause {
    Cause::Protocol {
        message: message.to_owned(),
    }
}
