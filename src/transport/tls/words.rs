//! What rustls refuses and what a broker's alert says, in words with a next step: rustls' own texts hold the
//! `Debug` of its types.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a broker's certificate is not accepted: what follows "the broker's certificate".
pub(crate) fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "is damaged: it can't be read",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet by the clock of this system"
        }
        CertificateError::Revoked => "is revoked",
        CertificateError::UnhandledCriticalExtension => {
            "has an extension that must be understood and is not"
        }
        CertificateError::UnknownIssuer => "is not trusted: unknown issuer (see `ca_file`)",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "is not accepted: whether it is revoked is not known"
        }
        CertificateError::BadSignature => {
            "has a signature that is not its issuer's: it is damaged, or another issuer has the same name"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not for the host"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for servers: its extended key usage lacks serverAuth"
        }
        #[expect(deprecated)]
        CertificateError::UnsupportedSignatureAlgorithm => KEY,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => KEY,
        // webpki's own reasons, of which a certificate of an authority shown by a broker is the usual one.
        _ => {
            "is one of an authority, or breaks a rule of RFC 5280: if it is self-signed, `ca_file` must \
             name exactly this certificate"
        }
    }
}

const KEY: &str = "has a kind of key or signature that is not supported: it takes RSA of 2,048 to 8,192 bits with \
                   SHA-256 or longer, P-256, P-384 or Ed25519";

/// Why TLS did not come about, where it is not about a certificate.
pub(crate) fn handshake(error: &Error) -> &'static str {
    match error {
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::PeerSentOversizedRecord => {
            "the answer is not TLS: does this port speak plain MQTT (mqtt://) or another protocol?"
        }
        Error::InappropriateHandshakeMessage { .. } | Error::PeerMisbehaved(_) => {
            "the broker broke a rule of TLS"
        }
        Error::DecryptError => "a record can't be decrypted: something on the way changed it",
        Error::EncryptError => "a record can't be encrypted: the connection carried too much",
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the broker speaks neither TLS 1.2 nor 1.3",
        Error::PeerIncompatible(_) => {
            "the broker and rustls have no cipher, key exchange or signature in common"
        }
        Error::NoApplicationProtocol => "the broker takes none of the protocols in `alpn`",
        Error::AlertReceived(alert) => self::alert(*alert),
        Error::HandshakeNotComplete => "the handshake did not end",
        Error::FailedToGetCurrentTime => "this system has no clock",
        Error::FailedToGetRandomBytes => "this system gives no random bytes",
        Error::UnsupportedNameType => "the host is no name that TLS can check",
        _ => "the handshake failed",
    }
}

/// What the broker says of the client's certificate (RFC 8446, section 6.2).
pub(crate) fn client_certificate(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateRequired => {
            "the broker asks for a client certificate, and none was given (see `client_certificate`)"
        }
        AlertDescription::CertificateExpired => {
            "the broker says that the client's certificate has expired"
        }
        AlertDescription::CertificateRevoked => {
            "the broker says that the client's certificate is revoked"
        }
        AlertDescription::UnknownCA => {
            "the broker does not trust who issued the client's certificate"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => "the broker does not accept the client's certificate",
        _ => return None,
    })
}

/// The other alerts, by which a broker ends a handshake.
fn alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::IllegalParameter => {
            "the broker refused the handshake: no cipher in common, a key that is not supported here (such as \
             P-521), or a client certificate that it wants and does not get"
        }
        AlertDescription::ProtocolVersion => "the broker speaks neither TLS 1.2 nor 1.3",
        AlertDescription::UnrecognisedName => {
            "the broker has no certificate for the name that it was asked for (see `server_name`)"
        }
        AlertDescription::NoApplicationProtocol => {
            "the broker takes none of the protocols in `alpn`"
        }
        AlertDescription::DecryptError => {
            "the broker could not check a signature: do the client's certificate and key belong together?"
        }
        AlertDescription::InternalError => {
            "the broker ended the handshake with an error of its own: see its log"
        }
        AlertDescription::CloseNotify => "the broker closed the connection",
        _ => "the broker ended the handshake: see its log",
    }
}
