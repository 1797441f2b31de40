//! The API server's flags about who may do what, and what is recorded and encrypted: upstream's names and defaults.
//!
//! Deliberately absent: reading the files that they name, which the API server does.

use crate::requests::RequestOptions;
use anyhow::{Result, bail};
use apiserver::Config;
use apiserver::audit::{AuditWebhook, Batch, Feeding, LogFile, Mode, parse_duration};
use apiserver::authn::{OidcFlags, TokenWebhook};
use apiserver::authz::{AuthorizationSettings, WebhookSettings};
use apiserver::storage::encryption::EncryptionConfig;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of the API server about access.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Access and audit")]
pub struct AccessOptions {
    /// Issuers of tokens and anonymous requests (a file of kind AuthenticationConfiguration); issuers change at once
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// Whether requests without credentials are served as system:anonymous [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// Tokens and their users: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Passwords and their users: lines of password,user,uid,"group1,group2"; not recommended
    #[arg(long, value_name = "FILE")]
    pub basic_auth_file: Option<PathBuf>,
    /// Server that knows tokens (a kubeconfig file)
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of TokenReview that the server understands [default: v1beta1]
    #[arg(long, value_name = "VERSION")]
    pub authentication_token_webhook_version: Option<String>,
    /// How long the server's answers are remembered [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub authentication_token_webhook_cache_ttl: Option<Duration>,
    /// OpenID Connect issuer, with https
    #[arg(long, value_name = "URL", conflicts_with = "authentication_config", requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// Client id that tokens of the issuer are meant for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// Authorities of the issuer's server [default: this machine's]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub oidc_ca_file: Option<PathBuf>,
    /// Claim that is the user name [default: sub]
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub oidc_username_claim: Option<String>,
    /// Prefix of user names; '-' is none [default: the issuer and '#', none for email]
    #[arg(long, value_name = "PREFIX", requires = "oidc_issuer_url")]
    pub oidc_username_prefix: Option<String>,
    /// Claim that has the groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub oidc_groups_claim: Option<String>,
    /// Prefix of groups
    #[arg(long, value_name = "PREFIX", requires = "oidc_issuer_url")]
    pub oidc_groups_prefix: Option<String>,
    /// Claim that must have a value (claim=value); may be repeated
    #[arg(long, value_name = "CLAIM=VALUE", requires = "oidc_issuer_url")]
    pub oidc_required_claim: Vec<String>,
    /// Signing algorithms, by commas [default: RS256]
    #[arg(long, value_name = "ALGS", value_delimiter = ',', requires = "oidc_issuer_url")]
    pub oidc_signing_algs: Vec<String>,
    /// Authorizers in order, by commas: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long, value_name = "MODES", value_delimiter = ',', conflicts_with = "authorization_config")]
    pub authorization_mode: Vec<String>,
    /// Authorizers and their settings (a file of kind AuthorizationConfiguration); changes take effect at once
    #[arg(long, value_name = "FILE")]
    pub authorization_config: Option<PathBuf>,
    /// Policies of mode ABAC, a JSON object per line
    #[arg(long, value_name = "FILE")]
    pub authorization_policy_file: Option<PathBuf>,
    /// Server of mode Webhook (a kubeconfig file)
    #[arg(long, value_name = "FILE", conflicts_with = "authorization_config")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// Version of SubjectAccessReview that the webhook understands [default: v1beta1]
    #[arg(long, value_name = "VERSION", conflicts_with = "authorization_config")]
    pub authorization_webhook_version: Option<String>,
    /// How long the webhook's yes is remembered [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "authorization_config")]
    pub authorization_webhook_cache_authorized_ttl: Option<Duration>,
    /// How long the webhook's no is remembered [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "authorization_config")]
    pub authorization_webhook_cache_unauthorized_ttl: Option<Duration>,
    /// What to encrypt in the store (a file of kind EncryptionConfiguration, apiVersion apiserver.config.k8s.io/v1)
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Take changes of the encryption configuration into force without a restart
    #[arg(long, requires = "encryption_provider_config")]
    pub encryption_provider_config_automatic_reload: bool,
    /// What to audit (a file of kind Policy, apiVersion audit.k8s.io/v1)
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// Where to write audit events; '-' is standard output
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Format of the audit log: json or legacy [default: json]
    #[arg(long, value_name = "FORMAT")]
    pub audit_log_format: Option<String>,
    /// Days that rotated audit logs are kept
    #[arg(long, value_name = "DAYS")]
    pub audit_log_maxage: Option<u64>,
    /// Rotated audit logs that are kept
    #[arg(long, value_name = "N")]
    pub audit_log_maxbackup: Option<usize>,
    /// Megabytes after which the audit log is rotated [default: 100]
    #[arg(long, value_name = "MB")]
    pub audit_log_maxsize: Option<u64>,
    /// Compress rotated audit logs
    #[arg(long)]
    pub audit_log_compress: bool,
    /// The rest of the audit log's flags.
    #[command(flatten)]
    pub audit_log: LogFeeding,
    /// Where to send audit events (a kubeconfig file)
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// Pause before a failed batch of audit events is sent again [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub audit_webhook_initial_backoff: Option<Duration>,
    /// The rest of the audit webhook's flags.
    #[command(flatten)]
    pub audit_webhook: WebhookFeeding,
    /// What becomes of requests that may be made.
    #[command(flatten)]
    pub requests: RequestOptions,
}

