//! What the runtime remembers on disk: one record for each sandbox and container, replaced as a whole.

use super::{Config, Error};
use crate::container::ContainerSpec;
use cri::v1;
use linux::Context;
use prost::Message;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const RECORD: &str = "record";
const SPEC: &str = "spec.json";

/// A sandbox.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxRecord {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<v1::PodSandboxConfig>,
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub(crate) created_at: i64,
    /// The pod's addresses, the first one first.
    #[prost(string, repeated, tag = "4")]
    pub(crate) addresses: Vec<String>,
    #[prost(string, tag = "5")]
    pub(crate) runtime_handler: String,
    /// Stopped for good.
    #[prost(bool, tag = "6")]
    pub(crate) stopped: bool,
    /// Whether its making was completed.
    #[prost(bool, tag = "7")]
    pub(crate) complete: bool,
}

/// A container.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerRecord {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) config: Option<v1::ContainerConfig>,
    #[prost(int64, tag = "4")]
    pub(crate) created_at: i64,
    /// The image's id.
    #[prost(string, tag = "5")]
    pub(crate) image_id: String,
    /// A name with a digest, where the image has one, else its id.
    #[prost(string, tag = "6")]
    pub(crate) image_ref: String,
    /// A name of the image for people.
    #[prost(string, tag = "7")]
    pub(crate) image_name: String,
    /// The kernel's number of the signal that stops it.
    #[prost(int32, tag = "8")]
    pub(crate) stop_signal: i32,
    /// Limits as they are now.
    #[prost(message, optional, tag = "9")]
    pub(crate) resources: Option<v1::LinuxContainerResources>,
    #[prost(string, tag = "10")]
    pub(crate) log_path: String,
    /// Whether it was ever started.
    #[prost(bool, tag = "11")]
    pub(crate) started: bool,
}

impl Config {
    /// A sandbox's directory.
    pub(crate) fn sandbox_dir(&self, id: &str) -> PathBuf {
        self.root.join("sandboxes").join(id)
    }

    /// A sandbox's state directory, where its shim listens.
    pub(crate) fn state_dir(&self, id: &str) -> PathBuf {
        self.state.join(id)
    }

    /// A container's directory.
    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }
}

/// Writes a record into `dir`, making it where missing. Not synced to disk: after a loss of power no process of the
/// pod is left either.
pub(crate) fn save(dir: &Path, record: &impl Message) -> Result<(), Error> {
    let what = || format!("write the record in {}", dir.display());
    // Environments hold secrets.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).context(what)?;
    let fresh = dir.join("record.new");
    fs::write(&fresh, record.encode_to_vec()).context(what)?;
    fs::rename(&fresh, dir.join(RECORD)).context(what)?;
    Ok(())
}

/// Writes a container's specification beside its record.
pub(crate) fn save_spec(dir: &Path, spec: &ContainerSpec) -> Result<(), Error> {
    let what = || format!("write the specification in {}", dir.display());
    let text = serde_json::to_vec(spec).map_err(std::io::Error::from).context(what)?;
    fs::write(dir.join(SPEC), text).context(what)?;
    Ok(())
}

/// Reads a container's specification.
pub(crate) fn load_spec(dir: &Path) -> Result<ContainerSpec, Error> {
    let what = || format!("read the specification in {}", dir.display());
    let text = fs::read(dir.join(SPEC)).context(what)?;
    Ok(serde_json::from_slice(&text).map_err(std::io::Error::from).context(what)?)
}

/// Every record below `dir`, with its directory. What cannot be read is logged and left out.
pub(crate) fn load_all<R: Message + Default>(dir: &Path) -> Vec<(PathBuf, R)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        let read = fs::read(path.join(RECORD)).map_err(|error| error.to_string());
        match read.and_then(|bytes| R::decode(&bytes[..]).map_err(|error| error.to_string())) {
            Ok(record) => found.push((path, record)),
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "a record cannot be read; what it describes is removed")
            }
        }
    }
    found
}
