//! The JSON of images: manifests, indexes and configurations, as the OCI image specification and Docker's older
//! schema 2 have them. Only the parts that a runtime uses.

use super::ImageError;
use super::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The largest manifest, index or configuration accepted, in bytes.
pub(super) const MAX_JSON: u64 = 4 << 20;

/// The most layers accepted; the kernel's option string has no room for more.
pub(super) const MAX_LAYERS: usize = 127;

/// What a manifest or an index says of some content.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
}

/// A manifest (with layers) or an index (with manifests).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| ImageError::broken("the manifest", error))?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ImageError::broken("the manifest", format!("it has more than {MAX_LAYERS} layers")));
        }
        Ok(manifest)
    }

    /// Of an index, the entry for this machine.
    pub(super) fn here(&self) -> Result<&Descriptor, ImageError> {
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let fits = |entry: &&Descriptor| {
            entry.platform.as_ref().is_some_and(|on| on.os == "linux" && on.architecture == arch)
        };
        let unsaid = |entry: &&Descriptor| {
            entry.platform.as_ref().is_none_or(|on| on.os.is_empty() && on.architecture.is_empty())
        };
        let found = self.manifests.iter().find(fits).or_else(|| self.manifests.iter().find(unsaid));
        found.ok_or_else(|| {
            ImageError::broken("the image index", format!("no match for platform linux/{arch} in manifest"))
        })
    }
}

/// An image's configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ImageConfig {
    /// For whom it was built.
    #[serde(default)]
    pub architecture: String,
    /// For which system.
    #[serde(default)]
    pub os: String,
    /// How to run it.
    #[serde(default)]
    pub config: Option<ProcessConfig>,
    /// What it consists of.
    #[serde(default)]
    pub rootfs: RootfsConfig,
}

/// Digests of an image's layers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RootfsConfig {
    /// Always `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// How to run an image, unless told otherwise.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessConfig {
    /// `user`, `uid`, and either with `:group`.
    #[serde(default, deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// What always runs.
    #[serde(default, deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Its arguments, or the program when there is no entry point.
    #[serde(default, deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where it runs.
    #[serde(default, deserialize_with = "or_default")]
    pub working_dir: String,
    /// What it is stopped with, such as `SIGQUIT` or `3`.
    #[serde(default, deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Paths that hold data.
    #[serde(default, deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// Free-form.
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let config: Self =
            serde_json::from_slice(bytes).map_err(|error| ImageError::broken("the configuration", error))?;
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(ImageError::broken(
                "the configuration",
                format!("it has more than {MAX_LAYERS} layers"),
            ));
        }
        Ok(config)
    }

    /// How to run it.
    pub fn process(&self) -> ProcessConfig {
        self.config.clone().unwrap_or_default()
    }
}

// Builders write null for absent.
fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}
