//! Client certificates: the common name is the user, organizations are groups.
//!
//! The listener has verified the chain, but perhaps against a bundle of several authorities; here it is verified
//! again against the one that counts, once per certificate.

use crate::contract::{Authenticator, UserInfo};
use async_trait::async_trait;
use component::SharedClock;
use component::serve::ConnInfo;
use machinery::Status;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates remembered; more than a cluster has clients at a time.
const REMEMBERED: usize = 4096;

type Fingerprint = [u8; 32];

/// What was found out about a certificate.
#[derive(Clone)]
struct Known {
    user: Arc<UserInfo>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Certificates that chain to one authority.
pub(crate) struct Authority {
    verifier: Arc<dyn ClientCertVerifier>,
    clock: SharedClock,
    known: Mutex<HashMap<Fingerprint, Known>>,
}

impl Authority {
    /// Reads a PEM bundle.
    pub(crate) fn new(bundle: &[u8], clock: &SharedClock) -> Result<Self, Status> {
        let roots = component::tls::roots(bundle).map_err(Status::internal)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(Status::internal)?;
        Ok(Self { verifier, clock: clock.clone(), known: Mutex::default() })
    }

    /// Whom the connection's certificate names, if it chains to this authority and is valid now.
    pub(crate) fn identify(&self, connection: &ConnInfo) -> Option<Arc<UserInfo>> {
        let (leaf, rest) = connection.client_certificates.split_first()?;
        // Hashed once for all requests of the connection.
        let fingerprint = *connection.fingerprint.get_or_init(|| Sha256::digest(leaf.as_ref()).into());
        let known = self.known.lock().get(&fingerprint).cloned();
        let now = self.clock.now();
        let known = match known {
            Some(known) => known,
            None => {
                let fresh = self.verify(leaf, rest, &fingerprint, now)?;
                let mut all = self.known.lock();
                if all.len() >= REMEMBERED {
                    all.clear();
                }
                all.insert(fingerprint, fresh.clone());
                fresh
            }
        };
        (known.not_before <= now && now <= known.not_after).then_some(known.user)
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'static>],
        fingerprint: &Fingerprint,
        now: SystemTime,
    ) -> Option<Known> {
        let at = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).ok()?);
        self.verifier.verify_client_cert(leaf, rest, at).ok()?;
        read(leaf, fingerprint)
    }
}

/// OID of the subject attribute that carries a user's uid.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

fn read(leaf: &CertificateDer<'_>, fingerprint: &Fingerprint) -> Option<Known> {
    let (_, certificate) = X509Certificate::from_der(leaf.as_ref()).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect();
    let uid = subject
        .iter_attributes()
        .find(|attribute| attribute.attr_type().to_id_string() == UID_OID)
        .and_then(|attribute| attribute.as_str().ok())
        .unwrap_or_default()
        .to_owned();
    let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    let extra =
        [("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={hex}")])];
    let validity = certificate.validity();
    let time = |seconds: i64| u64::try_from(seconds).ok().map(|s| UNIX_EPOCH + Duration::from_secs(s));
    Some(Known {
        user: Arc::new(super::authenticated(UserInfo { name, uid, groups, extra: extra.into() })),
        not_before: time(validity.not_before.timestamp())?,
        not_after: time(validity.not_after.timestamp())?,
    })
}

/// The authenticator.
pub(crate) struct ClientCertificates(Authority);

impl ClientCertificates {
    pub(crate) fn new(bundle: &[u8], clock: &SharedClock) -> Result<Self, Status> {
        Ok(Self(Authority::new(bundle, clock)?))
    }
}

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(
        &self,
        _: &http::request::Parts,
        connection: &ConnInfo,
    ) -> Result<Option<UserInfo>, Status> {
        Ok(self.0.identify(connection).map(|user| (*user).clone()))
    }

    async fn identify(
        &self,
        _: &http::request::Parts,
        connection: &ConnInfo,
    ) -> Result<Option<Arc<UserInfo>>, Status> {
        Ok(self.0.identify(connection))
    }
}
