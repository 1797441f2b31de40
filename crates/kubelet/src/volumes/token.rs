//! Service account tokens for pods, asked for through TokenRequest and renewed before they expire.
//!
//! Rule: a token is renewed at 80 % of its life or after 24 h, whichever is first (KEP-1205).

use super::VolumeError;
use crate::kubelet::Kubelet;
use crate::spec;
use api::k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use api::k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const DEFAULT_LIFE: i64 = 3600;
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Earliest next look at a token whose renewal failed.
const RETRY: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Cached {
    token: String,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    pod: String,
    account: String,
    audience: String,
    life: i64,
}

/// Tokens in use on this node.
#[derive(Default)]
pub(crate) struct Tokens {
    cached: Mutex<HashMap<Key, Cached>>,
}

impl Tokens {
    /// The token for a projection of `pod`, and when it must be asked for again.
    pub(crate) async fn get(
        &self,
        kubelet: &Kubelet,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<(String, Duration), VolumeError> {
        let s = spec::spec(pod);
        let key = Key {
            pod: spec::uid(pod).to_owned(),
            account: s.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            audience: source.audience.clone().unwrap_or_default(),
            life: source.expiration_seconds.unwrap_or(DEFAULT_LIFE),
        };
        let now = kubelet.clock.instant();
        let known = self.cached.lock().get(&key).cloned();
        if let Some(known) = known.as_ref().filter(|k| now < k.renew_at) {
            return Ok((known.token.clone(), known.renew_at - now));
        }
        match self.ask(kubelet, pod, &key).await {
            Ok(fresh) => {
                let answer = (fresh.token.clone(), fresh.renew_at.saturating_duration_since(now));
                self.cached.lock().insert(key, fresh);
                Ok(answer)
            }
            Err(error) => match known.filter(|k| now < k.expires_at) {
                Some(known) => {
                    tracing::warn!(
                        pod = spec::describe(pod),
                        "failed to renew a token: {error}; trying again"
                    );
                    Ok((known.token, RETRY))
                }
                None => Err(error),
            },
        }
    }

    async fn ask(&self, kubelet: &Kubelet, pod: &Pod, key: &Key) -> Result<Cached, VolumeError> {
        let body = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
                expiration_seconds: Some(key.life),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let accounts = kubelet.client.namespaced::<ServiceAccount>(spec::namespace(pod));
        let answer = accounts
            .create_subresource::<TokenRequest, TokenRequest>(&key.account, "token", &body)
            .await
            .map_err(|status| VolumeError(format!("failed to fetch token: {status}")))?;
        let status = answer.status.clone().unwrap_or_default();
        let (Some(token), Some(expiry)) = (status.token, status.expiration_timestamp) else {
            let why = "failed to fetch token: the answer has no token; is the API server sound?";
            return Err(VolumeError(why.to_owned()));
        };
        let now = kubelet.clock.instant();
        let left = expiry.0.as_second() - client::time::now(&*kubelet.clock).as_second();
        let life = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Ok(Cached { token, renew_at: now + (life * 4 / 5).min(MAX_AGE), expires_at: now + life })
    }

    /// Forgets the tokens of a pod that is gone.
    pub(crate) fn forget(&self, pod: &str) {
        self.cached.lock().retain(|key, _| key.pod != pod);
    }
}
