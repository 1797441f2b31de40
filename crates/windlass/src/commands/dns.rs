//! `windlass dns`: cluster DNS as a pod runs it.

use anyhow::Result;
use clap::Args;
use client::HttpTransport;
use component::Tasks;
use component::clock::SystemClock;
use dns::forward::Forwarder;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Flags of `windlass dns`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass dns                                         in a pod, with the pod's service account
  windlass dns --kubeconfig admin.kubeconfig --listen 127.0.0.1:5353")]
pub(crate) struct DnsOptions {
    /// Domain of the cluster
    #[arg(long, default_value = "cluster.local")]
    domain: String,
    /// Address for UDP and TCP
    #[arg(long, default_value = "0.0.0.0:53", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address for /health and /ready
    #[arg(long, default_value = "0.0.0.0:8181", value_name = "ADDRESS")]
    health: SocketAddr,
    /// Where the servers for other names stand
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    resolv_conf: PathBuf,
    /// How long to answer on after SIGTERM, while no longer ready
    #[arg(long, default_value = "5", value_name = "SECONDS")]
    lameduck: u64,
    /// Kubeconfig to use instead of the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Serves until it is told to stop.
pub(crate) fn run(options: &DnsOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = SystemClock::shared();
        let config = match &options.kubeconfig {
            Some(file) => client::Config::from_file(file)?,
            None => client::Config::in_cluster()?,
        };
        let transport = HttpTransport::new(config, clock.clone()).await?;
        let tasks = Tasks::new();
        let leave = Arc::new(Notify::new());
        let leaving = leave.clone();
        let mut terminate = signal(SignalKind::terminate())?;
        tasks.spawn_until_stopped("signals", async move {
            terminate.recv().await;
            leaving.notify_one();
        });
        let config = dns::Config {
            listen: options.listen,
            health: Some(options.health),
            domain: options.domain.clone(),
            // A pod without a resolv.conf can still answer for the cluster.
            forwarder: Forwarder::from_resolv_conf(&options.resolv_conf).unwrap_or_default(),
            leave,
            lameduck: Duration::from_secs(options.lameduck),
        };
        Ok(dns::run(config, transport.client(), clock, tasks).await?)
    })
}
