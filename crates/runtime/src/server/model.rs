//! [`Model`]: sandboxes and containers as this process knows them now.

use super::Error;
use super::records::{ContainerRecord, SandboxRecord};
use crate::container::ContainerSpec;
use crate::shim::protocol::ExitRecord;
use cri::v1;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// All of it. Behind a lock that is held for moments only, never across I/O.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) sandboxes: BTreeMap<String, Sandbox>,
    pub(crate) containers: BTreeMap<String, Container>,
    /// Names in use: no two sandboxes, and no two containers of a sandbox, have the same.
    pub(crate) names: HashMap<String, String>,
}

/// A sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) record: SandboxRecord,
    /// Whether its shim answers.
    pub(crate) alive: bool,
    /// The shim's process id on the host, when known.
    pub(crate) pid: i32,
    /// Held while the sandbox is made, stopped or removed.
    pub(crate) busy: Arc<tokio::sync::Mutex<()>>,
}

/// A container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) record: ContainerRecord,
    pub(crate) spec: Arc<ContainerSpec>,
    pub(crate) phase: Arc<watch::Sender<Phase>>,
    /// Held while the container is started, stopped or removed.
    pub(crate) busy: Arc<tokio::sync::Mutex<()>>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Created,
    Running { pid: i32, started_at: i64 },
    Exited(ExitRecord),
}

impl Sandbox {
    pub(crate) fn new(record: SandboxRecord) -> Self {
        Self { record, alive: false, pid: 0, busy: Arc::default() }
    }

    pub(crate) fn config(&self) -> v1::PodSandboxConfig {
        self.record.config.clone().unwrap_or_default()
    }

    pub(crate) fn state(&self) -> v1::PodSandboxState {
        if self.alive && !self.record.stopped {
            v1::PodSandboxState::SandboxReady
        } else {
            v1::PodSandboxState::SandboxNotready
        }
    }
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, spec: ContainerSpec, phase: Phase) -> Self {
        let phase = Arc::new(watch::Sender::new(phase));
        Self { record, spec: Arc::new(spec), phase, busy: Arc::default() }
    }

    pub(crate) fn config(&self) -> v1::ContainerConfig {
        self.record.config.clone().unwrap_or_default()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn running(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Running { .. })
    }

    pub(crate) fn state(&self) -> v1::ContainerState {
        match *self.phase.borrow() {
            Phase::Created => v1::ContainerState::ContainerCreated,
            Phase::Running { .. } => v1::ContainerState::ContainerRunning,
            Phase::Exited(_) => v1::ContainerState::ContainerExited,
        }
    }
}

impl Model {
    /// The sandbox with this id, or the only one whose id starts so.
    pub(crate) fn sandbox(&self, id: &str) -> Result<&Sandbox, Error> {
        by_prefix(&self.sandboxes, id).ok_or_else(|| Error::NotFound("sandbox", id.to_owned()))
    }

    /// The container with this id, or the only one whose id starts so.
    pub(crate) fn container(&self, id: &str) -> Result<&Container, Error> {
        by_prefix(&self.containers, id).ok_or_else(|| Error::NotFound("container", id.to_owned()))
    }

    /// Containers of a sandbox.
    pub(crate) fn containers_of(&self, sandbox: &str) -> Vec<Container> {
        self.containers.values().filter(|each| each.record.sandbox_id == sandbox).cloned().collect()
    }

    /// Names of the layers that containers stand on.
    pub(crate) fn layers_in_use(&self) -> Vec<String> {
        let lower =
            self.containers.values().flat_map(|container| container.spec.rootfs.lower.iter().cloned());
        lower.collect()
    }

    /// Takes a name, or says who has it.
    pub(crate) fn reserve(&mut self, name: &str, id: &str) -> Result<(), Error> {
        match self.names.get(name) {
            Some(other) if other != id => {
                Err(Error::State(format!("failed to reserve name {name:?}: it is reserved for {other:?}")))
            }
            _ => {
                self.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives back every name of `id`.
    pub(crate) fn release(&mut self, id: &str) {
        self.names.retain(|_, owner| owner != id);
    }
}

fn by_prefix<'a, T>(all: &'a BTreeMap<String, T>, id: &str) -> Option<&'a T> {
    if let Some(found) = all.get(id) {
        return Some(found);
    }
    if id.is_empty() {
        return None;
    }
    let mut found = all.range(id.to_owned()..).take_while(|(known, _)| known.starts_with(id));
    match (found.next(), found.next()) {
        (Some((_, found)), None) => Some(found),
        _ => None,
    }
}

/// The name under which a sandbox is unique.
pub(crate) fn sandbox_name(config: &v1::PodSandboxConfig) -> String {
    let metadata = config.metadata.clone().unwrap_or_default();
    format!("{}_{}_{}_{}", metadata.name, metadata.namespace, metadata.uid, metadata.attempt)
}

/// The name under which a container is unique.
pub(crate) fn container_name(sandbox: &str, config: &v1::ContainerConfig) -> String {
    let metadata = config.metadata.clone().unwrap_or_default();
    format!("{}_{sandbox}_{}", metadata.name, metadata.attempt)
}

/// A new id: 256 random bits in hexadecimal.
pub(crate) fn new_id() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether labels match a selector.
pub(crate) fn selected(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
