//! One issuer: its keys, found by discovery and fetched anew when a token names one that is not known.

use super::config::Settings;
use crate::contract::UserInfo;
use crate::remote::{Remote, system_client};
use component::{SharedClock, Tasks, tls};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::ClientConfig;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long one request to the issuer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The issuer is not asked more often, whatever tokens say.
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds by which a token may be used too early (upstream's library's).
const EARLY: i64 = 300;

/// Every algorithm with a public key.
const ASYMMETRIC: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];

#[derive(Default)]
struct Keys {
    set: Arc<Vec<Jwk>>,
    fetched: Option<Instant>,
}

/// An issuer.
pub(super) struct Issuer {
    settings: Settings,
    algorithms: Vec<Algorithm>,
    tls: Arc<ClientConfig>,
    clock: SharedClock,
    tasks: Tasks,
    keys: Mutex<Keys>,
}

impl Issuer {
    /// Checks what can be checked without asking the issuer, which may start later than we do.
    pub(super) fn new(settings: Settings, clock: &SharedClock, tasks: &Tasks) -> Result<Self, String> {
        let tls = match &settings.authority {
            Some(bundle) => tls::client(bundle, None, &["http/1.1"]),
            None => system_client(None),
        };
        let tls = Arc::new(tls.map_err(|error| format!("issuer {:?}: {error}", settings.url))?);
        let mut algorithms = Vec::new();
        for name in &settings.algorithms {
            match ASYMMETRIC.iter().find(|known| format!("{known:?}") == *name) {
                Some(known) => algorithms.push(*known),
                None => return Err(format!("the signing algorithm {name:?} is not supported")),
            }
        }
        if algorithms.is_empty() {
            algorithms = ASYMMETRIC.to_vec();
        }
        Ok(Self {
            settings,
            algorithms,
            tls,
            clock: clock.clone(),
            tasks: tasks.clone(),
            keys: Mutex::default(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.settings.url
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        if !url.starts_with("https://") {
            return Err(format!("{url:?} does not start with https://"));
        }
        let remote = Remote::new(url, self.tls.clone(), &self.tasks)?;
        let (code, body) = remote.get(TIMEOUT).await?;
        if !code.is_success() {
            return Err(format!("{url} answered {code}"));
        }
        serde_json::from_slice(&body).map_err(|error| format!("{url} answered no JSON: {error}"))
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let document = self.get(&self.settings.discovery).await?;
        let issuer = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if issuer != self.settings.url {
            return Err(format!("issuer did not match: expected {:?}, got {issuer:?}", self.settings.url));
        }
        let url = document
            .get("jwks_uri")
            .and_then(Value::as_str)
            .ok_or("the discovery document has no jwks_uri")?;
        let set = self.get(url).await?;
        // One key that is not understood does not make the others useless.
        let listed = set.get("keys").and_then(Value::as_array).into_iter().flatten();
        let known = listed.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        Ok(JwkSet { keys: known.collect() }.keys)
    }

    /// The issuer's keys; asked for anew when `fresh` and they were not just fetched.
    async fn keys(&self, fresh: bool) -> Result<Arc<Vec<Jwk>>, String> {
        // Held while fetching: others wait for the same answer instead of asking too.
        let mut keys = self.keys.lock().await;
        let now = self.clock.instant();
        let due = keys.fetched.is_none_or(|then| now.saturating_duration_since(then) >= PAUSE);
        if due && (fresh || keys.set.is_empty()) {
            keys.fetched = Some(now);
            keys.set = Arc::new(self.fetch().await?);
        }
        Ok(keys.set.clone())
    }

    /// The claims of a token with a good signature.
    async fn signed(&self, token: &str) -> Result<Value, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("the signing algorithm {:?} is not allowed", header.alg));
        }
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        for fresh in [false, true] {
            for key in self.keys(fresh).await?.iter() {
                let other = header
                    .kid
                    .as_ref()
                    .is_some_and(|id| key.common.key_id.as_ref().is_some_and(|own| own != id));
                if other {
                    continue;
                }
                if let Ok(key) = DecodingKey::from_jwk(key)
                    && let Ok(token) = jsonwebtoken::decode::<Value>(token, &key, &validation)
                {
                    return Ok(token.claims);
                }
            }
        }
        Err("failed to verify signature: no key of the issuer fits".to_owned())
    }

    /// Whom the token names, and until when, in seconds since the epoch.
    pub(super) async fn verify(&self, token: &str, now: i64) -> Result<(UserInfo, i64), String> {
        let claims = self.signed(token).await?;
        // Some issuers write fractions.
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
        let expires = time("exp").ok_or("the token has no claim \"exp\"")?;
        if now > expires {
            return Err("token is expired".to_owned());
        }
        if time("nbf").is_some_and(|from| now + EARLY < from) {
            return Err("the token is not valid yet".to_owned());
        }
        let meant = match claims.get("aud") {
            Some(Value::String(one)) => self.settings.audiences.contains(one),
            Some(Value::Array(many)) => many
                .iter()
                .filter_map(Value::as_str)
                .any(|one| self.settings.audiences.iter().any(|a| a == one)),
            _ => false,
        };
        if !meant {
            return Err(format!("expected audience in {:?}", self.settings.audiences));
        }
        Ok((self.settings.mappings.user(&claims)?, expires))
    }
}
