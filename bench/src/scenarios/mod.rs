//! The scenarios, one file each.

pub(crate) mod api;
mod crowd;
pub(crate) mod etcd;
pub(crate) mod idle;
pub(crate) mod memory;
pub(crate) mod pod_start;
pub(crate) mod startup;
pub(crate) mod store;

use anyhow::{Context, Result};
use client::{HttpTransport, Kubeconfig};
use component::clock::SystemClock;
use std::path::Path;

/// A connection by kubeconfig.
pub(crate) async fn connect(kubeconfig: Option<&Path>) -> Result<HttpTransport> {
    let kubeconfig =
        Kubeconfig::load(kubeconfig).context("failed to read the kubeconfig; name one with --kubeconfig")?;
    let config = kubeconfig.config(None)?;
    Ok(HttpTransport::new(config, SystemClock::shared()).await?)
}
