//! [`Config`]: the settings of the controller manager, named as upstream's flags are.

use component::tls::KeyPair;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings that cannot be used; the message says which and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// Settings of the controller manager.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which controllers run: `*` is all that are on by default, `name` turns one on, `-name` off (`--controllers`).
    pub controllers: Vec<String>,
    /// Bundle that pods verify the API server with (`--root-ca-file`). Empty publishes none.
    pub root_ca: Vec<u8>,
    /// What signs certificates of nodes and users (`--cluster-signing-*`). `None` signs none.
    pub signer: Option<KeyPair>,
    /// Range that nodes get pod ranges from, with its prefix length (`--cluster-cidr`).
    pub cluster_cidr: (Ipv4Addr, u8),
    /// Prefix length of a node's range (`--node-cidr-mask-size`).
    pub node_cidr_mask_size: u8,
    /// Whether nodes get pod ranges at all (`--allocate-node-cidrs`).
    pub allocate_node_cidrs: bool,
    /// How long a node may be silent before it is unknown (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: Duration,
    /// How often silent nodes are looked for (`--node-monitor-period`).
    pub node_monitor_period: Duration,
    /// Finished pods beyond this many are deleted (`--terminated-pod-gc-threshold`).
    pub terminated_pod_gc_threshold: usize,
    /// Where on nodes the local-path provisioner makes volumes.
    pub local_path_root: PathBuf,
    /// Image whose `local-path` command makes and removes those volumes.
    pub local_path_image: String,
    /// Who this instance is among several (`--leader-elect`); `None` runs without a lease.
    pub leader_identity: Option<String>,
}

impl Default for Config {
    /// Upstream's defaults, and Windlass' own networks.
    fn default() -> Self {
        Self {
            controllers: vec!["*".to_owned()],
            root_ca: Vec::new(),
            signer: None,
            cluster_cidr: (Ipv4Addr::new(10, 244, 0, 0), 16),
            node_cidr_mask_size: 24,
            allocate_node_cidrs: true,
            node_monitor_grace_period: Duration::from_secs(40),
            node_monitor_period: Duration::from_secs(5),
            terminated_pod_gc_threshold: 12500,
            local_path_root: PathBuf::from("/var/lib/windlass/local-path"),
            local_path_image: format!("windlass.local/windlass:{}", env!("CARGO_PKG_VERSION")),
            leader_identity: None,
        }
    }
}

impl Config {
    /// Whether the controller `name` runs.
    pub fn enables(&self, name: &str, by_default: bool) -> bool {
        let said = |word: String| self.controllers.contains(&word);
        said(name.to_owned()) || (by_default && said("*".to_owned()) && !said(format!("-{name}")))
    }

    /// Reports settings that contradict each other.
    pub fn check(&self) -> Result<(), Error> {
        let (_, prefix) = self.cluster_cidr;
        if self.allocate_node_cidrs && !(prefix..=30).contains(&self.node_cidr_mask_size) {
            return Err(Error(format!(
                "failed to use node-cidr-mask-size {}: it must be between the prefix length of cluster-cidr, {prefix}, and 30",
                self.node_cidr_mask_size
            )));
        }
        for name in &self.controllers {
            let known = crate::TABLE.iter().any(|row| row.name == name.trim_start_matches('-'));
            if name != "*" && !known {
                return Err(Error(format!("\"{name}\" is not in the list of known controllers")));
            }
        }
        Ok(())
    }
}