macro_rules! feeding {
    ($name:ident, $of:literal, $prefix:literal) => {
        /// How a backend of audit events is fed.
        #[derive(Args, Clone, Debug, Default, PartialEq)]
        #[group(id = $prefix)]
        #[allow(missing_docs, reason = "the help texts say it")]
        pub struct $name {
            #[arg(long = concat!($prefix, "-mode"), id = concat!($prefix, "-mode"), value_name = "MODE",
                help = concat!("Whether requests wait for the ", $of, ": batch, blocking or blocking-strict"))]
            pub mode: Option<String>,
            #[arg(long = concat!($prefix, "-batch-buffer-size"), id = concat!($prefix, "-batch-buffer-size"),
                value_name = "N", help = "Audit events that may wait in batch mode [default: 10000]")]
            pub buffer_size: Option<usize>,
            #[arg(long = concat!($prefix, "-batch-max-size"), id = concat!($prefix, "-batch-max-size"),
                value_name = "N", help = "Audit events of one batch")]
            pub max_size: Option<usize>,
            #[arg(long = concat!($prefix, "-batch-max-wait"), id = concat!($prefix, "-batch-max-wait"),
                value_name = "DURATION", value_parser = duration, help = "How long an audit event waits for others")]
            pub max_wait: Option<Duration>,
            #[arg(long = concat!($prefix, "-batch-throttle-enable"),
                id = concat!($prefix, "-batch-throttle-enable"), value_name = "BOOL", num_args = 0..=1,
                default_missing_value = "true", help = "Bound the rate of batches")]
            pub throttle_enable: Option<bool>,
            #[arg(long = concat!($prefix, "-batch-throttle-qps"), id = concat!($prefix, "-batch-throttle-qps"),
                value_name = "N", help = "Batches per second [default: 10]")]
            pub throttle_qps: Option<f64>,
            #[arg(long = concat!($prefix, "-batch-throttle-burst"), id = concat!($prefix, "-batch-throttle-burst"),
                value_name = "N", help = "Batches at once [default: 15]")]
            pub throttle_burst: Option<usize>,
            #[arg(long = concat!($prefix, "-truncate-enabled"), id = concat!($prefix, "-truncate-enabled"),
                help = "Leave the objects out of audit events that are too large")]
            pub truncate_enabled: bool,
            #[arg(long = concat!($prefix, "-truncate-max-event-size"),
                id = concat!($prefix, "-truncate-max-event-size"), value_name = "BYTES",
                help = "Bytes of an audit event [default: 102400]")]
            pub truncate_max_event_size: Option<usize>,
            #[arg(long = concat!($prefix, "-truncate-max-batch-size"),
                id = concat!($prefix, "-truncate-max-batch-size"), value_name = "BYTES",
                help = "Bytes of a batch [default: 10485760]")]
            pub truncate_max_batch_size: Option<usize>,
        }

        impl $name {
            fn feeding(&self, default: Mode, batch: Batch) -> Result<Feeding> {
                let mode = match self.mode.as_deref() {
                    None => default,
                    Some("batch") => Mode::Batch,
                    Some("blocking") => Mode::Blocking,
                    Some("blocking-strict") => Mode::BlockingStrict,
                    Some(other) => bail!(
                        "--{}-mode must be batch, blocking or blocking-strict, not {other:?}",
                        $prefix
                    ),
                };
                let throttled = self.throttle_enable.unwrap_or(batch.throttle.is_some());
                let throttle = (self.throttle_qps.unwrap_or(10.0), self.throttle_burst.unwrap_or(15));
                let batch = Batch {
                    buffer: self.buffer_size.unwrap_or(batch.buffer),
                    max_size: self.max_size.unwrap_or(batch.max_size),
                    max_wait: self.max_wait.unwrap_or(batch.max_wait),
                    throttle: throttled.then_some(throttle),
                };
                let most = (
                    self.truncate_max_event_size.unwrap_or(102_400),
                    self.truncate_max_batch_size.unwrap_or(10_485_760),
                );
                Ok(Feeding { mode, batch, truncate: self.truncate_enabled.then_some(most) })
            }
        }
    };
}

