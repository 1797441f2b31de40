//! What a kubelet is told: identity, places, limits. Plain values; `file.rs` reads KubeletConfiguration.

use component::tls::KeyPair;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

/// Where the kubelet's HTTPS server listens.
#[derive(Debug)]
pub enum Listen {
    /// Bind this address.
    Address(SocketAddr),
    /// Use this bound socket.
    Socket(TcpListener),
    /// Serve nothing: no logs, no exec, no statistics.
    Nowhere,
}

/// A kubelet's configuration. Field names follow KubeletConfiguration where it has them.
#[derive(Debug)]
pub struct Config {
    /// Name of the node object.
    pub node_name: String,
    /// Addresses of the node, primary first.
    pub node_ips: Vec<IpAddr>,
    /// Labels to register the node with, besides the well-known ones.
    pub node_labels: Vec<(String, String)>,
    /// Taints to register the node with, as `key=value:Effect`.
    pub register_with_taints: Vec<String>,
    /// State of pods: volumes, hosts files. Logs go to `pod_logs_dir`.
    pub root_dir: PathBuf,
    /// Container logs, `<ns>_<name>_<uid>/<container>/<n>.log`.
    pub pod_logs_dir: PathBuf,
    /// CRI socket, as `unix:///path` or `/path`.
    pub runtime_endpoint: String,
    /// Servers that pods of policy `ClusterFirst` ask.
    pub cluster_dns: Vec<String>,
    /// Domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// The node's `resolv.conf`; an empty path means none.
    pub resolv_conf: PathBuf,
    /// Directory with manifests of static pods.
    pub static_pod_path: Option<PathBuf>,
    /// Limit of pods on the node.
    pub max_pods: u32,
    /// Certificate of the HTTPS server; required unless it serves nowhere.
    pub tls: Option<KeyPair>,
    /// PEM bundle that client certificates of the HTTPS server must chain to.
    pub client_ca: Option<Vec<u8>>,
    /// Where the HTTPS server listens.
    pub listen: Listen,
    /// Port told in the node's status (0: the listener's).
    pub port: u16,
    /// Whether requests without credentials may ask (as `system:anonymous`).
    pub anonymous_auth: bool,
    /// Time between looks at the node; changes are told at once.
    pub node_status_update_frequency: Duration,
    /// Longest time without writing the node's status.
    pub node_status_report_frequency: Duration,
    /// Life of the node's lease, seconds.
    pub node_lease_duration_seconds: i32,
    /// Longest back-off of a crashing container.
    pub max_container_restart_period: Duration,
    /// Parent of the pods' cgroups, usually empty.
    pub cgroup_root: String,
    /// Whether to make cgroups per QoS class and pod.
    pub cgroups_per_qos: bool,
    /// Whether pods that name no seccomp profile get the runtime's default one.
    pub seccomp_default: bool,
    /// CPU, in thousandths, kept from pods.
    pub reserved_milli_cpu: i64,
    /// Memory, in bytes, kept from pods.
    pub reserved_memory: i64,
    /// Thresholds below which pods are evicted.
    pub eviction: Eviction,
    /// Disk usage, percent, above which unused images are removed.
    pub image_gc_high_threshold_percent: u8,
    /// Disk usage, percent, at which removing images stops.
    pub image_gc_low_threshold_percent: u8,
    /// Bytes after which a container's log is rotated.
    pub container_log_max_size: u64,
    /// Log files kept per container.
    pub container_log_max_files: u32,
}

/// Hard eviction thresholds; upstream's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eviction {
    /// Bytes of memory that must stay available.
    pub memory_available: u64,
    /// Share of the node's file system that must stay free, 0 to 1.
    pub nodefs_available: f64,
    /// Share of the node's inodes that must stay free, 0 to 1.
    pub nodefs_inodes_free: f64,
    /// Share of the process ids that must stay free, 0 to 1.
    pub pid_available: f64,
}

impl Default for Eviction {
    fn default() -> Self {
        Self {
            memory_available: 100 << 20,
            nodefs_available: 0.10,
            nodefs_inodes_free: 0.05,
            pid_available: 0.0,
        }
    }
}

impl Config {
    /// A configuration with upstream's defaults for the node `node_name` with state in `root_dir`.
    pub fn new(node_name: &str, node_ips: Vec<IpAddr>, root_dir: PathBuf, runtime_endpoint: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            node_ips,
            node_labels: Vec::new(),
            register_with_taints: Vec::new(),
            pod_logs_dir: root_dir.join("logs"),
            root_dir,
            runtime_endpoint: runtime_endpoint.to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            static_pod_path: None,
            max_pods: 110,
            tls: None,
            client_ca: None,
            listen: Listen::Nowhere,
            port: 0,
            anonymous_auth: false,
            node_status_update_frequency: Duration::from_secs(10),
            node_status_report_frequency: Duration::from_secs(300),
            node_lease_duration_seconds: 40,
            max_container_restart_period: Duration::from_secs(300),
            cgroup_root: String::new(),
            cgroups_per_qos: true,
            seccomp_default: true,
            reserved_milli_cpu: 0,
            reserved_memory: 0,
            eviction: Eviction::default(),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            container_log_max_size: 10 << 20,
            container_log_max_files: 5,
        }
    }

    /// Directory of one pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// Directory of one pod's logs.
    pub(crate) fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_logs_dir.join(format!("{namespace}_{name}_{uid}"))
    }

    /// The node's addresses as text.
    pub(crate) fn host_ips(&self) -> Vec<String> {
        self.node_ips.iter().map(ToString::to_string).collect()
    }
}
