//! Sandboxes: making, stopping, removing.

use super::model::{Sandbox, new_id, sandbox_name};
use super::records::{self, SandboxRecord};
use super::{Error, Inner, blocking, containers, events, watch};
use crate::cni::Attachment;
use crate::shim::client;
use crate::shim::protocol::{NETNS, Request, SHM, Setup};
use crate::spec::SandboxFiles;
use cri::v1;
use linux::Context;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where sandboxes go whose kubelet names no cgroup.
const DEFAULT_PARENT: &str = "/windlass";

/// The cgroup below which a pod's are.
pub(crate) fn cgroup_parent(config: &v1::PodSandboxConfig) -> String {
    let named = config.linux.as_ref().map_or("", |linux| linux.cgroup_parent.as_str());
    if named.trim_matches('/').is_empty() { DEFAULT_PARENT.to_owned() } else { named.to_owned() }
}

/// The cgroup of a sandbox's shim.
pub(crate) fn shim_cgroup(config: &v1::PodSandboxConfig, id: &str) -> String {
    format!("{}/sandbox-{id}", cgroup_parent(config).trim_end_matches('/'))
}

fn namespaces(config: &v1::PodSandboxConfig) -> v1::NamespaceOption {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

fn own_network(config: &v1::PodSandboxConfig) -> bool {
    namespaces(config).network() != v1::NamespaceMode::Node
}

fn check(request: &v1::RunPodSandboxRequest) -> Result<v1::PodSandboxConfig, Error> {
    let config = request.config.clone().ok_or_else(|| Error::Invalid("sandbox config is required".into()))?;
    if config.metadata.is_none() {
        return Err(Error::Invalid("sandbox config must include metadata".into()));
    }
    if !request.runtime_handler.is_empty() && request.runtime_handler != "windlass" {
        let why = format!("no runtime for {:?} is configured", request.runtime_handler);
        return Err(Error::Invalid(why));
    }
    let users = namespaces(&config).userns_options;
    if users.is_some_and(|users| users.mode() == v1::NamespaceMode::Pod) {
        return Err(Error::Unsupported("a user namespace for pods"));
    }
    if config.hostname.len() > 64 {
        return Err(Error::Invalid(format!("hostname {:?} is longer than 64 bytes", config.hostname)));
    }
    Ok(config)
}

/// Makes a sandbox and returns its id.
pub(crate) async fn run(inner: &Arc<Inner>, request: v1::RunPodSandboxRequest) -> Result<String, Error> {
    let config = check(&request)?;
    let id = new_id();
    let record = SandboxRecord {
        id: id.clone(),
        config: Some(config.clone()),
        created_at: inner.now(),
        runtime_handler: request.runtime_handler,
        ..SandboxRecord::default()
    };
    let sandbox = Sandbox::new(record.clone());
    let busy = sandbox.busy.clone();
    let _only = busy.lock().await;
    {
        let mut model = inner.model.lock();
        model.reserve(&sandbox_name(&config), &id)?;
        model.sandboxes.insert(id.clone(), sandbox);
    }
    let made = make(inner, record, &config).await;
    if let Err(error) = made {
        if let Err(again) = dismantle(inner, &id, &config).await {
            tracing::warn!(sandbox = id, error = %again, "what was made of a sandbox could not all be removed");
        }
        forget(inner, &id).await;
        return Err(error);
    }
    events::send(inner, &id, &id, v1::ContainerEventType::ContainerCreatedEvent);
    events::send(inner, &id, &id, v1::ContainerEventType::ContainerStartedEvent);
    Ok(id)
}

async fn make(
    inner: &Arc<Inner>,
    mut record: SandboxRecord,
    config: &v1::PodSandboxConfig,
) -> Result<(), Error> {
    let id = record.id.clone();
    let network = own_network(config);
    let list = if network {
        Some(inner.cni.network().map_err(|error| Error::Network(id.clone(), error))?)
    } else {
        None
    };
    let (state, dir) = (inner.config.state_dir(&id), inner.config.sandbox_dir(&id));
    let setup = setup(&id, config, network);
    let (first, files) = (record.clone(), config.clone());
    let prepared = state.clone();
    blocking(move || {
        std::fs::create_dir_all(&prepared).context(|| format!("make {}", prepared.display()))?;
        records::save(&dir, &first)?;
        write_files(&dir, &files, network)
    })
    .await?;
    client::spawn(&inner.config.shim_command, &state, &setup).await?;
    if let Some(list) = list {
        let netns = state.join(NETNS);
        let added = inner.cni.add(&list, &attachment(&id, config, &netns)).await;
        let addresses = added.map_err(|error| Error::Network(id.clone(), error))?;
        record.addresses = addresses.iter().map(ToString::to_string).collect();
    }
    watch::follow(inner, &id).await?;
    record.complete = true;
    update(inner, &record).await
}

async fn update(inner: &Arc<Inner>, record: &SandboxRecord) -> Result<(), Error> {
    if let Some(sandbox) = inner.model.lock().sandboxes.get_mut(&record.id) {
        sandbox.record = record.clone();
    }
    let (dir, record) = (inner.config.sandbox_dir(&record.id), record.clone());
    blocking(move || records::save(&dir, &record)).await
}

fn setup(id: &str, config: &v1::PodSandboxConfig, network: bool) -> Setup {
    let options = namespaces(config);
    let mut sysctls: BTreeMap<String, String> = BTreeMap::new();
    if network {
        // Programs that are not root may listen on any port of their pod and use ping there.
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
        sysctls.insert("net.ipv4.ping_group_range".into(), "0 2147483647".into());
    }
    sysctls.extend(config.linux.iter().flat_map(|linux| linux.sysctls.clone()));
    Setup {
        id: id.to_owned(),
        own_network: network,
        own_ipc: options.ipc() != v1::NamespaceMode::Node,
        hostname: network.then(|| config.hostname.clone()),
        shared_pids: options.pid() == v1::NamespaceMode::Pod,
        sysctls,
        cgroup: shim_cgroup(config, id),
    }
}

fn attachment<'a>(id: &'a str, config: &v1::PodSandboxConfig, netns: &'a Path) -> Attachment<'a> {
    let metadata = config.metadata.clone().unwrap_or_default();
    let ports: Vec<Value> = config
        .port_mappings
        .iter()
        .filter(|port| port.host_port > 0)
        .map(|port| {
            json!({"hostPort": port.host_port, "containerPort": port.container_port,
                "protocol": port.protocol().as_str_name().to_lowercase(), "hostIP": port.host_ip})
        })
        .collect();
    let mut capabilities = Map::new();
    if !ports.is_empty() {
        capabilities.insert("portMappings".into(), Value::Array(ports));
    }
    for (annotation, capability) in
        [("kubernetes.io/ingress-bandwidth", "ingressRate"), ("kubernetes.io/egress-bandwidth", "egressRate")]
    {
        let rate = config.annotations.get(annotation).and_then(|rate| rate.parse::<u64>().ok());
        if let Some(rate) = rate {
            let bandwidth = capabilities.entry("bandwidth").or_insert_with(|| json!({}));
            bandwidth[capability] = rate.into();
        }
    }
    let args = vec![
        ("IgnoreUnknown", "1".to_owned()),
        ("K8S_POD_NAMESPACE", metadata.namespace),
        ("K8S_POD_NAME", metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", id.to_owned()),
        ("K8S_POD_UID", metadata.uid),
    ];
    Attachment { id, netns, args, capabilities }
}

// What containers see in /etc, unless the kubelet brings files of its own.
fn write_files(dir: &Path, config: &v1::PodSandboxConfig, network: bool) -> Result<(), Error> {
    let put = |name: &str, text: Vec<u8>| -> Result<(), Error> {
        let path = dir.join(name);
        Ok(std::fs::write(&path, text).context(|| format!("write {}", path.display()))?)
    };
    put("hostname", format!("{}\n", hostname(config, network)).into_bytes())?;
    put("hosts", std::fs::read("/etc/hosts").unwrap_or_default())?;
    let resolv =
        match config.dns_config.as_ref().filter(|dns| !dns.servers.is_empty() || !dns.searches.is_empty()) {
            Some(dns) => resolv_conf(dns).into_bytes(),
            None => std::fs::read("/etc/resolv.conf").unwrap_or_default(),
        };
    put("resolv.conf", resolv)
}

fn hostname(config: &v1::PodSandboxConfig, network: bool) -> String {
    if network && !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn resolv_conf(dns: &v1::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// The files that all containers of a sandbox share.
pub(crate) fn files(inner: &Inner, id: &str, config: &v1::PodSandboxConfig) -> SandboxFiles {
    let dir = inner.config.sandbox_dir(id);
    let host_ipc = namespaces(config).ipc() == v1::NamespaceMode::Node;
    let shm = if host_ipc { "/dev/shm".into() } else { inner.config.state_dir(id).join(SHM) };
    SandboxFiles {
        hostname: hostname(config, own_network(config)),
        hostname_file: dir.join("hostname"),
        hosts: dir.join("hosts"),
        resolv_conf: dir.join("resolv.conf"),
        shm,
    }
}

/// Stops a sandbox: its containers, its network, its shim. Not there, or stopped before, is not an error.
pub(crate) async fn stop(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let Ok(sandbox) = inner.model.lock().sandbox(id).cloned() else { return Ok(()) };
    let _only = sandbox.busy.lock().await;
    stop_locked(inner, &sandbox.record.id).await
}

async fn stop_locked(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let Some(sandbox) = inner.model.lock().sandboxes.get(id).cloned() else { return Ok(()) };
    let all = inner.model.lock().containers_of(id);
    for stopped in futures::future::join_all(all.iter().map(|each| containers::end(inner, each))).await {
        stopped?;
    }
    let mut record = sandbox.record.clone();
    if !record.stopped {
        record.stopped = true;
        update(inner, &record).await?;
    }
    dismantle(inner, id, &sandbox.config()).await?;
    if sandbox.alive {
        events::send(inner, id, id, v1::ContainerEventType::ContainerStoppedEvent);
    }
    Ok(())
}

// Everything that is not files. Each step tolerates that it was done before.
async fn dismantle(inner: &Arc<Inner>, id: &str, config: &v1::PodSandboxConfig) -> Result<(), Error> {
    let state = inner.config.state_dir(id);
    let netns = state.join(NETNS);
    if own_network(config) {
        let deleted = inner.cni.delete(&attachment(id, config, &netns)).await;
        deleted.map_err(|error| Error::Network(id.to_owned(), error))?;
    }
    // No answer: it is gone already.
    let _ = client::ask(&state, &Request::Shutdown, &[]).await;
    if let Some(sandbox) = inner.model.lock().sandboxes.get_mut(id) {
        sandbox.alive = false;
        sandbox.pid = 0;
    }
    let group = inner.cgroups.group(&shim_cgroup(config, id))?;
    blocking(move || {
        group.kill()?;
        linux::namespace::unpin(&netns)?;
        linux::mount::unmount(&state.join(SHM))?;
        remove_group(&group)
    })
    .await
}

/// Removes a cgroup whose processes have been killed: the last of them may still be on its way out.
pub(crate) fn remove_group(group: &linux::cgroup::Group) -> Result<(), Error> {
    match group.remove() {
        // The kubelet removes the pod's whole tree, this group with it, once nothing is left in it.
        Err(error) if error.errno() == Some(rustix::io::Errno::BUSY.raw_os_error()) => Ok(()),
        done => Ok(done?),
    }
}

/// Removes a sandbox with all its containers. Not there is not an error.
pub(crate) async fn remove(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let Ok(sandbox) = inner.model.lock().sandbox(id).cloned() else { return Ok(()) };
    let _only = sandbox.busy.lock().await;
    let id = sandbox.record.id.clone();
    stop_locked(inner, &id).await?;
    let all = inner.model.lock().containers_of(&id);
    for container in all {
        containers::remove(inner, &container.record.id).await?;
    }
    forget(inner, &id).await;
    Ok(())
}

async fn forget(inner: &Arc<Inner>, id: &str) {
    let dirs = [inner.config.sandbox_dir(id), inner.config.state_dir(id)];
    let removed = blocking(move || {
        for dir in dirs {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).context(|| format!("remove {}", dir.display()))?;
                }
                _ => {}
            }
        }
        Ok(())
    });
    if let Err(error) = removed.await {
        tracing::warn!(sandbox = id, %error, "files of a sandbox stay behind");
    }
    events::send(inner, id, id, v1::ContainerEventType::ContainerDeletedEvent);
    let mut model = inner.model.lock();
    model.sandboxes.remove(id);
    model.release(id);
}
