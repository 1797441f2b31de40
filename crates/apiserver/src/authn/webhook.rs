//! Tokens that a server knows: it is asked with a `TokenReview`, and its answers are remembered.
//!
//! Source: "Webhook Token Authentication".

use super::bearer::{Identified, TokenAuthenticator};
use crate::contract::{Context, UserInfo};
use crate::remote::Remote;
use async_trait::async_trait;
use machinery::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Answers that are remembered.
const REMEMBERED: usize = 8192;
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries where the server cannot be reached, and the first pause (upstream's).
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// `--authentication-token-webhook-*`.
#[derive(Clone, Debug)]
pub struct TokenWebhook {
    /// Names the server.
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1`.
    pub version: String,
    /// How long answers are remembered; none is not.
    pub ttl: Duration,
}

/// What the server said of a token, by the token's digest, and until when that holds.
type Answers = HashMap<[u8; 32], (Instant, Option<Identified>)>;

/// The authenticator.
pub(super) struct Webhook {
    context: Context,
    settings: TokenWebhook,
    remote: Remote,
    known: Mutex<Answers>,
}

impl Webhook {
    pub(super) fn new(context: &Context, settings: &TokenWebhook) -> Result<Self, Status> {
        let remote = Remote::of_kubeconfig(&settings.kubeconfig, &context.tasks).map_err(Status::internal)?;
        Ok(Self { context: context.clone(), settings: settings.clone(), remote, known: Mutex::default() })
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, String> {
        let mut spec = json!({"token": token});
        if !audiences.is_empty() {
            spec["audiences"] = json!(audiences);
        }
        let review = json!({"kind": "TokenReview", "metadata": {}, "spec": spec,
            "apiVersion": format!("authentication.k8s.io/{}", self.settings.version)});
        let body = bytes::Bytes::from(review.to_string());
        let answer = self.remote.post_again(&body, TIMEOUT, (TRIES, PAUSE), &self.context.clock).await?;
        let review: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let status = &review["status"];
        if status["authenticated"] != true {
            return match status["error"].as_str().unwrap_or_default() {
                "" => Ok(None),
                error => Err(error.to_owned()),
            };
        }
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let user = &status["user"];
        let text = |key: &str| user[key].as_str().unwrap_or_default().to_owned();
        let extra = user["extra"].as_object().into_iter().flatten();
        let told = texts(&status["audiences"]);
        // A server that does not know of audiences speaks for the API server's own.
        let audiences = match (audiences, told.as_slice()) {
            ([], _) => Vec::new(),
            (asked, []) => {
                let own = &self.context.config.service_accounts.audiences;
                asked.iter().filter(|audience| own.contains(audience)).cloned().collect()
            }
            (asked, told) => asked.iter().filter(|audience| told.contains(audience)).cloned().collect(),
        };
        Ok(Some(Identified {
            user: UserInfo {
                name: text("username"),
                uid: text("uid"),
                groups: texts(&user["groups"]),
                extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
            },
            audiences,
        }))
    }
}

#[async_trait]
impl TokenAuthenticator for Webhook {
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        let mut hash = Sha256::new();
        for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let now = self.context.clock.instant();
        if let Some((until, known)) = self.known.lock().get(&hash)
            && *until > now
        {
            return Ok(known.clone());
        }
        let found = match self.ask(token, audiences).await {
            Ok(found) => found.filter(|found| audiences.is_empty() || !found.audiences.is_empty()),
            Err(error) => {
                tracing::error!("failed to make webhook authenticator request: {error}");
                return Err(Status::unauthorized());
            }
        };
        if !self.settings.ttl.is_zero() {
            let mut known = self.known.lock();
            if known.len() >= REMEMBERED {
                known.retain(|_, (until, _)| *until > now);
                if known.len() >= REMEMBERED {
                    known.clear();
                }
            }
            known.insert(hash, (now + self.settings.ttl, found.clone()));
        }
        Ok(found)
    }
}
