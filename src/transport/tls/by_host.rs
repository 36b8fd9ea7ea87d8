//! Configurations for connections to an address in place of a host's name, each made when it is first needed.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rustls::{ClientConfig, client::Resumption};

use crate::transport::tls::verify::Verifier;

/// Those of equal settings, shared by all clients that have these.
#[derive(Debug)]
pub(super) struct ByHost {
    verifier: Arc<Verifier>,
    made: Mutex<HashMap<String, Arc<ClientConfig>>>,
}

impl ByHost {
    pub(super) fn new(verifier: Arc<Verifier>) -> Self {
        let made = Mutex::default();
        Self { verifier, made }
    }

    /// The configuration of the settings, with a check for this host. It is the one of the settings
    /// itself if that checks for one host anyway (`Tls::server_name`).
    pub(super) fn get(&self, of_settings: &Arc<ClientConfig>, host: &str) -> Arc<ClientConfig> {
        let mut made = self.made.lock();
        if let Some(config) = made.get(host) {
            return Arc::clone(config);
        }
        let Some(verifier) = self.verifier.for_host(host) else {
            return Arc::clone(of_settings);
        };
        let mut config = ClientConfig::clone(of_settings);
        // A session is kept by the address, and is resumed without a look at the certificate: one that was
        // made for another host of the same address must not be.
        config.resumption = Resumption::default();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        let config = Arc::new(config);
        made.insert(host.to_owned(), Arc::clone(&config));
        config
    }
}
