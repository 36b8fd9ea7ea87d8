//! TLS configurations: one for all clients with equal settings, loaded when a fleet starts, and
//! one more for each host whose addresses have to be tried without its name.

#[cfg(feature = "tls")]
mod by_host;
#[cfg(feature = "tls")]
mod der;
#[cfg(feature = "tls")]
mod load;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "tls")]
mod verify;
#[cfg(feature = "tls")]
pub(crate) mod words;

use std::collections::HashMap;

use crate::spec::tls::{Tls, TlsError};

#[cfg(feature = "tls")]
pub(crate) use verify::Unacceptable;

/// What rustls needs, shared by all connections that use it.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfig {
    #[cfg(feature = "tls")]
    pub(crate) rustls: std::sync::Arc<rustls::ClientConfig>,
    #[cfg(feature = "tls")]
    by_host: std::sync::Arc<by_host::ByHost>,
    /// Told to the broker instead of the host, where that is possible.
    #[cfg_attr(not(feature = "websocket"), expect(dead_code))]
    pub(crate) server_name: Option<String>,
}

#[cfg(feature = "tls")]
impl TlsConfig {
    /// The configuration for a connection to an address of this host: its certificate must be for
    /// the host, although only the address is connected to.
    pub(crate) fn for_host(&self, host: &str) -> std::sync::Arc<rustls::ClientConfig> {
        self.by_host.get(&self.rustls, host)
    }
}

/// The configurations that are loaded already.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs(HashMap<Tls, TlsConfig>);

impl TlsConfigs {
    /// The configuration for these settings. Reads files.
    pub(crate) fn get(&mut self, tls: &Tls) -> Result<TlsConfig, TlsError> {
        if let Some(config) = self.0.get(tls) {
            return Ok(config.clone());
        }
        let config = Self::load(tls)?;
        self.0.insert(tls.clone(), config.clone());
        Ok(config)
    }

    #[cfg(feature = "tls")]
    fn load(tls: &Tls) -> Result<TlsConfig, TlsError> {
        let (config, verifier) = load::load(tls)?;
        Ok(TlsConfig {
            rustls: std::sync::Arc::new(config),
            by_host: std::sync::Arc::new(by_host::ByHost::new(verifier)),
            server_name: tls.server_name.clone(),
        })
    }

    /// Without the feature no URL asks for TLS.
    #[cfg(not(feature = "tls"))]
    fn load(_: &Tls) -> Result<TlsConfig, TlsError> {
        Err(TlsError::NotUsed)
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn equal_settings_share_a_configuration() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
        let name = format!("mqtt-fleet-ca-{}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let mut configs = TlsConfigs::default();
        let first = configs.get(&Tls::ca_file(&file)).unwrap();
        let other = configs.get(&Tls::ca_file(&file).alpn(["mqtt"])).unwrap();
        std::fs::remove_file(&file).unwrap();
        let again = configs.get(&Tls::ca_file(&file)).unwrap();
        assert!(Arc::ptr_eq(&first.rustls, &again.rustls));
        assert!(!Arc::ptr_eq(&first.rustls, &other.rustls));
        // Those of a host are made when they are needed, and shared as well.
        let of_host = first.for_host("a.example");
        assert!(Arc::ptr_eq(&of_host, &again.for_host("a.example")));
        for different in [
            first.for_host("b.example"),
            other.for_host("a.example"),
            first.rustls,
        ] {
            assert!(!Arc::ptr_eq(&of_host, &different));
        }
    }
}
