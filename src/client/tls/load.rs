//! From the settings to rustls' configuration: reads the files and says what is wrong with them.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
};

use crate::{
    client::tls::verify::Verifier,
    spec::tls::{Roots, Tls, TlsError},
    supervise::log,
};

pub(super) fn load(tls: &Tls) -> Result<ClientConfig, TlsError> {
    // Given to each configuration: a default of the process belongs to the program.
    let provider = Arc::new(ring::default_provider());
    let settings = |error: rustls::Error| TlsError::Settings {
        message: error.to_string(),
    };
    let verifier = Verifier::new(
        roots(&tls.roots)?,
        Arc::clone(&provider),
        tls.server_name.as_deref().map(server_name).transpose()?,
    )
    .map_err(|message| TlsError::Settings { message })?;
    // "Dangerous" because a verifier may be careless: ours leaves all checks to rustls' own.
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(settings)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| TlsError::Identity {
                certificate: certificate.clone(),
                key: key.clone(),
                message: error.to_string(),
            })?,
    };
    for protocol in &tls.alpn {
        if protocol.is_empty() || protocol.len() > usize::from(u8::MAX) {
            return Err(TlsError::Alpn);
        }
        config.alpn_protocols.push(protocol.clone().into_bytes());
    }
    Ok(config)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName {
        name: name.to_owned(),
    })
}

fn roots(roots: &Roots) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                log::warn!("the system's root certificates: {error}");
            }
            let (_, ignored) = store.add_parsable_certificates(found.certs);
            if ignored > 0 {
                log::warn!("{ignored} of the system's root certificates can't be used");
            }
            if store.is_empty() {
                let texts: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(TlsError::NoSystemRoots {
                    message: match texts.is_empty() {
                        true => "none was found".to_owned(),
                        false => texts.join("; "),
                    },
                });
            }
        }
        Roots::File(file) => {
            for certificate in certificates(file)? {
                store
                    .add(certificate)
                    .map_err(|error| TlsError::Certificate {
                        file: file.clone(),
                        message: error.to_string(),
                    })?;
            }
        }
    }
    Ok(store)
}

/// All certificates of a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error: pem::Error| TlsError::Certificate {
            file: file.to_owned(),
            message: error.to_string(),
        })?;
    match certificates.is_empty() {
        true => Err(TlsError::NoCertificate {
            file: file.to_owned(),
        }),
        false => Ok(certificates),
    }
}

/// The first private key of a file. What is in the file is not repeated, whatever is wrong.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|_| TlsError::NoKey {
        file: file.to_owned(),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| TlsError::Read {
        file: file.to_owned(),
        kind: error.kind(),
        message: error.to_string(),
    })
}
