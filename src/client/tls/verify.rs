//! The check of a broker's certificate: rustls' own, against the name that the spec says, and with
//! an error that says which certificate it was.

use std::{error::Error, fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// A name that no certificate is for (RFC 6761).
const NOBODY: &str = "nobody.invalid";

#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// Checked instead of the host that is connected to.
    name: Option<ServerName<'static>>,
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        name: Option<ServerName<'static>>,
    ) -> Result<Self, String> {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { webpki, name })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        self.webpki
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(reason) => {
                    let unacceptable = Unacceptable {
                        names: names(end_entity),
                        reason,
                    };
                    CertificateError::Other(OtherError(Arc::new(unacceptable))).into()
                }
                other => other,
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Whom a certificate is for. rustls says so only when it refuses a name.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let refused = ParsedCertificate::try_from(certificate).and_then(|parsed| {
        let nobody = ServerName::try_from(NOBODY)
            .map_err(|_| rustls::Error::General("no name".to_owned()))?;
        verify_server_name(&parsed, &nobody)
    });
    match refused {
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => presented,
        _ => Vec::new(),
    }
}

/// A broker's certificate that was not accepted.
#[derive(Debug)]
pub(crate) struct Unacceptable {
    names: Vec<String>,
    reason: CertificateError,
}

impl Error for Unacceptable {}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names.as_slice() {
            [] => f.write_str("the broker's certificate, which names no host, ")?,
            names => write!(f, "the broker's certificate for {} ", names.join(", "))?,
        }
        match &self.reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                f.write_str("has expired")?;
                if let CertificateError::ExpiredContext { time, not_after } = &self.reason {
                    let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
                    write!(f, ", {days} days ago by the clock of this system")?;
                }
                Ok(())
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                f.write_str("is not valid yet by the clock of this system")
            }
            CertificateError::UnknownIssuer => f.write_str(
                "is issued by none of the certificate authorities that are trusted here",
            ),
            CertificateError::NotValidForName => f.write_str("is not for the host"),
            CertificateError::NotValidForNameContext { expected, .. } => {
                write!(f, "is not for {}", expected.to_str())
            }
            CertificateError::Revoked => f.write_str("is revoked"),
            other => write!(f, "can't be accepted: {other}"),
        }
    }
}
