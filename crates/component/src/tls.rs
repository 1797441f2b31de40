//! TLS from PEM: server and client configurations on the one crypto provider of the binary (ring).

mod anyone;

pub use anyone::client_of_anyone;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use std::sync::Arc;

/// PEM that cannot be used; the message says which part and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot use {what}: {why}")]
pub struct TlsError {
    /// Which part: "certificate", "private key", "CA bundle".
    pub what: &'static str,
    /// Why not.
    pub why: String,
}

fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> TlsError {
    move |error| TlsError { what, why: error.to_string() }
}

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub certificate: Vec<u8>,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

impl KeyPair {
    fn parse(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(because("private key"))?;
        Ok((chain, key))
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(because(what))?;
    if all.is_empty() {
        return Err(TlsError { what, why: "no certificate in the PEM data".to_owned() });
    }
    Ok(all)
}

/// The certificates of a CA bundle.
pub fn roots(bundle: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bundle, "CA bundle")? {
        roots.add(certificate).map_err(because("CA bundle"))?;
    }
    Ok(roots)
}

/// A server that shows `pair`, asks clients for certificates of `client_ca` and lets those without one in
/// (the authenticator decides). Offers h2 and http/1.1.
pub fn server(pair: &KeyPair, client_ca: Option<&[u8]>) -> Result<ServerConfig, TlsError> {
    serve(pair, client_ca, false)
}

/// A server that shows `pair` and lets nobody in without a certificate of `client_ca`. Offers h2 and http/1.1.
pub fn server_for_known_clients(pair: &KeyPair, client_ca: &[u8]) -> Result<ServerConfig, TlsError> {
    serve(pair, Some(client_ca), true)
}

fn serve(pair: &KeyPair, client_ca: Option<&[u8]>, only_known: bool) -> Result<ServerConfig, TlsError> {
    let (chain, key) = pair.parse()?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(because("protocol versions"))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(bundle) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(bundle)?), provider);
            let verifier = if only_known { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(because("CA bundle"))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(because("certificate"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts `ca` and shows `pair`, if any. Offers `alpn` in this order.
pub fn client(ca: &[u8], pair: Option<&KeyPair>, alpn: &[&str]) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(because("protocol versions"))?
        .with_root_certificates(roots(ca)?);
    with_identity(builder, pair, alpn)
}

fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    pair: Option<&KeyPair>,
    alpn: &[&str],
) -> Result<ClientConfig, TlsError> {
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = pair.parse()?;
            builder.with_client_auth_cert(chain, key).map_err(because("certificate"))?
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}
