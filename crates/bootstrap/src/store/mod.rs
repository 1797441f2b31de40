//! Where a control plane keeps its data: the embedded engine, an etcd cluster, or an etcd member that it starts
//! itself.

mod local;
pub(crate) mod options;

pub use options::{EtcdSettings, LocalSettings, StoreFile, StoreOptions, StoreSettings};

use crate::files;
use crate::layout::Layout;
use anyhow::{Context, Result};
use component::{SharedClock, Tasks, tls};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::embedded::{Embedded, Options};
use store::etcd::{self, Etcd, Tls};
use store::prefixed::Prefixed;

/// How long the cluster may take to answer at the start, as upstream's API server waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// What keys start with inside the API server.
const PREFIX: &str = "/registry";

/// Certificates of an etcd client, as files, which may be renewed while the process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Certificates {
    ca: Option<PathBuf>,
    pair: Option<(PathBuf, PathBuf)>,
}

impl Certificates {
    fn load(&self) -> Result<rustls::ClientConfig, String> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("failed to read {}: {error}", path.display()))
        };
        let ca = self.ca.as_ref().ok_or("no CA bundle; give --etcd-cafile")?;
        let pair = match &self.pair {
            None => None,
            Some((certificate, key)) => {
                Some(tls::KeyPair { certificate: read(certificate)?, key: read(key)? })
            }
        };
        tls::client(&read(ca)?, pair.as_ref(), &["h2"]).map_err(|error| error.to_string())
    }

    /// Reads them for every connection; fails at once when they cannot be used.
    fn tls(self) -> Result<Option<Tls>> {
        if self.ca.is_none() {
            return Ok(None);
        }
        self.load().map_err(anyhow::Error::msg).context("failed to use the certificates for etcd")?;
        Ok(Some(Arc::new(move || self.load().map(Arc::new))))
    }
}

/// Opens the store that `settings` ask for; what it starts ends with `tasks`. `address` is this machine's in the
/// cluster.
pub(crate) async fn open(
    settings: &StoreSettings,
    layout: &Layout,
    address: IpAddr,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Result<Arc<dyn Store>> {
    match settings {
        StoreSettings::Embedded { quota } => {
            let dir = layout.store();
            files::make_dir(&dir)?;
            let mut options = Options::default();
            options.quota = quota.unwrap_or(options.quota);
            let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, options)).await?;
            let store = Arc::new(opened.context("failed to open the store")?);
            let socket = layout.store_socket();
            if let Err(error) = store::admin::serve(&socket, store.clone(), tasks).await {
                // A cluster works without; a path that is too long for a socket is the usual reason.
                tracing::warn!(%error, socket = %socket.display(), "'windlass store' works only on a stopped cluster");
            }
            Ok(store)
        }
        StoreSettings::Etcd(etcd) => {
            let pair = etcd.certificate.clone().zip(etcd.key.clone());
            connect(etcd, &etcd.servers, Certificates { ca: etcd.ca.clone(), pair }, tasks).await
        }
        StoreSettings::Local(local, etcd) => {
            let member = local::start(local, layout, address, clock.clone(), tasks).await?;
            connect(etcd, &[member.url], member.certificates, tasks).await
        }
    }
}

async fn connect(
    settings: &EtcdSettings,
    servers: &[String],
    certificates: Certificates,
    tasks: &Tasks,
) -> Result<Arc<dyn Store>> {
    let mut options = etcd::Options::new(servers);
    options.tls = certificates.tls()?;
    let connecting = Etcd::connect(options, PATIENCE);
    let connected = tasks.stopping().run_until_cancelled(connecting).await;
    let store: Arc<dyn Store> = Arc::new(
        connected.context("stopped before etcd has answered")?.context("failed to open the store on etcd")?,
    );
    let compacting = etcd::compactor::run(store.clone(), settings.compaction_interval);
    tasks.spawn_until_stopped("etcd compaction", compacting);
    let prefix = settings.prefix.trim_end_matches('/');
    if prefix == PREFIX {
        return Ok(store);
    }
    Ok(Arc::new(Prefixed::new(store, PREFIX, prefix)))
}
