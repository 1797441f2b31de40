//! One node in this process: container runtime, pod network, service proxy, kubelet.

use crate::files;
use crate::layout::NodeLayout;
use crate::network::{CLUSTER_DOMAIN, DNS_IP, POD_CIDR};
use crate::pki::Subject;
use crate::pod_network;
use anyhow::{Context, Result};
use client::Client;
use component::tls::KeyPair;
use component::{SharedClock, Tasks};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The port of kubelets.
const KUBELET_PORT: u16 = 10250;
/// CNI plugins that the binary is when called so.
const PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The image that is this very program.
pub(crate) fn own_image() -> String {
    format!("windlass.local/windlass:{VERSION}")
}

/// The cgroup below which all pods of a node are: of its own, so that several nodes of one machine keep apart. Every
/// version must find it again, however the path is written.
pub(crate) fn cgroup_root(layout: &NodeLayout) -> String {
    let root = std::fs::canonicalize(layout.root()).unwrap_or_else(|_| layout.root().to_owned());
    let digest = Sha256::digest(root.as_os_str().as_bytes());
    let name: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("/windlass-{name}")
}

/// Who a node is.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its directory.
    pub layout: NodeLayout,
}

impl NodeSettings {
    /// A node from its parts.
    pub(crate) fn new(name: &str, address: Ipv4Addr, layout: NodeLayout) -> Self {
        Self { name: name.to_owned(), address, layout }
    }
}

/// What a node proves itself with to others.
pub(crate) struct Credentials {
    /// The cluster's authority.
    pub ca: Vec<u8>,
    /// The certificate of the kubelet's server.
    pub serving: KeyPair,
}

/// The API under the identities of a node's parts.
pub(crate) struct Clients {
    /// `system:node:<name>`.
    pub kubelet: Client,
    /// `system:kube-proxy`; for the pod network too, because a kubelet may see no other Node than its own.
    pub proxy: Client,
}

/// Whom the certificate of a kubelet's server names.
pub(crate) fn serving_subject(name: &str, address: Ipv4Addr) -> Subject {
    let mut subject =
        Subject::server(&format!("system:node:{name}"), &[name.to_owned(), address.to_string()]);
    subject.organization = Some("system:nodes".to_owned());
    subject
}

/// Starts a node; returns once its kubelet serves. It ends with `tasks`; its containers do not.
pub(crate) async fn start(
    node: NodeSettings,
    credentials: Credentials,
    clients: Clients,
    clock: SharedClock,
    tasks: &Tasks,
) -> Result<()> {
    let executable = std::env::current_exe().context("failed to find this program's own file")?;
    prepare(&node.layout, &executable)?;
    let runtime = runtime::Config {
        root: node.layout.runtime(),
        state: node.layout.sandboxes(),
        socket: node.layout.cri_socket(),
        cni_conf_dir: node.layout.cni_conf(),
        cni_bin_dirs: vec![node.layout.cni_bin()],
        shim_command: vec![executable.into_os_string(), "shim".into()],
        registry_dirs: node.layout.registry_dirs(),
        version: VERSION.to_owned(),
    };
    let runtime =
        runtime::serve(runtime, clock.clone(), tasks.clone()).await.context("failed to start the runtime")?;
    let images = runtime.clone();
    let imported = tokio::task::spawn_blocking(move || images.images().import_self(VERSION)).await?;
    imported.context("failed to import this program as an image")?;
    pod_network::start(&node, clients.proxy.clone(), clock.clone(), tasks);
    let proxy = proxy::Config { node_name: node.name.clone(), address: node.address, pod_cidr: POD_CIDR };
    tasks.spawn("service proxy", proxy::run(proxy, clients.proxy, clock.clone(), tasks.clone(), || ()));
    let address = IpAddr::V4(node.address);
    let socket = node.layout.cri_socket();
    let config = kubelet::Config {
        cluster_dns: vec![DNS_IP.to_string()],
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        tls: Some(credentials.serving),
        client_ca: Some(credentials.ca),
        listen: kubelet::Listen::Address(SocketAddr::new(address, KUBELET_PORT)),
        port: KUBELET_PORT,
        static_pod_path: Some(node.layout.manifests()),
        cgroup_root: cgroup_root(&node.layout),
        ..kubelet::Config::new(&node.name, vec![address], node.layout.kubelet(), &socket.to_string_lossy())
    };
    kubelet::run(config, clients.kubelet, clock, tasks.clone())
        .await
        .context("failed to start the kubelet")?;
    Ok(())
}

/// Directories, and the CNI plugins as links to this program.
fn prepare(layout: &NodeLayout, executable: &Path) -> Result<()> {
    let dirs: [PathBuf; 7] = [
        layout.runtime(),
        layout.kubelet(),
        layout.manifests(),
        layout.cni_conf(),
        layout.cni_bin(),
        layout.cni_state(),
        layout.local_path(),
    ];
    dirs.iter().try_for_each(|dir| files::make_dir(dir))?;
    for plugin in PLUGINS {
        let link = layout.cni_bin().join(plugin);
        if std::fs::read_link(&link).is_ok_and(|target| target == executable) {
            continue;
        }
        let _ = std::fs::remove_file(&link);
        symlink(executable, &link).with_context(|| format!("failed to make {}", link.display()))?;
    }
    Ok(())
}
