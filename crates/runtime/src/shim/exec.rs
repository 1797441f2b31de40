//! A process exec'd into a container: its descriptors belong to the runtime, its end is ours to report.

use super::containers::Container;
use super::poll::Token;
use crate::container::{Launched, ProcessSpec, Stdio, launch_in};
use linux::process::Child;
use linux::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub(super) struct Exec {
    pub(super) child: Child,
    /// Who asked.
    pub(super) connection: Token,
    /// Whether the reply has been given.
    pub(super) answered: bool,
    /// The controlling side of its terminal until it is passed on.
    pub(super) terminal: Option<OwnedFd>,
}

/// Forks a process into `container`. Returns it and where its notices come.
pub(super) fn start(
    container: &Container,
    process: &ProcessSpec,
    passed: Vec<OwnedFd>,
    own_pids: BorrowedFd<'_>,
    connection: Token,
) -> Result<(Exec, OwnedFd)> {
    let mut passed = passed.into_iter();
    let stdio = Stdio { stdin: passed.next(), stdout: passed.next(), stderr: passed.next() };
    if !process.terminal && stdio.stderr.is_none() {
        return Err(Error::refused("exec", "standard input, output and error did not come along"));
    }
    let pids = container.pid_namespace()?;
    let init = container.child.pidfd.as_fd();
    let pids = pids.as_ref().map(AsFd::as_fd);
    let Launched { child, notices } = launch_in(init, process, &stdio, &container.group, own_pids, pids)?;
    Ok((Exec { child, connection, answered: false, terminal: None }, notices))
}
