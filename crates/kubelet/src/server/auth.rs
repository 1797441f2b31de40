//! Who asks the kubelet's server, and whether they may.
//!
//! Certificates name user (CN) and groups (O); tokens are shown to the API server (TokenReview). The API server also
//! decides what is allowed (SubjectAccessReview on `nodes/<subresource>`); answers are kept for a while.

use crate::kubelet::Kubelet;
use api::k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use api::k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use component::serve::{ConnInfo, Request};
use http::{Method, header};
use machinery::Status;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALLOWED_FOR: Duration = Duration::from_secs(300);
const DENIED_FOR: Duration = Duration::from_secs(30);
const TOKEN_FOR: Duration = Duration::from_secs(120);
/// Entries kept at most in each cache.
const MAX_ENTRIES: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct User {
    name: String,
    groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ask {
    verb: &'static str,
    subresource: &'static str,
}

type Cache<K, V> = Mutex<HashMap<K, (V, Instant)>>;

#[derive(Default)]
struct Caches {
    tokens: Cache<[u8; 32], Option<User>>,
    decisions: Cache<(User, Ask), bool>,
}

/// Authentication and authorisation. Clones share their caches.
#[derive(Clone)]
pub(super) struct Auth(Arc<Caches>);

fn keep<K: std::hash::Hash + Eq, V>(cache: &Cache<K, V>, key: K, value: V, until: Instant) {
    let mut cache = cache.lock();
    if cache.len() >= MAX_ENTRIES {
        cache.clear();
    }
    cache.insert(key, (value, until));
}

fn from_certificate(peer: Option<&ConnInfo>) -> Option<User> {
    let leaf = peer?.client_certificates.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(text)?;
    let groups = subject.iter_organization().filter_map(text).collect();
    Some(User { name, groups })
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|t| !t.is_empty())
}

/// Verb and subresources of `nodes` that allow a request; any of them will do, the finest first (KEP-2862).
fn asks(method: &Method, path: &str) -> Vec<Ask> {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let names: &[&str] = match first {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "healthz" | "livez" | "readyz" => &["healthz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    };
    names.iter().map(|subresource| Ask { verb, subresource }).collect()
}

impl Auth {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    async fn user_of(&self, kubelet: &Kubelet, token: &str) -> Result<Option<User>, Status> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = kubelet.clock.instant();
        if let Some((user, _)) = self.0.tokens.lock().get(&key).filter(|(_, until)| now < *until) {
            return Ok(user.clone());
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let answer = kubelet.client.all::<TokenReview>().create(&review).await?;
        let status = answer.status.clone().unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| User {
            name: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        });
        keep(&self.0.tokens, key, user.clone(), now + TOKEN_FOR);
        Ok(user)
    }

    async fn user(
        &self,
        kubelet: &Kubelet,
        request: &Request,
        peer: Option<&ConnInfo>,
    ) -> Result<User, Status> {
        if let Some(user) = from_certificate(peer) {
            return Ok(user);
        }
        if let Some(token) = bearer(request)
            && let Some(user) = self.user_of(kubelet, token).await?
        {
            return Ok(user);
        }
        let anonymous = kubelet.config.anonymous_auth && bearer(request).is_none();
        if !anonymous {
            return Err(Status::unauthorized());
        }
        Ok(User { name: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] })
    }

    async fn allowed(&self, kubelet: &Kubelet, user: &User, ask: Ask) -> Result<bool, Status> {
        let now = kubelet.clock.instant();
        let key = (user.clone(), ask);
        if let Some((allowed, _)) = self.0.decisions.lock().get(&key).filter(|(_, until)| now < *until) {
            return Ok(*allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(ask.verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(ask.subresource.to_owned()),
                    name: Some(kubelet.config.node_name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = kubelet.client.all::<SubjectAccessReview>().create(&review).await?;
        let allowed = answer.status.as_ref().is_some_and(|s| s.allowed);
        let until = now + if allowed { ALLOWED_FOR } else { DENIED_FOR };
        keep(&self.0.decisions, key, allowed, until);
        Ok(allowed)
    }

    /// Lets the request through or says why not.
    pub(super) async fn check(
        &self,
        kubelet: &Kubelet,
        request: &Request,
        peer: Option<&ConnInfo>,
        path: &str,
    ) -> Result<(), Status> {
        let user = self.user(kubelet, request, peer).await?;
        // Members of this group may do anything by definition; asking would only cost time.
        if user.groups.iter().any(|g| g == "system:masters") {
            return Ok(());
        }
        let asks = asks(request.method(), path);
        for ask in &asks {
            if self.allowed(kubelet, &user, *ask).await? {
                return Ok(());
            }
        }
        let ask = asks.last().map_or("get", |a| a.verb);
        let sub = asks.last().map_or("proxy", |a| a.subresource);
        Err(Status::new(
            403,
            machinery::Reason::Forbidden,
            format!("Forbidden (user={}, verb={ask}, resource=nodes, subresource(s)=[{sub}])", user.name),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_map_to_subresources() {
        for (method, path, want) in [
            (Method::GET, "/stats/summary", vec![("get", "stats")]),
            (Method::POST, "/exec/ns/p/c", vec![("create", "proxy")]),
            (Method::GET, "/containerLogs/ns/p/c", vec![("get", "proxy")]),
            (Method::GET, "/pods", vec![("get", "pods"), ("get", "proxy")]),
            (Method::GET, "/metrics/resource", vec![("get", "metrics")]),
        ] {
            let got: Vec<_> = asks(&method, path).into_iter().map(|a| (a.verb, a.subresource)).collect();
            assert_eq!(got, want, "{path}");
        }
    }
}
