//! From the settings to rustls' configuration: reads the files and says what is wrong with them.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
        ServerName,
    },
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::{
    spec::tls::{Roots, Tls, TlsError},
    supervise::log,
    transport::{
        read::read_at_most,
        tls::{
            der,
            pem::{self, Section},
            verify::Verifier,
        },
    },
};

/// The largest file that is read: all authorities of a system are a quarter of a megabyte.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The configuration, and the check of certificates that it has.
pub(super) fn load(tls: &Tls) -> Result<(ClientConfig, Arc<Verifier>), TlsError> {
    // Given to each configuration: a default of the process belongs to the program.
    let provider = Arc::new(ring::default_provider());
    let settings = |_: rustls::Error| TlsError::Settings {
        message: "it supports none of the protocol versions".to_owned(),
    };
    let (roots, exact) = roots(&tls.roots)?;
    let verifier = Verifier::new(
        roots,
        exact,
        Arc::clone(&provider),
        tls.server_name.as_deref().map(server_name).transpose()?,
    )
    .map_err(|message| TlsError::Settings { message })?;
    let verifier = Arc::new(verifier);
    // "Dangerous" because a verifier may be careless: ours leaves all checks to rustls' own.
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(settings)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let identity = identity(certificate, key, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
    };
    for protocol in &tls.alpn {
        if protocol.is_empty() || protocol.len() > usize::from(u8::MAX) {
            return Err(TlsError::Alpn);
        }
        config.alpn_protocols.push(protocol.clone().into_bytes());
    }
    Ok((config, verifier))
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName {
        name: name.to_owned(),
    })
}

/// Whom to trust, and the certificates of a file as they are: one of them may be a broker's own.
fn roots(roots: &Roots) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let mut store = RootCertStore::empty();
    let mut exact = Vec::new();
    match roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            let errors: Vec<_> = found.errors.iter().map(system_fault).collect();
            for error in &errors {
                log::warn!("the system's root certificates: {error}");
            }
            let (_, ignored) = store.add_parsable_certificates(found.certs);
            if ignored > 0 {
                log::warn!("{ignored} of the system's root certificates can't be used");
            }
            if store.is_empty() {
                return Err(TlsError::NoSystemRoots {
                    message: match errors.is_empty() {
                        true => "none was found".to_owned(),
                        false => errors.join("; "),
                    },
                });
            }
        }
        Roots::File(file) => {
            exact = certificates(file)?;
            for (n, certificate) in exact.iter().enumerate() {
                let refused =
                    |_| bad_certificate(file, n, "rustls can't read it as one of an authority");
                store.add(certificate.clone()).map_err(refused)?;
            }
        }
    }
    Ok((store, exact))
}

/// What is wrong with a file of the system, without what is in it.
fn system_fault(error: &rustls_native_certs::Error) -> String {
    use rustls_native_certs::ErrorKind;
    match &error.kind {
        ErrorKind::Io { inner, path } => format!("{} can't be read: {inner}", path.display()),
        ErrorKind::Pem(_) => format!("a file is no PEM ({})", error.context),
        _ => error.context.to_owned(),
    }
}

/// All certificates of a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    pem::sections(&bytes, |sections| {
        let wanted = sections
            .iter()
            .filter(|section| matches!(section.label, "CERTIFICATE" | "X509 CERTIFICATE"));
        let found: Vec<_> = wanted
            .enumerate()
            .map(|(n, section)| match &section.content {
                Ok(content) if der::kind(content) == Some(der::Kind::Certificate) => {
                    Ok(CertificateDer::from(content.clone()))
                }
                Ok(_) => Err(bad_certificate(file, n, "what is in it is no certificate")),
                Err(problem) => Err(bad_certificate(file, n, problem)),
            })
            .collect::<Result<_, _>>()?;
        match found.is_empty() {
            true => Err(match pem::instead(&bytes, &sections) {
                None => TlsError::NoCertificate {
                    file: file.to_owned(),
                },
                Some(instead) => TlsError::Certificate {
                    file: file.to_owned(),
                    message: instead.to_owned(),
                },
            }),
            false => Ok(found),
        }
    })
}

fn bad_certificate(file: &Path, n: usize, problem: &str) -> TlsError {
    TlsError::Certificate {
        file: file.to_owned(),
        message: format!("certificate {} of the file: {problem}", n + 1),
    }
}

/// The first private key of a file.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    let bad = |problem: &str| TlsError::Key {
        file: file.to_owned(),
        message: problem.to_owned(),
    };
    let encrypted = || TlsError::EncryptedKey {
        file: file.to_owned(),
    };
    pem::sections(&bytes, |sections| {
        let is_key = |section: &&Section<'_>| {
            let label = section.label;
            label.ends_with("PRIVATE KEY") && label != "OPENSSH PRIVATE KEY"
        };
        let Some(section) = sections.iter().find(is_key) else {
            return Err(match pem::instead(&bytes, &sections) {
                None => TlsError::NoKey {
                    file: file.to_owned(),
                },
                Some(instead) => bad(instead),
            });
        };
        if section.label == "ENCRYPTED PRIVATE KEY" {
            return Err(encrypted());
        }
        let content = match &section.content {
            Ok(content) => content.clone(),
            Err(pem::ENCRYPTED) => return Err(encrypted()),
            Err(problem) => return Err(bad(problem)),
        };
        // What it is, whatever its label says.
        match der::kind(&content) {
            Some(der::Kind::Pkcs8) => Ok(PrivatePkcs8KeyDer::from(content).into()),
            Some(der::Kind::Pkcs1) => Ok(PrivatePkcs1KeyDer::from(content).into()),
            Some(der::Kind::Sec1) => Ok(PrivateSec1KeyDer::from(content).into()),
            Some(der::Kind::Encrypted) => Err(encrypted()),
            _ => Err(bad(&format!(
                "what is in it is no private key of a kind that is known here: {KINDS}"
            ))),
        }
    })
}

/// The keys that rustls with ring can sign with.
const KINDS: &str = "use RSA of 2,048 to 4,096 bits, P-256, P-384 or Ed25519";

/// The client's certificate with its key. Whether the certificate is good is for the broker to judge; that
/// the key is its key is seen here.
fn identity(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let der = private_key(key)?;
    let curve = der::foreign_curve(der.secret_der());
    let signing = provider.key_provider.load_private_key(der).map_err(|_| {
        let message = match curve {
            Some(curve) => format!("it is {curve}, which is not supported: {KINDS}"),
            None => format!("it is damaged, or of a kind or size that is not supported: {KINDS}"),
        };
        TlsError::Key {
            file: key.to_owned(),
            message,
        }
    })?;
    let shown = chain.first().and_then(|first| {
        der::Certificate::parse(first)?
            .key_bits()
            .map(<[u8]>::to_vec)
    });
    let public = signing.public_key();
    let own = public.as_ref().and_then(|key| der::public_key_bits(key));
    if let (Some(shown), Some(own)) = (shown, own) {
        if shown != own {
            return Err(TlsError::Identity {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                message:
                    "they do not belong together (the client's certificate comes first in its file)"
                        .to_owned(),
            });
        }
    }
    Ok(CertifiedKey::new(chain, signing))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    read_at_most(file, LARGEST).map_err(|error| TlsError::Read {
        file: file.to_owned(),
        kind: error.kind(),
        message: error.to_string(),
    })
}
