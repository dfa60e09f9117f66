//! TLS as the server speaks it.
//!
//! In: a chain. Out: a rustls configuration: TLS 1.2 and 1.3, ring, HTTP/1.1 only.
//! Promise: one crypto provider for the whole process, named here.

use super::{Chain, IdentityError};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The provider of all TLS in this crate.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The server's side of a handshake.
///
/// # Errors
/// [`IdentityError::Tls`] when key and certificate do not fit.
pub fn server_config(chain: Chain) -> Result<Arc<ServerConfig>, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(IdentityError::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain.certificates, chain.key)
        .map_err(IdentityError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Few long connections: a small memory of sessions is enough.
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(256);
    Ok(Arc::new(config))
}
