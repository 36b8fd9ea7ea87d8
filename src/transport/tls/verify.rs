//! The check of a broker's certificate: rustls' own, against the name that the spec says, and with
//! an error that says which certificate it was.

use std::{error::Error, fmt, sync::Arc, time::Duration};

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

use crate::transport::tls::{der, words};

/// A name that no certificate is for (RFC 6761).
const NOBODY: &str = "nobody.invalid";

#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// The certificates that are trusted, as they are.
    exact: Vec<CertificateDer<'static>>,
    /// Checked instead of the host that is connected to.
    name: Option<ServerName<'static>>,
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        exact: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
        name: Option<ServerName<'static>>,
    ) -> Result<Self, String> {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|_| "it has no certificate authority".to_owned())?;
        Ok(Self {
            webpki,
            exact,
            name,
        })
    }

    /// The same that checks for this host, whatever is connected to. `None` if it checks for one
    /// already, or if no certificate can be for that host.
    pub(super) fn for_host(&self, host: &str) -> Option<Self> {
        if self.name.is_some() {
            return None;
        }
        Some(Self {
            webpki: Arc::clone(&self.webpki),
            exact: self.exact.clone(),
            name: Some(ServerName::try_from(host.to_owned()).ok()?),
        })
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
            .or_else(|error| match error {
                // A certificate of an authority is none of a host for webpki, also where its user trusts
                // that very one.
                rustls::Error::InvalidCertificate(CertificateError::Other(_))
                    if self.exact.iter().any(|exact| exact == end_entity) =>
                {
                    is_current(end_entity, now)?;
                    let parsed = ParsedCertificate::try_from(end_entity)?;
                    verify_server_name(&parsed, name)?;
                    Ok(ServerCertVerified::assertion())
                }
                other => Err(other),
            })
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(reason) => {
                    let unacceptable = Unacceptable {
                        names: names(end_entity),
                        host: name.to_str().into_owned(),
                        is_version_1: der::Certificate::parse(end_entity)
                            .is_some_and(|certificate| !certificate.has_version),
                        is_exact: self.exact.iter().any(|exact| exact == end_entity),
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

/// Whether a certificate is valid now.
fn is_current(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let parsed = der::Certificate::parse(certificate);
    let (from, until) = parsed
        .and_then(|certificate| certificate.validity())
        .ok_or(CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let at = |time: i64| {
        let time = u64::try_from(time).unwrap_or_default();
        UnixTime::since_unix_epoch(Duration::from_secs(time))
    };
    if seconds > until {
        let not_after = at(until);
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        });
    }
    if seconds < from {
        let not_before = at(from);
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        });
    }
    Ok(())
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
    /// What it was to be for.
    host: String,
    is_version_1: bool,
    /// Whether the file that is trusted has this very one.
    is_exact: bool,
    reason: CertificateError,
}

impl Error for Unacceptable {}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if matches!(self.reason, CertificateError::UnknownIssuer) {
            return match self.is_exact {
                // It names an issuer, which the file lacks.
                true => write!(
                    f,
                    "the certificate of {host} is in `ca_file`, but its issuer is not: put that one there"
                ),
                false => write!(
                    f,
                    "the certificate of {host} is not trusted: unknown issuer (see `ca_file`)"
                ),
            };
        }
        match self.names.as_slice() {
            [] => f.write_str("the broker's certificate, which names no host, ")?,
            names => {
                let names: Vec<_> = names.iter().map(|name| readable_name(name)).collect();
                write!(f, "the broker's certificate for {} ", names.join(", "))?;
            }
        }
        if self.is_version_1 {
            return f.write_str(
                "is of version 1 of X.509 and so can't name a host: the broker needs one with subjectAltName",
            );
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
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                write!(
                    f,
                    "is not for {host}: use a host that it is for, or `server_name`"
                )
            }
            other => f.write_str(words::certificate(other)),
        }
    }
}

/// webpki tells the names of a certificate as `DnsName("localhost")`.
fn readable_name(name: &str) -> &str {
    name.split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .map_or(name, |inner| inner.trim_matches('"'))
}
