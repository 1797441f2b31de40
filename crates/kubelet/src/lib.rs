//! The node agent: runs the pods bound to its node on any CRI v1 runtime and tells the API how they do.
//!
//! It speaks only the Kubernetes API (through [`client`]) and CRI (through [`cri`]). Start with [`run`]. The pure
//! parts decide (`pod/actions.rs`, `status/`, `container/`); workers, one per pod, carry out.
//!
//! Deliberately absent: images, sandboxes and networks, which are the runtime's; scheduling; Services.

pub mod config;
mod container;
mod eviction;
pub mod file;
mod images;
mod kubelet;
mod model;
mod node;
mod pod;
mod probes;
mod quantity;
mod references;
mod rotate;
mod runtime;
mod server;
mod spec;
mod statics;
mod status;
#[cfg(test)]
mod tests;
mod volumes;

pub use config::{Config, Eviction, Listen};

use crate::kubelet::Kubelet;
use api::k8s_openapi::api::core::v1::Service;
use client::{Client, EventRecorder, Informer, Selection};
use component::{SharedClock, Tasks};
use std::sync::Arc;
use std::time::Duration;

/// Why a kubelet could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime does not answer.
    #[error(transparent)]
    Connect(#[from] cri::ConnectError),
    /// The runtime answers, but not as it should.
    #[error(
        "failed to ask the container runtime at {endpoint} for its version: {why}; check that it serves CRI v1"
    )]
    Runtime {
        /// Its socket.
        endpoint: String,
        /// What it said.
        why: String,
    },
    /// A directory of the kubelet cannot be made.
    #[error("failed to make {path}: {why}; check permissions and free space")]
    Directory {
        /// Which.
        path: String,
        /// Why not.
        why: std::io::Error,
    },
    /// The control groups cannot be made.
    #[error("failed to prepare control groups: {0}; check that cgroups are mounted and writable")]
    Cgroups(String),
    /// The HTTPS server cannot start.
    #[error("failed to start the kubelet's server: {0}")]
    Server(String),
}

/// A running kubelet.
#[derive(Debug)]
pub struct Running {
    /// Port of its HTTPS server, 0 without one.
    pub port: u16,
}

async fn prepare_directories(config: &Config) -> Result<(), Error> {
    for dir in [config.root_dir.join("pods"), config.pod_logs_dir.clone()] {
        tokio::fs::create_dir_all(&dir)
            .await
            .map_err(|why| Error::Directory { path: dir.display().to_string(), why })?;
    }
    Ok(())
}

async fn assemble(
    config: Config,
    client: Client,
    clock: SharedClock,
    tasks: &Tasks,
) -> Result<Arc<Kubelet>, Error> {
    let path = cri::endpoint_path(&config.runtime_endpoint)?;
    let clients = cri::Clients::connect(&path).await?;
    let runtime = runtime::Runtime::new(clients).await.map_err(|error| Error::Runtime {
        endpoint: config.runtime_endpoint.clone(),
        why: error.to_string(),
    })?;
    let machine = node::machine::Machine::read(&config.root_dir, &config.resolv_conf);
    let recorder = EventRecorder::new(&client, "kubelet", &config.node_name, clock.clone(), tasks);
    let workers = Arc::new(pod::workers::Workers::new());
    let woken = workers.clone();
    let wake: references::Wake = Arc::new(move |uid| woken.wake(uid));
    Ok(Arc::new(Kubelet {
        status: status::manager::StatusManager::new(&client, &clock, tasks),
        references: references::References::new(&client, &clock, tasks, &wake),
        services: Informer::<Service>::start(&client, &Selection::default(), clock.clone(), tasks),
        crashes: pod::backoff::Backoff::new(Duration::from_secs(10), config.max_container_restart_period),
        node: node::State::new(),
        probes: probes::Probes::default(),
        images: images::Images::new(),
        volumes: volumes::Volumes::default(),
        tokens: volumes::token::Tokens::default(),
        statics: statics::Statics::default(),
        config,
        client,
        clock,
        tasks: tasks.clone(),
        runtime,
        recorder,
        machine,
        workers,
    }))
}

/// Starts a kubelet under `tasks` and returns once it works: connected to its runtime and serving. It registers
/// the node and runs pods until `tasks` stop; containers outlive it. `client` acts as
/// `system:node:<name>` in group `system:nodes`.
pub async fn run(config: Config, client: Client, clock: SharedClock, tasks: Tasks) -> Result<Running, Error> {
    prepare_directories(&config).await?;
    let mut config = config;
    let listen = std::mem::replace(&mut config.listen, Listen::Nowhere);
    let told_port = config.port;
    let kubelet = assemble(config, client, clock, &tasks).await?;
    pod::cgroups::prepare(&kubelet).await.map_err(Error::Cgroups)?;
    let port = server::start(&kubelet, listen).await?;
    let told_port = if told_port == 0 { port } else { told_port };
    tasks.spawn_until_stopped("node status", node::register::run(kubelet.clone(), told_port));
    tasks.spawn_until_stopped("node lease", node::lease::run(kubelet.clone()));
    tasks.spawn_until_stopped("pod events", pod::pleg::run(kubelet.clone()));
    tasks.spawn_until_stopped("pod source", pod::source::run(kubelet.clone()));
    tasks.spawn_until_stopped("eviction", eviction::run(kubelet.clone()));
    tasks.spawn_until_stopped("image collection", images::gc::run(kubelet.clone()));
    tasks.spawn_until_stopped("log rotation", rotate::run(kubelet.clone()));
    Ok(Running { port })
}
