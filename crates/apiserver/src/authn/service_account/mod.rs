//! Bound service-account tokens: JWTs that live no longer than the pod, secret or node they are bound to.
//!
//! Source: "Managing Service Accounts"; KEP-1205, KEP-4193. Deliberately absent: tokens kept in secrets, which are
//! refused.

mod claims;
mod discovery;
mod keys;

pub use claims::{Bound, Claims, Reference};
pub use discovery::document;
pub use keys::Keys;

use super::bearer::{Identified, TokenAuthenticator};
use crate::contract::{Context, UserInfo};
use api::StoredObject;
use api::transport::Target;
use async_trait::async_trait;
use machinery::{GroupResource, GroupVersionResource, Status};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Seconds for which a token still works after the deletion of what it is bound to began.
const DELETION_LEEWAY: i64 = 60;
/// Tokens remembered, so that a signature is checked once.
const REMEMBERED: usize = 4096;
/// Bytes of a token; longer ones are not looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// The groups of service accounts in `namespace`.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// Now, in seconds since the epoch.
pub fn now(context: &Context) -> i64 {
    let since = context.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The authenticator.
pub(crate) struct ServiceAccountTokens {
    context: Context,
    keys: Keys,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl ServiceAccountTokens {
    pub(crate) fn new(context: &Context) -> Result<Self, Status> {
        let keys = Keys::new(&context.config.service_accounts)?;
        Ok(Self { context: context.clone(), keys, verified: Mutex::default() })
    }

    /// The claims of a token with a good signature; `None` when it is not ours.
    fn claims(&self, token: &str) -> Result<Option<Arc<Claims>>, Status> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.verified.lock().get(&hash) {
            return Ok(Some(claims.clone()));
        }
        let Some(claims) = self.keys.verify(token)?.map(Arc::new) else { return Ok(None) };
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(hash, claims.clone());
        Ok(Some(claims))
    }

    /// The object, from the cache or, when it is not there yet, from the store.
    async fn find(
        &self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<StoredObject>>, Status> {
        let cached = self.context.lookup.get(&GroupResource::new("", resource), namespace, name).await?;
        if cached.is_some() {
            return Ok(cached);
        }
        let target = Target::all(GroupVersionResource::new("", "v1", resource));
        match self.context.loopback.get(&target.in_namespace(namespace).named(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fails unless the object still is the one that the token was bound to.
    async fn check(
        &self,
        resource: &'static str,
        namespace: &str,
        bound: &Reference,
        now: i64,
    ) -> Result<(), Status> {
        let found = self.find(resource, namespace, &bound.name).await?;
        let alive = found.is_some_and(|object| {
            let meta = object.meta();
            let gone = meta.deletion_timestamp.as_ref().map(|t| t.0.as_second() + DELETION_LEEWAY);
            meta.uid.as_deref() == Some(bound.uid.as_str()) && gone.is_none_or(|gone| now <= gone)
        });
        if alive {
            return Ok(());
        }
        tracing::debug!(resource, namespace, name = bound.name, "a token is bound to an object that is gone");
        Err(Status::unauthorized())
    }
}

#[async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        if token.len() > MAX_TOKEN || token.bytes().filter(|b| *b == b'.').count() != 2 {
            return Ok(None);
        }
        let Some(claims) = self.claims(token)? else { return Ok(None) };
        let now = now(&self.context);
        if now >= claims.exp || now < claims.nbf {
            return Err(Status::unauthorized());
        }
        let accepted =
            if audiences.is_empty() { &self.context.config.service_accounts.audiences } else { audiences };
        let audiences: Vec<String> = accepted.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        if audiences.is_empty() {
            return Err(Status::unauthorized());
        }
        let bound = &claims.kubernetes;
        let namespace = bound.namespace.as_str();
        self.check("serviceaccounts", namespace, &bound.serviceaccount, now).await?;
        if let Some(secret) = &bound.secret {
            self.check("secrets", namespace, secret, now).await?;
        }
        if let Some(pod) = &bound.pod {
            self.check("pods", namespace, pod, now).await?;
        } else if let Some(node) = &bound.node {
            // With a pod, the node only says where the token was issued for; the pod decides about its life.
            self.check("nodes", "", node, now).await?;
        }
        if bound.warnafter.is_some_and(|after| now >= after) {
            tracing::debug!(subject = claims.sub, "a token is used beyond the life it was asked for");
        }
        Ok(Some(Identified { user: user(&claims), audiences }))
    }
}

/// Whom claims name.
fn user(claims: &Claims) -> UserInfo {
    let bound = &claims.kubernetes;
    let mut user = UserInfo {
        name: claims.sub.clone(),
        uid: bound.serviceaccount.uid.clone(),
        groups: groups(&bound.namespace),
        ..UserInfo::default()
    };
    let mut add = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    add("credential-id", format!("JTI={}", claims.jti));
    if let Some(pod) = &bound.pod {
        add("pod-name", pod.name.clone());
        add("pod-uid", pod.uid.clone());
    }
    if let Some(node) = &bound.node {
        add("node-name", node.name.clone());
        if !node.uid.is_empty() {
            add("node-uid", node.uid.clone());
        }
    }
    user
}
