//! [`ContainerSpec`]: everything the shim needs to make one container, decided beforehand by the runtime.
//!
//! The shim takes it as it is: names are resolved, profiles compiled, limits computed. Deliberately absent: CRI.

use linux::capability;
use linux::cgroup::Resources;
use linux::seccomp::Filter;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One container, ready to be made.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerSpec {
    /// The container's id.
    pub(crate) id: String,
    /// Where the shim keeps its exit record.
    pub(crate) directory: PathBuf,
    /// Its first process.
    pub(crate) process: ProcessSpec,
    /// Its root filesystem.
    pub(crate) rootfs: RootfsSpec,
    /// What is mounted into it, in this order.
    pub(crate) mounts: Vec<MountSpec>,
    /// Device nodes besides the standard ones.
    pub(crate) devices: Vec<DeviceNode>,
    /// Paths that appear empty.
    pub(crate) masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written.
    pub(crate) readonly_paths: Vec<PathBuf>,
    /// The path of its cgroup.
    pub(crate) cgroup: String,
    /// The limits of its cgroup.
    pub(crate) resources: Resources,
    /// Whose process ids it sees.
    pub(crate) pids: PidMode,
    /// Whether its standard input stays open for those who attach.
    pub(crate) stdin: bool,
    /// Whether the first of those who attach ends it.
    pub(crate) stdin_once: bool,
    /// Where its output goes; nowhere when absent.
    pub(crate) log_path: Option<PathBuf>,
}

/// Whose process ids a container sees.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PidMode {
    /// Its own.
    Own,
    /// Those of the shim: the pod's when the pod shares them, else the host's.
    Inherited,
    /// Those of another container of the pod.
    Of(String),
}

/// A process to run in a container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessSpec {
    /// Program and arguments.
    pub(crate) args: Vec<String>,
    /// Environment, `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Working directory, absolute.
    pub(crate) cwd: PathBuf,
    /// As whom it runs.
    pub(crate) user: User,
    /// What it may do.
    pub(crate) capabilities: capability::Sets,
    /// Whether set-user-ID programs are just programs to it.
    pub(crate) no_new_privileges: bool,
    /// Its system-call filter.
    pub(crate) seccomp: Option<Filter>,
    /// Resource limits.
    pub(crate) rlimits: Vec<Rlimit>,
    /// How readily the kernel kills it for want of memory.
    pub(crate) oom_score_adj: Option<i32>,
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
}

/// Numeric identity of a process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Further group ids.
    pub(crate) groups: Vec<u32>,
}

/// A resource limit by kernel number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rlimit {
    /// `RLIMIT_*`.
    pub(crate) resource: u32,
    /// Soft limit.
    pub(crate) soft: u64,
    /// Hard limit.
    pub(crate) hard: u64,
}

/// Where a root filesystem comes from. Paths of layers are relative to `layers`, which keeps the kernel's option
/// string short.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RootfsSpec {
    /// The directory of all unpacked layers.
    pub(crate) layers: PathBuf,
    /// Names of this image's layers in it, topmost first.
    pub(crate) lower: Vec<String>,
    /// The container's own directory: `upper` and `work` are made in it, and `rootfs` to mount on.
    pub(crate) own: PathBuf,
    /// Whether nothing may be written.
    pub(crate) read_only: bool,
}

/// Something mounted into a container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MountSpec {
    /// Where, absolute, inside the container.
    pub(crate) target: PathBuf,
    /// What.
    pub(crate) kind: MountKind,
    /// Refuse writes.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// Refuse writes to what is mounted below as well.
    #[serde(default)]
    pub(crate) recursive_read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: PathBuf,
        /// Whether mounts travel to and from the host.
        propagation: Spread,
    },
    /// Image layers, read-only; names as in [`RootfsSpec::lower`].
    Layers {
        /// Topmost first.
        lower: Vec<String>,
        /// A part of the image instead of its root.
        sub_path: String,
    },
    /// Processes.
    Proc,
    /// Devices and drivers.
    Sysfs,
    /// The container's cgroups.
    Cgroup,
    /// POSIX message queues of the pod.
    MessageQueues,
    /// Device nodes: a small tmpfs with the standard ones.
    Dev,
    /// Terminals.
    Terminals,
    /// Memory, with options for tmpfs.
    Tmpfs {
        /// As mount(8) takes them.
        options: String,
    },
}

/// Whether mounts travel between host and container.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Spread {
    /// No.
    Private,
    /// From the host to the container.
    FromHost,
    /// Both ways.
    Both,
}

/// A device node to make.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceNode {
    /// Where, inside the container.
    pub(crate) path: PathBuf,
    /// Block or character device.
    pub(crate) block: bool,
    /// Major number.
    pub(crate) major: u32,
    /// Minor number.
    pub(crate) minor: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}
