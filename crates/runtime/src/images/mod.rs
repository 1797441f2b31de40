//! Images: content-addressed blobs, unpacked layers, and the names by which images are known.
//!
//! A layer is unpacked once, under a name made of the digest of its content, and shared by every image and container
//! that has it. Nothing becomes visible before it is complete and on disk. Deliberately absent: pushing, building.

mod archive;
mod digest;
mod headers;
mod hosts;
mod metadata;
mod own;
mod pull;
mod reference;
mod store;
mod unpack;

pub use archive::import;
pub use hosts::Registries;
pub use metadata::{ImageConfig, ProcessConfig};
pub use pull::Credentials;
pub use reference::Name;
pub(crate) use store::Lease;
pub use store::{Image, Layer, Store, Usage};
pub use unpack::Limits;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing by that name is here.
    #[error("image {0:?} not found")]
    NotFound(String),
    /// The name makes no sense.
    #[error("invalid reference format: {0:?}: {1}")]
    Name(String, String),
    /// The registry refused, or does not have it.
    #[error("failed to pull image {image:?}: {why}")]
    Pull {
        /// Which.
        image: String,
        /// In the registry's words where it has any.
        why: String,
        /// Whether credentials were missing or wrong.
        unauthorized: bool,
        /// Whether the registry does not have it.
        absent: bool,
    },
    /// The file that says how the registry is reached cannot be used.
    #[error("failed to use {file}: {why}; correct it or remove it")]
    Hosts {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The content is not what it should be.
    #[error("failed to unpack {what}: {why}; the image is broken or hostile, get another copy")]
    Broken {
        /// What of it.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The node's disk or kernel refused.
    #[error(transparent)]
    Node(#[from] linux::Error),
}

impl ImageError {
    fn broken(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Broken { what: what.into(), why: why.to_string() }
    }
}
