//! Further nodes of an isolated cluster: a process each, in a network namespace each.
//!
//! An agent ends when its standard input does, so it cannot outlive the `up` that started it, whatever kills
//! that one. Its pods stay.

use crate::control_plane::Identity;
use crate::files;
use crate::kubeconfig;
use crate::layout::{Layout, Lock};
use crate::node::{self, Clients, Credentials, NodeSettings};
use crate::pki::Subject;
use crate::topology::Place;
use anyhow::{Context, Result};
use clap::Args;
use client::HttpTransport;
use component::clock::SystemClock;
use component::tls::KeyPair;
use component::{SharedClock, Tasks};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Flags of `windlass agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentOptions {
    /// The cluster's directory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Name of the node
    #[arg(long)]
    pub node: String,
    /// Address of the node
    #[arg(long)]
    pub address: Ipv4Addr,
    /// Network namespace to enter
    #[arg(long)]
    pub netns: PathBuf,
}

/// The agents of a cluster; they end when this is dropped.
pub struct Agents {
    _children: Vec<Child>,
}

/// Starts an agent for each place.
pub fn spawn_all(
    layout: &Layout,
    identity: &Identity,
    server: SocketAddr,
    places: &[Place],
) -> Result<Agents> {
    let executable = std::env::current_exe().context("failed to find this program's own file")?;
    let mut children = Vec::new();
    for place in places {
        write_identity(layout, identity, server, place)?;
        let mut command = Command::new(&executable);
        command.arg("agent").arg("--data-dir").arg(layout.root()).args(["--node", &place.name]);
        command.arg("--address").arg(place.address.to_string()).arg("--netns").arg(&place.namespace);
        let child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn();
        children.push(child.with_context(|| format!("failed to start the agent of {}", place.name))?);
    }
    Ok(Agents { _children: children })
}

fn write_identity(layout: &Layout, identity: &Identity, server: SocketAddr, place: &Place) -> Result<()> {
    let node = layout.node(&place.name);
    let ca = identity.ca.certificate().as_bytes();
    let user = format!("system:node:{}", place.name);
    let url = format!("https://{server}");
    let write = |path: PathBuf, user: &str, pair: &KeyPair| -> Result<()> {
        let config: Value = kubeconfig::build(&url, ca, user, pair);
        kubeconfig::write(&path, &config)
    };
    write(node.kubeconfig(), &user, &identity.ca.sign(&Subject::client(&user, Some("system:nodes")))?)?;
    let proxy = "system:kube-proxy";
    let pair = identity.ca.sign(&Subject::client(proxy, Some("system:node-proxier")))?;
    write(node.root().join("kube-proxy.kubeconfig"), proxy, &pair)?;
    let serving = identity.ca.sign(&node::serving_subject(&place.name, place.address))?;
    files::write_private(&node.root().join("kubelet.key"), &serving.key)?;
    files::write_public(&node.root().join("kubelet.crt"), &serving.certificate)?;
    files::write_public(&node.root().join("ca.crt"), ca)
}

/// Runs an agent. Must be called before any other thread exists: it moves into the node's namespace.
pub fn run(options: AgentOptions) -> Result<()> {
    let layout = Layout::new(&options.data_dir);
    let node = NodeSettings::new(&options.node, options.address, layout.node(&options.node));
    // The agent of an `up` that was just killed may still be ending.
    let _lock = Lock::wait(&node.layout.lock_file())?;
    linux::namespace::join(linux::namespace::open(&options.netns)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start threads")?;
    let outcome = runtime.block_on(serve(node));
    runtime.shutdown_timeout(Duration::from_secs(10));
    outcome
}

async fn serve(node: NodeSettings) -> Result<()> {
    let clock = SystemClock::shared();
    let tasks = Tasks::new();
    let root = node.layout.root().to_owned();
    let credentials = Credentials {
        ca: files::read(&root.join("ca.crt"))?.into_bytes(),
        serving: KeyPair {
            certificate: files::read(&root.join("kubelet.crt"))?.into_bytes(),
            key: files::read(&root.join("kubelet.key"))?.into_bytes(),
        },
    };
    let kubelet = connect(&node.layout.kubeconfig(), &clock).await?;
    let proxy = connect(&root.join("kube-proxy.kubeconfig"), &clock).await?;
    let clients = Clients { kubelet, proxy };
    node::start(node.clone(), credentials, clients, clock, &tasks).await?;
    tracing::info!(node = node.name, "the node runs");
    // Ends when `up` ends, however that happens.
    let end = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    end.await?.context("failed to follow the process that started this one")?;
    tracing::info!(node = node.name, "the process that started this agent ended; pods keep running");
    tasks.stop_and_wait(Duration::from_secs(5)).await;
    Ok(())
}

async fn connect(kubeconfig: &Path, clock: &SharedClock) -> Result<client::Client> {
    let config = client::Config::from_file(kubeconfig)?;
    let transport = HttpTransport::new(config, clock.clone()).await?;
    Ok(transport.client())
}
