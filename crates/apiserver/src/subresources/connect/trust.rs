//! TLS to pods and services through the API server's proxy: encrypted, but whoever answers is believed, because
//! they have no certificates that the API server could know (upstream does the same).

use component::tls::{TlsError, client_of_anyone};
use rustls::ClientConfig;
use std::sync::{Arc, OnceLock};

/// The client configuration, made once. Fails only if the provider has no protocol version, which is a bug.
pub(super) fn anyone() -> Result<Arc<ClientConfig>, TlsError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let config = client_of_anyone(None, &[])?;
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}
