//! Waiting for a descriptor without blocking a thread.

use crate::error::{Context, Result};
use rustix::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Makes a descriptor non-blocking and watches it with the runtime of the calling task.
pub fn watch(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    let what = || "watch a descriptor".to_owned();
    rustix::io::ioctl_fionbio(&fd, true).context(what)?;
    // SAFETY: the AsyncFd owns the descriptor, so it stays open and the same for as long as it is registered.
    unsafe { AsyncFd::register(fd) }.context(what)
}
