//! The TLS configurations of a fleet: made before anything runs, one for equal settings.

use crate::{
    client::spec::ClientSpec,
    fleet::error::StartError,
    transport::tls::{TlsConfig, TlsConfigs},
};

/// What each client needs for TLS, if it has a broker that speaks it. Reads each file once.
pub(crate) fn tls_configs(specs: &[ClientSpec]) -> Result<Vec<Option<TlsConfig>>, StartError> {
    let mut configs = TlsConfigs::default();
    specs
        .iter()
        .map(|spec| {
            let settings = &spec.settings;
            if !settings.is_encrypted() {
                return Ok(None);
            }
            let tls = settings.tls.clone().unwrap_or_default();
            let config = configs.get(&tls).map_err(|error| StartError::Client {
                client: settings.name.clone(),
                field: "tls",
                problem: error.into(),
            })?;
            Ok(Some(config))
        })
        .collect()
}
