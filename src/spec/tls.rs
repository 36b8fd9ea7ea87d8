//! How a broker is spoken to over TLS: names of files and texts, read once when a fleet starts.

use std::{io, path::PathBuf};

use crate::spec::template;

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Roots {
    System,
    File(PathBuf),
}

/// How brokers with `mqtts` and `wss` are spoken to: whom to trust, and what to show.
///
/// Plain data. The files are read at [`FleetBuilder::start`](crate::FleetBuilder::start), once for
/// all clients with equal settings; those clients share one configuration. What is wrong with one
/// is a [`TlsError`] that names it. `Debug` shows names of files, never a key. Takes the feature
/// `tls`.
///
/// TLS 1.2 and 1.3, by rustls with ring.
///
/// ```
/// use mqtt_fleet::{ClientSpec, Tls};
///
/// let tls = Tls::ca_file("/etc/plant/ca.pem")
///     .client_certificate("/etc/plant/gw.pem", "/etc/plant/gw.key");
/// let plant = ClientSpec::new("plant", "mqtts://broker.plant.example").tls(tls);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use]
pub struct Tls {
    pub(crate) roots: Roots,
    /// The files of the certificate chain and of its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) alpn: Vec<String>,
    pub(crate) server_name: Option<String>,
}

impl Tls {
    /// Trusts what the operating system trusts. On Linux these are the files of its distribution,
    /// or what the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name. A certificate
    /// among them that can't be read is left out, with a line in the log.
    pub fn system() -> Self {
        Self::trusting(Roots::System)
    }

    /// Trusts the certificates in this file and no others: PEM, one or more, all of which must be
    /// readable. A file may also be DER of one certificate.
    ///
    /// A broker that shows exactly one of these certificates is trusted by that, also if it is one of
    /// an authority, as `openssl req -x509` makes them: self-signed certificates work. Its names and its
    /// dates are checked all the same.
    ///
    /// The key of a broker, and of an authority, is RSA of 2,048 to 8,192 bits, P-256, P-384 or Ed25519: rustls
    /// with ring checks no signature of P-521.
    pub fn ca_file(path: impl Into<PathBuf>) -> Self {
        Self::trusting(Roots::File(path.into()))
    }

    fn trusting(roots: Roots) -> Self {
        Self {
            roots,
            identity: None,
            alpn: Vec::new(),
            server_name: None,
        }
    }

    /// What the client shows to a broker that asks for a certificate: a PEM file with the client's
    /// certificate, followed by those of intermediate authorities, and a PEM file with its private
    /// key (PKCS#8, PKCS#1 or SEC1, not encrypted). Each may also be DER, and the lines of PEM may be
    /// joined by spaces or by `\n` in two characters, as secrets in environment variables are. The key is
    /// RSA of 2,048 to 4,096 bits, P-256, P-384 or Ed25519; P-521 is refused at the start. The
    /// start checks that key and certificate belong together; whether the certificate is good, also one of
    /// version 1 of X.509, is for the broker to judge. Defaults to none.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// The application protocols that the client offers, the preferred one first, such as
    /// `x-amzn-mqtt-ca` (RFC 7301). 1 to 255 bytes each. Defaults to none.
    pub fn alpn<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// The name, or the IP address, that the broker's certificate must be for, where it is not the
    /// host of the URL: for a broker behind a tunnel, or with an address instead of a name.
    ///
    /// With `wss` the broker is told this name too, so that it can choose a certificate by it
    /// (server name indication). With `mqtts` it is told the host of the URL, and nothing if that
    /// is an IP address: rumqttc has one text for both. Defaults to the host of the URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// With all of its texts filled in.
    pub(crate) fn filled(&self, fill: impl Fn(&str) -> String) -> Self {
        let Self {
            roots,
            identity,
            alpn,
            server_name,
        } = self;
        let path = |path: &PathBuf| template::path(path, &fill);
        Self {
            roots: match roots {
                Roots::System => Roots::System,
                Roots::File(file) => Roots::File(path(file)),
            },
            identity: identity
                .as_ref()
                .map(|(certificate, key)| (path(certificate), path(key))),
            alpn: alpn.iter().map(|protocol| fill(protocol)).collect(),
            server_name: server_name.as_deref().map(&fill),
        }
    }

    /// The file of those that are trusted, unless it is the system's choice.
    #[cfg(feature = "serde")]
    pub(crate) fn ca(&self) -> Option<&PathBuf> {
        match &self.roots {
            Roots::System => None,
            Roots::File(path) => Some(path),
        }
    }

    /// The files that it names.
    #[cfg(feature = "files")]
    pub(crate) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let ca = match &mut self.roots {
            Roots::System => None,
            Roots::File(path) => Some(path),
        };
        let identity = self.identity.iter_mut().flat_map(|(a, b)| [a, b]);
        ca.into_iter().chain(identity)
    }
}

impl Default for Tls {
    /// [`Tls::system`].
    fn default() -> Self {
        Self::system()
    }
}

/// Why a [`Tls`] can't be used. It never repeats what is in a file.
///
/// ```
/// use mqtt_fleet::TlsError;
///
/// let error = TlsError::NoKey { file: "/etc/plant/gw.key".into() };
/// assert_eq!(error.to_string(), "/etc/plant/gw.key has no private key, neither in PEM nor in DER");
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No broker of the client has `mqtts` or `wss`.
    #[error("no broker of this client uses TLS: begin its URL with mqtts:// or wss://")]
    NotUsed,
    /// A file can't be read.
    #[error("{} can't be read: {message}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's class of error.
        kind: io::ErrorKind,
        /// The operating system's text.
        message: String,
    },
    /// A certificate in a file is damaged, or the file has something else instead.
    #[error("{} can't be used as a certificate: {message}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file has no certificate.
    #[error("{} has no certificate, neither in PEM nor in DER", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A file has no private key.
    #[error("{} has no private key, neither in PEM nor in DER", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A private key takes a passphrase, which nobody is there to type.
    #[error(
        "the private key in {} is encrypted: `openssl pkey -in FILE -out NEW` asks for its passphrase and \
         writes it without; let only the program's user read the new file",
        file.display()
    )]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// A private key is damaged, of a kind that can't be used, or the file has something else instead.
    #[error("{} can't be used as a private key: {message}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The key is not that of the certificate.
    #[error("the key in {} can't be used for the certificate in {}: {message}", key.display(), certificate.display())]
    Identity {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The operating system trusts nobody.
    #[error("the system has no root certificates: {message}")]
    NoSystemRoots {
        /// What went wrong on the way.
        message: String,
    },
    /// Neither a host name nor an IP address.
    #[error("the server name {name:?} is no host name and no IP address")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// An application protocol is empty or longer than 255 bytes.
    #[error("an ALPN protocol must have 1 to 255 bytes")]
    Alpn,
    /// rustls refused the settings.
    #[error("rustls refused the settings: {message}")]
    Settings {
        /// What rustls said.
        message: String,
    },
}

crate::spec::readable::debug_is_text!(TlsError);
