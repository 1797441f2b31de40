//! Making containers: what the shim does between a [`ContainerSpec`] and a running program.
//!
//! The steps follow the OCI runtime specification. They are ours rather than a library's because the filters must
//! also hold for exec'd processes, must not need a library of the host, and because every path inside a root
//! filesystem is looked up under the kernel's confinement (see `linux::beneath`).

mod init;
mod process;
mod rootfs;
mod spec;
mod terminal;

pub(crate) use init::{Launched, Notice, Stdio, launch, launch_in, read_notice};
pub(crate) use spec::{
    ContainerSpec, DeviceNode, MountKind, MountSpec, PidMode, ProcessSpec, Rlimit, RootfsSpec, Spread, User,
};
