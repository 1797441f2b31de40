//! Where the store is: in a running cluster, or in a directory that nobody uses.

use super::progress;
use anyhow::{Context, Result, anyhow, bail};
use bootstrap::layout::Layout;
use bootstrap::options::DATA_DIR;
use clap::Args;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use store::StoreError;
use store::admin::client::{self, Client};
use store::embedded::{Embedded, Options, is_store};
use tonic::{Response, Status};

/// The flag that all verbs have.
#[derive(Args)]
pub(super) struct Place {
    /// The cluster's directory
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    pub(super) data_dir: PathBuf,
}

/// A store that answers.
pub(super) struct Door {
    pub(super) client: Client,
    /// Whether a running cluster has it.
    pub(super) is_online: bool,
}

impl Place {
    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.data_dir)
    }

    /// The running cluster's store, if one answers.
    pub(super) async fn running(&self) -> Option<Client> {
        client::connect(&self.layout().store_socket()).await.ok()
    }

    /// The directory of the store, which must be there.
    pub(super) fn directory(&self) -> Result<PathBuf> {
        let dir = self.layout().store();
        if !is_store(&dir) {
            bail!(
                "{} holds no store; start a cluster with 'windlass up', or name its directory with --data-dir \
                 (a cluster whose data is in etcd is kept with etcdctl)",
                dir.display()
            );
        }
        Ok(dir)
    }

    /// The store, of the running cluster or opened here.
    pub(super) async fn open(&self) -> Result<Door> {
        if let Some(client) = self.running().await {
            return Ok(Door { client, is_online: true });
        }
        let dir = self.directory()?;
        let opening = tokio::task::spawn_blocking(move || Embedded::open(&dir, Options::default()));
        let opened = progress::spin("opening the store", opening).await?;
        let store = opened.map_err(|error| self.explain(error))?;
        Ok(Door { client: client::open(Arc::new(store)), is_online: false })
    }

    /// Says what to do where the store's own words do not.
    pub(super) fn explain(&self, error: StoreError) -> anyhow::Error {
        match error {
            StoreError::Locked(dir) => anyhow!(
                "{dir} is in use, but nobody answers at {}; wait if a cluster is just starting, or stop the process \
                 that uses it and try again",
                self.layout().store_socket().display()
            ),
            other => other.into(),
        }
    }
}

/// Waits for an answer, with a sign of life when it takes longer.
pub(super) async fn answer<T>(
    what: &str,
    asked: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T> {
    progress::spin(what, asked).await.map(Response::into_inner).map_err(|status| words(&status))
}

/// The store's words, without gRPC's around them.
pub(super) fn words(status: &Status) -> anyhow::Error {
    let text = status.message();
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Cancelled => {
            anyhow!("the cluster went away meanwhile ({text}); run the command again")
        }
        _ => anyhow!("{text}"),
    }
}

/// A writable new file beside which nothing is there yet.
pub(super) fn new_file(path: &std::path::Path) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(|| {
        format!("failed to create {}; name a new file in a directory that exists", path.display())
    })
}
