//! From a CRI container configuration and an image to a [`ContainerSpec`]: what upstream runtimes decide the same
//! way, so that workloads cannot tell the difference.

mod devices;
mod mounts;
mod resources;
mod security;
mod users;

pub(crate) use mounts::SandboxFiles;
pub(crate) use resources::{merged, resources};

use crate::container::{ContainerSpec, PidMode, ProcessSpec, Rlimit, RootfsSpec};
use crate::images::{Image, ProcessConfig, Store};
use cri::v1;
use linux::cgroup::DeviceRule;
use linux::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `RLIMIT_NOFILE` (asm-generic/resource.h), and what services get by default: programs that cannot cope with many
/// descriptors see few, others raise their own limit.
const OPEN_FILES: (u32, u64, u64) = (7, 1024, 524_288);

/// All that goes into a container.
pub(crate) struct Ingredients<'a> {
    pub(crate) id: &'a str,
    pub(crate) directory: &'a Path,
    pub(crate) config: &'a v1::ContainerConfig,
    pub(crate) sandbox: &'a v1::PodSandboxConfig,
    pub(crate) files: &'a SandboxFiles,
    pub(crate) image: &'a Image,
    pub(crate) process: &'a ProcessConfig,
    pub(crate) store: &'a Store,
    pub(crate) cgroup: String,
}

/// Puts a container's specification together. Reads the image's files; blocks.
pub(crate) fn build(from: &Ingredients<'_>) -> Result<ContainerSpec> {
    let empty = v1::LinuxContainerSecurityContext::default();
    let linux = from.config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref()).unwrap_or(&empty);
    let lower = Store::lower(from.image);
    let accounts = users::Accounts::of(&from.store.layers_dir(), &lower);
    let (user, home) = users::resolve(security, &from.process.user, &accounts)?;
    let (devices, rules) = devices::devices(from.config, security.privileged)?;
    let mut limits = linux.and_then(|linux| linux.resources.as_ref()).map(resources).unwrap_or_default();
    limits.devices = Some(if security.privileged { vec![DeviceRule::ALL] } else { rules });
    let oom_score_adj = linux.and_then(|linux| linux.resources.as_ref()).map(|r| r.oom_score_adj);
    let process = ProcessSpec {
        args: command(from.config, from.process)?,
        env: environment(from, &home),
        cwd: working_directory(from),
        user,
        capabilities: security::capabilities(security)?,
        no_new_privileges: security.no_new_privs,
        seccomp: security::filter(security)?,
        rlimits: vec![open_files()],
        oom_score_adj: oom_score_adj.and_then(|score| i32::try_from(score).ok()),
        terminal: from.config.tty,
    };
    let paths = |all: &[String]| -> Vec<PathBuf> {
        if security.privileged { Vec::new() } else { all.iter().map(PathBuf::from).collect() }
    };
    Ok(ContainerSpec {
        id: from.id.to_owned(),
        directory: from.directory.to_owned(),
        mounts: mounts::mounts(from, security)?,
        rootfs: RootfsSpec {
            layers: from.store.layers_dir(),
            lower,
            own: from.directory.to_owned(),
            read_only: security.readonly_rootfs,
        },
        devices,
        masked_paths: paths(&security.masked_paths),
        readonly_paths: paths(&security.readonly_paths),
        cgroup: from.cgroup.clone(),
        resources: limits,
        pids: pid_mode(security),
        stdin: from.config.stdin,
        stdin_once: from.config.stdin_once,
        log_path: log_path(from.sandbox, from.config),
        process,
    })
}

/// Where a container's log goes; nowhere when the pod has no log directory.
pub(crate) fn log_path(sandbox: &v1::PodSandboxConfig, config: &v1::ContainerConfig) -> Option<PathBuf> {
    let named = !sandbox.log_directory.is_empty() && !config.log_path.is_empty();
    named.then(|| Path::new(&sandbox.log_directory).join(&config.log_path))
}

/// A process exec'd into a container: everything as its first process, but command and terminal.
pub(crate) fn exec(of: &ContainerSpec, args: Vec<String>, terminal: bool) -> ProcessSpec {
    let mut env = of.process.env.clone();
    if terminal && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    ProcessSpec { args, env, terminal, ..of.process.clone() }
}

fn open_files() -> Rlimit {
    let (resource, soft, hard) = OPEN_FILES;
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    Rlimit { resource, soft: soft.min(own), hard: hard.min(own) }
}

fn pid_mode(security: &v1::LinuxContainerSecurityContext) -> PidMode {
    let Some(options) = &security.namespace_options else { return PidMode::Own };
    match options.pid() {
        v1::NamespaceMode::Container => PidMode::Own,
        v1::NamespaceMode::Pod | v1::NamespaceMode::Node => PidMode::Inherited,
        v1::NamespaceMode::Target => PidMode::Of(options.target_id.clone()),
    }
}

// Kubernetes' command is the image's entry point and its args are the image's command.
fn command(config: &v1::ContainerConfig, image: &ProcessConfig) -> Result<Vec<String>> {
    let (mut args, rest) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (config.command.clone(), config.args.clone()),
        (true, false) => (image.entrypoint.clone(), config.args.clone()),
        (true, true) => (image.entrypoint.clone(), image.cmd.clone()),
    };
    args.extend(rest);
    if args.is_empty() {
        return Err(Error::refused("create the container", "no command specified"));
    }
    Ok(args)
}

fn environment(from: &Ingredients<'_>, home: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut values: HashMap<String, String> = HashMap::new();
    let mut set = |name: &str, value: &str, replace: bool| {
        if !values.contains_key(name) {
            names.push(name.to_owned());
        } else if !replace {
            return;
        }
        values.insert(name.to_owned(), value.to_owned());
    };
    for entry in &from.process.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(name, value, true);
    }
    for pair in &from.config.envs {
        set(&pair.key, &pair.value, true);
    }
    let (name, value) = DEFAULT_PATH.split_once('=').unwrap_or(("PATH", ""));
    set(name, value, false);
    set("HOSTNAME", &from.files.hostname, false);
    if from.config.tty {
        set("TERM", "xterm", false);
    }
    set("HOME", home, false);
    names.iter().map(|name| format!("{name}={}", values.get(name).map_or("", String::as_str))).collect()
}

fn working_directory(from: &Ingredients<'_>) -> PathBuf {
    let named = [&from.config.working_dir, &from.process.working_dir];
    let dir = named.into_iter().find(|dir| !dir.is_empty()).map_or("/", String::as_str);
    // Relative ones are taken from the root, as builders mean them.
    Path::new("/").join(dir)
}

#[cfg(test)]
mod tests;
