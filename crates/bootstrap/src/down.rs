//! `windlass down`: stops a cluster and removes everything that it made on this machine, also what a killed one
//! left behind.

use crate::layout::{Layout, Lock};
use crate::network::remove_links;
use crate::node::cgroup_root;
use crate::options::DownOptions;
use crate::progress::Progress;
use crate::topology;
use anyhow::{Context, Result, bail};
use linux::cgroup::Cgroups;
use linux::nft::Batch;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::time::Duration;

/// How long a running `up` may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command. May be repeated: what is gone already is fine.
pub fn run(options: &DownOptions) -> Result<()> {
    let layout = Layout::new(&options.data_dir);
    if !layout.root().exists() {
        bail!("{} does not exist; nothing to stop (is --data-dir right?)", layout.root().display());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("removing namespaces, mounts and cgroups needs root; run 'sudo windlass down'");
    }
    let progress = Progress::new();
    let step = progress.step("stopping");
    let _lock = stop(&layout)?;
    step.done();
    for name in layout.nodes() {
        let step = progress.step(&format!("node {name}"));
        remove_node(&layout, &name)?;
        step.done();
    }
    let step = progress.step("network");
    remove_network(&layout)?;
    step.done();
    linux::mount::unmount_below(layout.root())?;
    if options.purge {
        let step = progress.step("data");
        std::fs::remove_dir_all(layout.root())
            .with_context(|| format!("failed to remove {}", layout.root().display()))?;
        step.done();
    }
    Ok(())
}

/// Ends the process that holds the cluster, and takes its lock.
fn stop(layout: &Layout) -> Result<Lock> {
    if let Some(holder) = Lock::holder(&layout.lock_file())? {
        let pid = i32::try_from(holder).ok().and_then(Pid::from_raw).context("the lock names no process")?;
        // A pid file descriptor cannot mean another process that got the same number.
        if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
            let _ = pidfd_send_signal(&process, Signal::TERM);
            if !ended(&process, PATIENCE)? {
                let _ = pidfd_send_signal(&process, Signal::KILL);
                ended(&process, PATIENCE)?;
            }
        }
    }
    let lock = Lock::wait(&layout.lock_file())?;
    for name in layout.nodes() {
        // Agents end by themselves once their `up` is gone; their lock says when.
        drop(Lock::wait(&layout.node(&name).lock_file())?);
    }
    Ok(lock)
}

fn ended(process: &impl std::os::fd::AsFd, patience: Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: i64::try_from(patience.as_secs())?, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout))
        .context("failed to wait for a process")?;
    Ok(ready > 0)
}

fn remove_node(layout: &Layout, name: &str) -> Result<()> {
    let node = layout.node(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cleaned = runtime.block_on(runtime::cleanup(&node.runtime()));
    cleaned.with_context(|| format!("failed to remove the pods of {name}"))?;
    linux::mount::unmount_below(&node.kubelet())?;
    let group = Cgroups::detect()?.group(&cgroup_root(&node))?;
    group.kill()?;
    group.remove()?;
    Ok(())
}

fn remove_network(layout: &Layout) -> Result<()> {
    let isolated = layout.namespaces().exists();
    if isolated {
        // Links, routes and rules of the nodes go with their namespaces.
        return topology::remove(layout);
    }
    if layout.nodes().is_empty() {
        // No node ever ran from here: links and rules of these names are another cluster's.
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(remove_links())?;
    for table in [proxy::nftables::TABLE, network::overlay::TABLE] {
        let mut batch = Batch::new(table);
        batch.add_table();
        batch.delete_table();
        linux::nft::apply(&batch)?;
    }
    Ok(())
}
