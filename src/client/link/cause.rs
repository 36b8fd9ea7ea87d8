//! rumqttc's errors, made ours: small, clonable, and with what was tried.

use std::{io, net::SocketAddr, time::Duration};

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, mqttbytes};

use crate::supervise::cause::{Cause, Refusal};

/// What an error must be read with: rumqttc's own errors name neither address nor limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) connect_timeout: Duration,
    pub(crate) max_packet_size: usize,
    /// The address of the current attempt.
    pub(crate) address: Option<SocketAddr>,
    /// Whether CONNACK has come.
    pub(crate) connected: bool,
}

impl Context {
    /// What an error of rumqttc means.
    pub(crate) fn cause(&self, error: ConnectionError) -> Cause {
        let timeout = self.connect_timeout;
        match (error, self.address) {
            (ConnectionError::NetworkTimeout, Some(address)) => {
                Cause::ConnectTimeout { address, timeout }
            }
            (ConnectionError::Io(error), Some(address)) => Cause::Connect {
                address,
                kind: error.kind(),
                message: error.to_string(),
            },
            (ConnectionError::ConnectionRefused(code), _) => match refusal(code) {
                Some(code) => Cause::Refused(code),
                None => protocol("a CONNACK that refuses with code 0"),
            },
            (ConnectionError::NotConnAck(_), Some(address)) => Cause::NotMqtt {
                address,
                message: "its first packet is no CONNACK".to_owned(),
            },
            (ConnectionError::FlushTimeout, _) => Cause::WriteTimeout,
            (ConnectionError::MqttState(error), _) => self.state_cause(error),
            (other, _) => protocol(&other.to_string()),
        }
    }

    fn state_cause(&self, error: StateError) -> Cause {
        let error = match error {
            StateError::ConnectionAborted => return Cause::Closed,
            StateError::AwaitPingResp => return Cause::KeepAlive,
            StateError::Deserialization(error) => error,
            StateError::Io(error) => return broken(&error),
            other => return protocol(&other.to_string()),
        };
        match (error, self.address) {
            // The codec's own error, of no operating system: the peer closed within a packet. It
            // was to be a CONNACK, of four bytes, which leave a broker together.
            (mqttbytes::Error::Io(error), Some(address))
                if !self.connected && error.kind() == io::ErrorKind::Other =>
            {
                Cause::NotMqtt {
                    address,
                    message: "it closed after an answer that is no packet".to_owned(),
                }
            }
            (mqttbytes::Error::Io(error), _) => broken(&error),
            (mqttbytes::Error::OutgoingPacketTooLarge { pkt_size, max }, _) => Cause::TooLarge {
                size: pkt_size,
                limit: max,
            },
            // Before CONNACK, bytes that make no sense mean that this is no broker at all.
            (error, Some(address)) if !self.connected => Cause::NotMqtt {
                address,
                message: error.to_string(),
            },
            (mqttbytes::Error::PayloadSizeLimitExceeded(size), _) => Cause::TooLarge {
                size,
                limit: self.max_packet_size,
            },
            (error, _) => protocol(&error.to_string()),
        }
    }
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

fn broken(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::Closed,
        kind => Cause::Broken {
            kind,
            message: error.to_string(),
        },
    }
}

fn protocol(message: &str) -> Cause {
    Cause::Protocol {
        message: message.to_owned(),
    }
}
