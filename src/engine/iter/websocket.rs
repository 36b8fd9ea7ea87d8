//! What an error at the beginning of a WebSocket means.

use std::error::Error;

use crate::observe::cause::Cause;

/// No WebSocket came about. What is in the way may be TLS underneath.
pub(super) fn handshake(address: String, error: &(dyn Error + 'static)) -> Cause {
    #[cfg(feature = "tls")]
    if let Some(cause) = crate::engine::iter::tls::within(&address, error) {
        return cause;
    }
    Cause::WebSocket {
        address,
        message: format!(
            "{error}: is that the port and the path of a WebSocket? Plain MQTT is mqtt://"
        ),
    }
}

/// The server agreed to a WebSocket that is not for MQTT [MQTT-6.0.0-4].
pub(super) fn no_sub_protocol(address: String) -> Cause {
    Cause::WebSocket {
        address,
        message: "the server did not choose the sub-protocol mqtt".to_owned(),
    }
}