feeding!(LogFeeding, "audit log", "audit-log");
feeding!(WebhookFeeding, "audit webhook", "audit-webhook");

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is no duration; write it as 30s, 5m or 1h30m"))
}

impl AccessOptions {
    /// Sets what the flags say in the API server's configuration.
    ///
    /// # Errors
    /// When a flag has a value that it cannot have.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        config.encryption = self
            .encryption_provider_config
            .clone()
            .map(|file| EncryptionConfig { file, reload: self.encryption_provider_config_automatic_reload });
        self.apply_authentication(config)?;
        self.apply_authorization(config)?;
        self.requests.apply(config)?;
        self.apply_audit(config)
    }

    fn apply_authentication(&self, config: &mut Config) -> Result<()> {
        config.token_file.clone_from(&self.token_auth_file);
        config.basic_file.clone_from(&self.basic_auth_file);
        config.anonymous = self.anonymous_auth.unwrap_or(true);
        config.jwt.file.clone_from(&self.authentication_config);
        let version = self.authentication_token_webhook_version.as_deref().unwrap_or("v1beta1");
        if !matches!(version, "v1" | "v1beta1") {
            bail!("--authentication-token-webhook-version must be v1 or v1beta1, not {version:?}");
        }
        config.token_webhook =
            self.authentication_token_webhook_config_file.clone().map(|kubeconfig| TokenWebhook {
                kubeconfig,
                version: version.to_owned(),
                ttl: self.authentication_token_webhook_cache_ttl.unwrap_or(Duration::from_secs(120)),
            });
        let Some(issuer_url) = self.oidc_issuer_url.clone() else { return Ok(()) };
        let required = self.oidc_required_claim.iter().map(|pair| match pair.split_once('=') {
            Some((claim, value)) => Ok((claim.to_owned(), value.to_owned())),
            None => bail!("--oidc-required-claim must be claim=value, not {pair:?}"),
        });
        let algorithms = match self.oidc_signing_algs.as_slice() {
            [] => vec!["RS256".to_owned()],
            given => given.to_vec(),
        };
        config.jwt.oidc = Some(OidcFlags {
            issuer_url,
            client_id: self.oidc_client_id.clone().unwrap_or_default(),
            ca_file: self.oidc_ca_file.clone(),
            username_claim: self.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned()),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone().unwrap_or_default(),
            required_claims: required.collect::<Result<_>>()?,
            signing_algs: algorithms,
        });
        Ok(())
    }

    fn apply_authorization(&self, config: &mut Config) -> Result<()> {
        if !self.authorization_mode.is_empty() {
            config.authorization_modes.clone_from(&self.authorization_mode);
        }
        let version = self.authorization_webhook_version.as_deref().unwrap_or("v1beta1");
        if !matches!(version, "v1" | "v1beta1") {
            bail!("--authorization-webhook-version must be v1 or v1beta1, not {version:?}");
        }
        config.authorization = AuthorizationSettings {
            file: self.authorization_config.clone(),
            policy_file: self.authorization_policy_file.clone(),
            webhook: self.authorization_webhook_config_file.clone().map(|kubeconfig| WebhookSettings {
                name: "webhook".to_owned(),
                kubeconfig,
                version: version.to_owned(),
                timeout: Duration::from_secs(30),
                authorized_ttl: self
                    .authorization_webhook_cache_authorized_ttl
                    .unwrap_or(Duration::from_secs(300)),
                unauthorized_ttl: self
                    .authorization_webhook_cache_unauthorized_ttl
                    .unwrap_or(Duration::from_secs(30)),
                deny_on_failure: false,
            }),
        };
        Ok(())
    }

    fn apply_audit(&self, config: &mut Config) -> Result<()> {
        let audit = &mut config.audit;
        audit.policy.clone_from(&self.audit_policy_file);
        if let Some(path) = &self.audit_log_path {
            let json = match self.audit_log_format.as_deref() {
                None | Some("json") => true,
                Some("legacy") => false,
                Some(other) => bail!("--audit-log-format must be json or legacy, not {other:?}"),
            };
            let file = LogFile {
                path: path.clone(),
                json,
                max_age: self.audit_log_maxage.unwrap_or(0),
                max_backups: self.audit_log_maxbackup.unwrap_or(0),
                max_size: self.audit_log_maxsize.unwrap_or(0),
                compress: self.audit_log_compress,
            };
            audit.log = Some((file, self.audit_log.feeding(Mode::Blocking, Batch::LOG)?));
        }
        if let Some(kubeconfig) = &self.audit_webhook_config_file {
            audit.webhook = Some(AuditWebhook {
                kubeconfig: kubeconfig.clone(),
                initial_backoff: self.audit_webhook_initial_backoff.unwrap_or(Duration::from_secs(10)),
                feeding: self.audit_webhook.feeding(Mode::Batch, Batch::WEBHOOK)?,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        access: AccessOptions,
    }

    fn config(flags: &[&str]) -> Result<Config> {
        let mut config = Config::default();
        Command::try_parse_from(["x"].iter().chain(flags))?.access.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn flags_have_upstreams_names_and_defaults() {
        let config = config(&[
            "--audit-policy-file=p",
            "--audit-log-path=-",
            "--audit-log-mode=batch",
            "--audit-log-truncate-enabled",
            "--audit-webhook-config-file=k",
            "--audit-webhook-batch-max-wait=1s",
        ])
        .unwrap();
        let (file, feeding) = config.audit.log.unwrap();
        assert!(file.json);
        assert_eq!((feeding.mode, feeding.batch.throttle), (Mode::Batch, None));
        assert_eq!(feeding.truncate, Some((102_400, 10_485_760)));
        let hook = config.audit.webhook.unwrap();
        assert_eq!((hook.feeding.mode, hook.feeding.batch.max_size), (Mode::Batch, 400));
        assert_eq!(hook.feeding.batch.max_wait, Duration::from_secs(1));
        assert!(super::tests::config(&["--audit-log-path=x", "--audit-log-mode=sometimes"]).is_err());
    }
}
