//! The flags that say where the data is, by the names that upstream's API server gives them, and their part of the
//! settings file.

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Reads a duration as Go writes them: `5m`, `90s`, `1m30s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write something like 30s or 2m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len())];
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            "h" => Duration::from_secs(number.saturating_mul(3600)),
            _ => return Err(wrong()),
        };
        total = total.saturating_add(part);
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Flags that say where the data is. Without any it is in the data directory.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Store")]
pub struct StoreOptions {
    /// Keep the data in this etcd cluster (comma-separated URLs) instead of the data directory
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// CA bundle that etcd's certificates are checked with
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate to show to etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd start with [default: /registry]
    #[arg(long, value_name = "PREFIX")]
    pub etcd_prefix: Option<String>,
    /// How often history in etcd is compacted; 0 never [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub etcd_compaction_interval: Option<Duration>,
    /// How long etcd may take to answer /healthz and /livez [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub etcd_healthcheck_timeout: Option<Duration>,
    /// How long etcd may take to answer /readyz [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub etcd_readycheck_timeout: Option<Duration>,
    /// Start an etcd member here and keep the data in its cluster (needs the program etcd)
    #[arg(long, conflicts_with = "etcd_servers")]
    pub etcd_local: bool,
    /// The members that begin the cluster, as NAME=https://HOST:2380, comma-separated [default: only this one]
    #[arg(long, value_name = "MEMBERS", requires = "etcd_local")]
    pub etcd_initial_cluster: Option<String>,
    /// This member's name in it [default: the machine's name]
    #[arg(long, value_name = "NAME", requires = "etcd_local")]
    pub etcd_name: Option<String>,
    /// Bytes of all keys above which the data directory's store takes no more writes and raises an alarm; 0 is no
    /// limit [default: 2 GiB]
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["etcd_servers", "etcd_local"])]
    pub quota_backend_bytes: Option<u64>,
}

/// The same in the settings file, below `etcd`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreFile {
    #[serde(default)]
    external: Option<External>,
    #[serde(default)]
    local: Option<LocalFile>,
    prefix: Option<String>,
    compaction_interval: Option<String>,
    healthcheck_timeout: Option<String>,
    readycheck_timeout: Option<String>,
    quota_backend_bytes: Option<u64>,
}

/// A cluster that others run.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct External {
    endpoints: Vec<String>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// A member that this process runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LocalFile {
    name: Option<String>,
    initial_cluster: Option<String>,
}

/// Which cluster, and how to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// URLs of members.
    pub servers: Vec<String>,
    /// CA bundle.
    pub ca: Option<PathBuf>,
    /// Client certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// What keys start with.
    pub prefix: String,
    /// How often history is compacted; zero is never.
    pub compaction_interval: Duration,
    /// Limits for health checks: healthz and livez, readyz.
    pub check_timeouts: (Duration, Duration),
}

/// A member to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSettings {
    /// Its name, if not the machine's.
    pub name: Option<String>,
    /// The members that begin the cluster; `None` is only this one.
    pub initial_cluster: Option<String>,
}

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// In the data directory.
    Embedded {
        /// Bytes that the keys may take; `None` is the store's default.
        quota: Option<u64>,
    },
    /// In a cluster that others run.
    Etcd(EtcdSettings),
    /// In a cluster whose member here is ours.
    Local(LocalSettings, EtcdSettings),
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self::Embedded { quota: None }
    }
}

impl StoreSettings {
    /// Joins flags and file.
    ///
    /// # Errors
    /// Settings that contradict each other or cannot be read.
    pub fn resolve(options: StoreOptions, file: StoreFile) -> Result<Self> {
        let duration = |flag: Option<Duration>, text: Option<&str>, otherwise: u64| match (flag, text) {
            (Some(flag), _) => Ok(flag),
            (None, Some(text)) => parse_duration(text).map_err(anyhow::Error::msg),
            (None, None) => Ok(Duration::from_secs(otherwise)),
        };
        let external = file.external.filter(|_| !options.etcd_local);
        let from_file = |get: fn(&External) -> Option<PathBuf>| external.as_ref().and_then(get);
        let etcd = EtcdSettings {
            servers: match (options.etcd_servers.is_empty(), &external) {
                (true, Some(external)) => external.endpoints.clone(),
                _ => options.etcd_servers,
            },
            ca: options.etcd_cafile.or(from_file(|external| external.ca_file.clone())),
            certificate: options.etcd_certfile.or(from_file(|external| external.cert_file.clone())),
            key: options.etcd_keyfile.or(from_file(|external| external.key_file.clone())),
            prefix: options.etcd_prefix.or(file.prefix).unwrap_or_else(|| "/registry".to_owned()),
            compaction_interval: duration(
                options.etcd_compaction_interval,
                file.compaction_interval.as_deref(),
                300,
            )?,
            check_timeouts: (
                duration(options.etcd_healthcheck_timeout, file.healthcheck_timeout.as_deref(), 2)?,
                duration(options.etcd_readycheck_timeout, file.readycheck_timeout.as_deref(), 2)?,
            ),
        };
        if !etcd.prefix.starts_with('/') || etcd.prefix.len() < 2 {
            bail!("--etcd-prefix is {:?}; it must begin with a slash and have a name", etcd.prefix);
        }
        if etcd.certificate.is_some() != etcd.key.is_some() {
            bail!("--etcd-certfile and --etcd-keyfile belong together; give both");
        }
        if options.etcd_local || (file.local.is_some() && etcd.servers.is_empty()) {
            let local = file.local.unwrap_or_default();
            let local = LocalSettings {
                name: options.etcd_name.or(local.name),
                initial_cluster: options.etcd_initial_cluster.or(local.initial_cluster),
            };
            return Ok(Self::Local(local, etcd));
        }
        if etcd.servers.is_empty() {
            if etcd.ca.is_some() || etcd.certificate.is_some() {
                bail!("certificates for etcd are given, but no --etcd-servers");
            }
            let quota = options.quota_backend_bytes.or(file.quota_backend_bytes);
            return Ok(Self::Embedded { quota });
        }
        Ok(Self::Etcd(etcd))
    }

    /// Whether other API servers may be on the same store, so that controllers must elect a leader.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Embedded { .. })
    }

    /// Limits for health checks: healthz and livez, readyz.
    pub fn check_timeouts(&self) -> (Duration, Duration) {
        match self {
            Self::Embedded { .. } => (Duration::from_secs(2), Duration::from_secs(2)),
            Self::Etcd(etcd) | Self::Local(_, etcd) => etcd.check_timeouts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let text =
            "external: {endpoints: ['https://a:2379'], caFile: /ca}\nprefix: /x\ncompactionInterval: 1m30s\n";
        let file: StoreFile = serde_saphyr::from_str(text).unwrap();
        let StoreSettings::Etcd(etcd) =
            StoreSettings::resolve(StoreOptions::default(), file.clone()).unwrap()
        else {
            panic!("an etcd cluster is given")
        };
        assert_eq!((etcd.servers, etcd.prefix.as_str()), (vec!["https://a:2379".to_owned()], "/x"));
        assert_eq!((etcd.ca, etcd.compaction_interval), (Some("/ca".into()), Duration::from_secs(90)));
        let flags =
            StoreOptions { etcd_prefix: Some("/y".into()), etcd_local: true, ..StoreOptions::default() };
        let StoreSettings::Local(_, etcd) = StoreSettings::resolve(flags, file).unwrap() else {
            panic!("a local member is asked for")
        };
        assert_eq!((etcd.servers.len(), etcd.prefix.as_str()), (0, "/y"));
    }

    #[test]
    fn nothing_is_the_data_directory_and_nonsense_is_refused() {
        let resolve = |options| StoreSettings::resolve(options, StoreFile::default());
        assert_eq!(resolve(StoreOptions::default()).unwrap(), StoreSettings::default());
        let lonely = StoreOptions { etcd_cafile: Some("/ca".into()), ..StoreOptions::default() };
        assert!(resolve(lonely).unwrap_err().to_string().contains("--etcd-servers"));
        let prefix = StoreOptions { etcd_prefix: Some("x".into()), ..StoreOptions::default() };
        assert!(resolve(prefix).unwrap_err().to_string().contains("--etcd-prefix"));
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("0", 0), ("5m0s", 300), ("1m30s", 90), ("2h", 7200), ("60s", 60)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "5", "m", "5x", "1m2", "-1s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
