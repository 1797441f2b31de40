//! The flags of `up`, `down` and `status`, and the file that may stand in for them.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access::AccessOptions;
use crate::store::options::parse_duration;
use crate::store::{StoreFile, StoreOptions, StoreSettings};

/// Where a cluster lives unless the user says otherwise.
pub const DATA_DIR: &str = "/var/lib/windlass";

/// Flags of `windlass up`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  windlass up                                     start (or resume) a cluster of one node
  windlass up --apply examples/hello.yaml         ... deploy an application, print its URL
  windlass up --nodes 3 --isolated                three nodes in network namespaces of their own
  windlass up --data-dir /tmp/a --port 7443       a second cluster beside the first")]
pub struct UpOptions {
    /// Where the cluster keeps everything [default: /var/lib/windlass]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Manifest to apply and wait for once the cluster is ready; may be repeated
    #[arg(long, value_name = "FILE")]
    pub apply: Vec<PathBuf>,
    /// Number of nodes; more than one needs --isolated [default: 1]
    #[arg(long, value_name = "N")]
    pub nodes: Option<u32>,
    /// Keep the whole cluster in private network namespaces with no route out
    #[arg(long)]
    pub isolated: bool,
    /// Port of the API server on the loopback address and the node's address [default: 6443]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Where the data is.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Who may do what.
    #[command(flatten)]
    pub access: AccessOptions,
    /// File with settings (kind ClusterConfiguration, apiVersion windlass.io/v1alpha1); flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `windlass down`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  windlass down                 stop everything and remove what `up` made on this machine, keep the data
  windlass down --purge         ... and delete the data")]
pub struct DownOptions {
    /// The cluster's directory
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Delete the data too
    #[arg(long)]
    pub purge: bool,
}

/// Flags of `windlass status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  windlass status               say how the cluster is; exit 0 when everything is ready
  windlass status --wait 60s    ... but give it up to a minute")]
pub struct StatusOptions {
    /// The cluster's directory
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// How long to wait for everything to be ready (such as 30s or 2m)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

/// The settings file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    data_dir: Option<PathBuf>,
    #[serde(default)]
    apply: Vec<PathBuf>,
    nodes: Option<u32>,
    isolated: Option<bool>,
    port: Option<u16>,
    #[serde(default)]
    etcd: StoreFile,
}

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the cluster keeps everything; absolute.
    pub data_dir: PathBuf,
    /// Manifests to apply.
    pub apply: Vec<PathBuf>,
    /// Number of nodes.
    pub nodes: u32,
    /// Whether the cluster lives in its own network namespaces.
    pub isolated: bool,
    /// Port of the API server.
    pub port: u16,
    /// Where the data is.
    pub store: StoreSettings,
    /// Who may do what.
    pub access: AccessOptions,
}

/// More nodes than this on one machine are refused: each is a process with its own runtime and network.
const MAX_NODES: u32 = 50;

impl Settings {
    /// Joins flags and file.
    pub fn resolve(options: UpOptions) -> Result<Self> {
        let file = options.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let data_dir = options.data_dir.or(file.data_dir).unwrap_or_else(|| DATA_DIR.into());
        let settings = Self {
            data_dir: std::path::absolute(&data_dir)
                .with_context(|| format!("{} is no path", data_dir.display()))?,
            apply: if options.apply.is_empty() { file.apply } else { options.apply },
            nodes: options.nodes.or(file.nodes).unwrap_or(1),
            isolated: options.isolated || file.isolated.unwrap_or(false),
            port: options.port.or(file.port).unwrap_or(6443),
            store: StoreSettings::resolve(options.store, file.etcd)?,
            access: options.access,
        };
        if settings.nodes == 0 || settings.nodes > MAX_NODES {
            bail!("--nodes must be between 1 and {MAX_NODES}");
        }
        if settings.nodes > 1 && !settings.isolated {
            bail!("several nodes on one machine need network namespaces of their own; add --isolated");
        }
        Ok(settings)
    }
}

fn read_file(path: &Path) -> Result<File> {
    let file: File = serde_saphyr::from_str(&crate::files::read(path)?)
        .with_context(|| format!("{} is not a cluster configuration", path.display()))?;
    if file.api_version != "windlass.io/v1alpha1" || file.kind != "ClusterConfiguration" {
        bail!(
            "{} has apiVersion {:?} and kind {:?}; expected windlass.io/v1alpha1 and ClusterConfiguration",
            path.display(),
            file.api_version,
            file.kind
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("c.yaml");
        let text = "apiVersion: windlass.io/v1alpha1\nkind: ClusterConfiguration\nport: 7000\nnodes: 2\nisolated: true\n";
        std::fs::write(&config, text).unwrap();
        let options = UpOptions { config: Some(config.clone()), nodes: Some(3), ..UpOptions::default() };
        let settings = Settings::resolve(options).unwrap();
        assert_eq!((settings.port, settings.nodes, settings.isolated), (7000, 3, true));

        std::fs::write(&config, "apiVersion: windlass.io/v1alpha1\nkind: ClusterConfiguration\nprot: 1\n")
            .unwrap();
        let error =
            Settings::resolve(UpOptions { config: Some(config), ..UpOptions::default() }).unwrap_err();
        assert!(format!("{error:#}").contains("prot"), "{error:#}");
    }

    #[test]
    fn several_nodes_need_isolation() {
        let error = Settings::resolve(UpOptions { nodes: Some(2), ..UpOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("--isolated"), "{error}");
    }
}
