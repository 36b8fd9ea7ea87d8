//! What an error of TLS means: a certificate, which stays what it is, or something that may pass.

use std::{error::Error, io};

use rustls::CertificateError;

use crate::{
    observe::cause::Cause,
    transport::tls::{Unacceptable, words},
};

/// What to do where a ClientHello was not understood.
const NO_TLS: &str =
    "if no TLS is spoken there, use mqtt:// (ws:// for a WebSocket), or another port";

/// TLS did not come about.
pub(super) fn handshake(address: String, error: &(dyn Error + 'static)) -> Cause {
    match within(&address, error) {
        Some(cause) => cause,
        // The peer closed or broke the connection in the handshake.
        None => Cause::Tls {
            address,
            message: format!("the connection ended in the handshake: {NO_TLS}"),
        },
    }
}

/// What an error of reading, writing or a handshake means, if it is one of TLS, however deep.
pub(super) fn within(address: &str, error: &(dyn Error + 'static)) -> Option<Cause> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls) = error.downcast_ref() {
            return Some(cause(address.to_owned(), rustls));
        }
        next = match error.downcast_ref::<io::Error>() {
            // Its `source` passes over what it wraps.
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    None
}

fn cause(address: String, error: &rustls::Error) -> Cause {
    match certificate(error) {
        Some(message) => Cause::Certificate { address, message },
        None => Cause::Tls {
            address,
            message: words::handshake(error).to_owned(),
        },
    }
}

/// Which certificate is refused and why, if that is what the error is about.
fn certificate(error: &rustls::Error) -> Option<String> {
    match error {
        rustls::Error::InvalidCertificate(reason @ CertificateError::Other(other)) => {
            let text = other
                .0
                .downcast_ref::<Unacceptable>()
                .map(ToString::to_string);
            Some(text.unwrap_or_else(|| {
                format!("the broker's certificate {}", words::certificate(reason))
            }))
        }
        rustls::Error::InvalidCertificate(reason) => Some(format!(
            "the broker's certificate {}",
            words::certificate(reason)
        )),
        rustls::Error::NoCertificatesPresented => {
            Some("the broker shows no certificate".to_owned())
        }
        rustls::Error::AlertReceived(alert) => words::client_certificate(*alert).map(str::to_owned),
        _ => None,
    }
}
