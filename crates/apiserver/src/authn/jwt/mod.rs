//! Tokens of other issuers: OpenID Connect and any other JWT, as AuthenticationConfiguration or `--oidc-*` describe.
//!
//! Source: "OpenID Connect Tokens"; `AuthenticationConfiguration` of apiserver.config.k8s.io. Deliberately absent:
//! distributed claims, encrypted tokens, egress selectors.

mod claims;
mod config;
mod issuer;

pub use config::{Anonymous, OidcFlags};

use super::bearer::{Identified, TokenAuthenticator};
use crate::contract::Context;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use component::files::{Apply, follow};
use issuer::Issuer;
use machinery::Status;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a token that was good is not looked at again (upstream's).
const GOOD_FOR: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const REMEMBERED: usize = 4096;
/// Bytes of a token; longer ones are not looked at.
const MAX_TOKEN: usize = 64 * 1024;

/// Where issuers are described.
#[derive(Clone, Debug, Default)]
pub struct JwtSettings {
    /// `--authentication-config`.
    pub file: Option<PathBuf>,
    /// `--oidc-*`.
    pub oidc: Option<OidcFlags>,
}

/// The issuers in force, and what they were found to have issued.
struct Set {
    issuers: Vec<Issuer>,
    known: Mutex<HashMap<[u8; 32], (Instant, Identified)>>,
}

/// The authenticator.
pub(super) struct Jwt {
    context: Context,
    set: ArcSwap<Set>,
}

impl Set {
    fn of(issuers: Vec<Issuer>) -> Self {
        Self { issuers, known: Mutex::default() }
    }
}

fn set(context: &Context, settings: Vec<config::Settings>) -> Result<Set, String> {
    let own = &context.config.service_accounts.issuer;
    if let Some(clash) = settings.iter().find(|settings| settings.url == *own) {
        return Err(format!("the issuer {:?} is the one of service accounts", clash.url));
    }
    let issuers = settings.into_iter().map(|settings| Issuer::new(settings, &context.clock, &context.tasks));
    issuers.collect::<Result<_, _>>().map(Set::of)
}

/// The authenticator, if issuers are described; and what the file says about anonymous requests.
pub(super) async fn start(context: &Context) -> Result<(Option<Arc<Jwt>>, Option<Anonymous>), Status> {
    let settings = &context.config.jwt;
    if let Some(flags) = &settings.oidc {
        let settings = flags.settings().and_then(|one| set(context, vec![one]));
        let set =
            settings.map_err(|why| Status::internal(format!("failed to use the --oidc flags: {why}")))?;
        return Ok((Some(Arc::new(Jwt { context: context.clone(), set: ArcSwap::from_pointee(set) })), None));
    }
    let Some(file) = &settings.file else { return Ok((None, None)) };
    let failed = |why: String| {
        Status::internal(format!("failed to use the authentication configuration {}: {why}", file.display()))
    };
    let bytes = tokio::fs::read(file).await.map_err(|error| failed(error.to_string()))?;
    let (issuers, anonymous) = config::read(&bytes).map_err(failed)?;
    let first = set(context, issuers).map_err(failed)?;
    let jwt = Arc::new(Jwt { context: context.clone(), set: ArcSwap::from_pointee(first) });
    let reloaded = jwt.clone();
    let apply: Apply = Arc::new(move |content| {
        let jwt = reloaded.clone();
        Box::pin(async move {
            let (issuers, _) = config::read(&content)?;
            jwt.set.store(Arc::new(set(&jwt.context, issuers)?));
            Ok(())
        })
    });
    follow(&context.tasks, "the authentication configuration", file, bytes, apply)
        .map_err(|error| failed(error.to_string()))?;
    Ok((Some(jwt), anonymous))
}

#[derive(Deserialize)]
struct Issued {
    #[serde(default)]
    iss: String,
}

#[async_trait]
impl TokenAuthenticator for Jwt {
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        if token.len() > MAX_TOKEN || token.bytes().filter(|b| *b == b'.').count() != 2 {
            return Ok(None);
        }
        let set = self.set.load_full();
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = self.context.clock.instant();
        if let Some((until, known)) = set.known.lock().get(&hash)
            && *until > now
        {
            return Ok(Some(Identified { user: known.user.clone(), audiences: audiences.to_vec() }));
        }
        let Ok(Issued { iss }) = jsonwebtoken::dangerous::insecure_decode_claims::<Issued>(token) else {
            return Ok(None);
        };
        let mut why = None;
        for issuer in set.issuers.iter().filter(|issuer| issuer.url() == iss) {
            let seconds = super::service_account::now(&self.context);
            match issuer.verify(token, seconds).await {
                Ok((user, expires)) => {
                    // Whoever asks for other audiences than the API server's cannot be told whether they are meant.
                    let identified = Identified { user, audiences: audiences.to_vec() };
                    let left = u64::try_from(expires - seconds).unwrap_or(0);
                    let until = now + GOOD_FOR.min(Duration::from_secs(left));
                    let mut known = set.known.lock();
                    if known.len() >= REMEMBERED {
                        known.clear();
                    }
                    known.insert(hash, (until, identified.clone()));
                    return Ok(Some(identified));
                }
                Err(error) => why = Some(error),
            }
        }
        let Some(why) = why else { return Ok(None) };
        tracing::warn!(issuer = iss, "failed to verify a token: {why}");
        Err(Status::unauthorized())
    }
}
