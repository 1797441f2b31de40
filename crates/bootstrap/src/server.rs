//! `windlass server`: a control plane without a node. Several on one etcd cluster serve one Kubernetes.
//!
//! All of them need the same authorities and the same key for service accounts: `ca.*`, `front-proxy-ca.*` and `sa.*`
//! in `pki` below their data directories.

use crate::access::AccessOptions;
use crate::control_plane::{ControlPlane, Identity};
use crate::layout::{Layout, Lock};
use crate::options::DATA_DIR;
use crate::progress::{Progress, seconds};
use crate::store::{StoreFile, StoreOptions, StoreSettings};
use crate::{files, network, preflight};
use anyhow::{Context, Result};
use clap::Args;
use component::Tasks;
use component::clock::SystemClock;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long parts may take to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Flags of `windlass server`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  windlass server                                          a control plane on its own store
  windlass server --etcd-servers https://10.0.0.1:2379 --etcd-cafile ca.crt --etcd-certfile c.crt --etcd-keyfile c.key
  windlass server --etcd-local --etcd-initial-cluster a=https://10.0.0.1:2380,b=https://10.0.0.2:2380")]
pub struct ServerOptions {
    /// Where the control plane keeps its certificates, and its data unless that is in etcd
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Address to hand to the members of the cluster [default: this machine's]
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<Ipv4Addr>,
    /// Port of the API server on the loopback address and the advertised one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,
    /// Where the data is.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Who may do what.
    #[command(flatten)]
    pub access: AccessOptions,
}

/// Runs the command; returns when it was told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(options: ServerOptions) -> Result<()> {
    let settings = StoreSettings::resolve(options.store.clone(), StoreFile::default())?;
    let layout = Layout::new(&options.data_dir);
    files::make_dir(layout.root())?;
    let _lock = Lock::take(&layout.lock_file())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start threads")?;
    let outcome = runtime.block_on(serve(&options, &settings, &layout));
    runtime.shutdown_timeout(FAREWELL);
    outcome
}

async fn serve(options: &ServerOptions, settings: &StoreSettings, layout: &Layout) -> Result<()> {
    let tasks = Tasks::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        started = start(options, settings, layout, &tasks) => match started {
            Ok(_control) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if !tasks.stop_and_wait(FAREWELL).await {
        tracing::warn!("some parts did not end in time");
    }
    outcome
}

async fn start(
    options: &ServerOptions,
    settings: &StoreSettings,
    layout: &Layout,
    tasks: &Tasks,
) -> Result<ControlPlane> {
    let progress = Progress::new();
    let address = match options.advertise_address {
        Some(address) => address,
        None => network::node_address().await?,
    };
    let mut listeners = vec![preflight::bind(Ipv4Addr::LOCALHOST, options.secure_port)?];
    if !address.is_loopback() {
        listeners.push(preflight::bind(address, options.secure_port)?);
    }
    let advertise = SocketAddr::from((address, options.secure_port));
    let identity = Identity::open(layout, advertise)?;
    let clock = SystemClock::shared();
    let control = ControlPlane::start(
        layout,
        (settings, &options.access),
        &identity,
        (advertise, listeners),
        clock,
        tasks,
        &progress,
    )
    .await?;
    control.start_controllers(layout, &identity);
    control.start_scheduler();
    progress.say(&format!(
        "\nThe control plane is ready after {}.\n\n  kubeconfig  {}\n",
        seconds(progress.elapsed()),
        layout.admin_kubeconfig().display()
    ));
    Ok(control)
}
