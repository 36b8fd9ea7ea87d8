//! TLS in a file: ca_file, client_certificate, alpn, server_name.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spec::tls::Tls;

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with ca_file, client_certificate, alpn and server_name"
)]
struct TlsForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alpn: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    // Values come before tables: formats such as TOML need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<Identity>,
}

#[derive(Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with the files certificate and key"
)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

/// From a table; an empty one is [`Tls::system`].
impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = TlsForm::deserialize(deserializer)?;
        let mut tls = form.ca_file.map_or_else(Self::system, Self::ca_file);
        tls.identity = form.client_certificate.map(|it| (it.certificate, it.key));
        tls.alpn = form.alpn;
        tls.server_name = form.server_name;
        Ok(tls)
    }
}

/// As a table: names of files, never what is in them.
impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let identity = self.identity.clone();
        let form = TlsForm {
            ca_file: self.ca().cloned(),
            alpn: self.alpn.clone(),
            server_name: self.server_name.clone(),
            client_certificate: identity.map(|(certificate, key)| Identity { certificate, key }),
        };
        form.serialize(serializer)
    }
}
