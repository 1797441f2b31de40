//! [`Authenticator`]: the `Authorization` header, kept fresh: token files are read again as they rotate, credential
//! plugins run again when what they gave has expired.

use crate::config::{ConfigError, Credentials, ExecCredential};
use crate::time;
use ::http::HeaderValue;
use base64::Engine;
use component::SharedClock;
use component::tls::KeyPair;
use parking_lot::Mutex;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a token read from a file is used before the file is read again (client-go's period).
const REREAD: Duration = Duration::from_secs(60);

pub(super) struct Authenticator {
    credentials: Credentials,
    clock: SharedClock,
    file: Mutex<Option<(Instant, HeaderValue)>>,
    exec: tokio::sync::Mutex<Option<ExecCredential>>,
}

fn bearer(token: &str) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| {
        ConfigError::new("failed to use the bearer token: it holds characters that headers must not")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl Authenticator {
    pub(super) fn new(credentials: Credentials, clock: SharedClock) -> Self {
        Self { credentials, clock, file: Mutex::new(None), exec: tokio::sync::Mutex::new(None) }
    }

    /// The client certificate that a credential plugin gave.
    pub(super) async fn client_pair(&self) -> Result<Option<KeyPair>, ConfigError> {
        match &self.credentials {
            Credentials::Exec(_) => Ok(self.executed().await?.pair),
            _ => Ok(None),
        }
    }

    /// The header, if any.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, ConfigError> {
        Ok(match &self.credentials {
            Credentials::None => None,
            Credentials::Token(token) => Some(bearer(token)?),
            Credentials::TokenFile(path) => Some(self.file_header(path).await?),
            Credentials::Basic { user, password } => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                HeaderValue::from_str(&format!("Basic {pair}")).ok()
            }
            Credentials::Exec(_) => self.executed().await?.token.map(|token| bearer(&token)).transpose()?,
        })
    }

    /// Forgets what may be stale; says whether trying again makes sense.
    pub(super) async fn refresh(&self) -> bool {
        match &self.credentials {
            Credentials::TokenFile(_) => self.file.lock().take().is_some(),
            Credentials::Exec(_) => self.exec.lock().await.take().is_some(),
            _ => false,
        }
    }

    async fn file_header(&self, path: &Path) -> Result<HeaderValue, ConfigError> {
        let now = self.clock.instant();
        if let Some((at, value)) = &*self.file.lock()
            && now.duration_since(*at) < REREAD
        {
            return Ok(value.clone());
        }
        let token = tokio::fs::read_to_string(path).await.map_err(|error| {
            ConfigError::new(format!(
                "failed to read the token {}: {error}; check that it is mounted",
                path.display()
            ))
        })?;
        let value = bearer(&token)?;
        *self.file.lock() = Some((now, value.clone()));
        Ok(value)
    }

    async fn executed(&self) -> Result<ExecCredential, ConfigError> {
        let Credentials::Exec(config) = &self.credentials else { return Ok(ExecCredential::default()) };
        let mut cached = self.exec.lock().await;
        let now = time::now(&*self.clock);
        if let Some(credential) = cached.as_ref().filter(|c| c.expires.is_none_or(|expires| expires > now)) {
            return Ok(credential.clone());
        }
        let fresh = config.run().await?;
        *cached = Some(fresh.clone());
        Ok(fresh)
    }
}
