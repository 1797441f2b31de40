//! Following shims: each tells when a container starts and ends. After a restart of this process, each is found
//! again by its socket and says what happened meanwhile.

use super::model::{Container, Phase, Sandbox, container_name, sandbox_name};
use super::records::{self, ContainerRecord, SandboxRecord};
use super::{Error, Inner, blocking, events};
use crate::shim::client::Conversation;
use crate::shim::protocol::{ContainerState, ExitRecord, Reply, Request, exit_file};
use cri::v1::ContainerEventType;
use std::sync::Arc;

/// The exit code of a container whose end nobody saw.
const UNSEEN: i32 = 255;

/// Loads all records and finds their shims again.
pub(crate) async fn recover(inner: &Arc<Inner>) -> Result<(), Error> {
    let config = inner.config.clone();
    let loaded = blocking(move || {
        let sandboxes = records::load_all::<SandboxRecord>(&config.root.join("sandboxes"));
        let containers = records::load_all::<ContainerRecord>(&config.root.join("containers"));
        Ok((sandboxes, containers))
    });
    let (sandboxes, containers) = loaded.await?;
    let mut incomplete = Vec::new();
    {
        let mut model = inner.model.lock();
        for (_, record) in sandboxes {
            let name = sandbox_name(&record.config.clone().unwrap_or_default());
            if !record.complete {
                incomplete.push(record.id.clone());
            }
            model.names.insert(name, record.id.clone());
            model.sandboxes.insert(record.id.clone(), Sandbox::new(record));
        }
        for (dir, record) in containers {
            let spec = match records::load_spec(&dir) {
                Ok(spec) => spec,
                Err(error) => {
                    tracing::warn!(container = record.id, %error, "a container is forgotten");
                    continue;
                }
            };
            let phase = match (exit_record(inner, &record.id), record.started) {
                (Some(exit), _) => Phase::Exited(exit),
                (None, false) => Phase::Created,
                // Until its shim says better.
                (None, true) => Phase::Exited(unseen(inner)),
            };
            let name = container_name(&record.sandbox_id, &record.config.clone().unwrap_or_default());
            model.names.insert(name, record.id.clone());
            model.containers.insert(record.id.clone(), Container::new(record, spec, phase));
        }
    }
    let all: Vec<String> = inner.model.lock().sandboxes.keys().cloned().collect();
    let mut following: Vec<_> = Vec::new();
    for id in all {
        following.push(async move {
            if let Err(error) = follow(inner, &id).await {
                tracing::debug!(sandbox = id, %error, "a sandbox has no shim any more");
            }
        });
    }
    futures::future::join_all(following).await;
    for id in incomplete {
        tracing::info!(sandbox = id, "a sandbox whose making was interrupted is removed");
        super::sandboxes::remove(inner, &id).await?;
    }
    Ok(())
}

fn unseen(inner: &Inner) -> ExitRecord {
    ExitRecord { code: UNSEEN, out_of_memory: false, started_at: 0, finished_at: inner.now(), failure: None }
}

fn exit_record(inner: &Inner, id: &str) -> Option<ExitRecord> {
    let text = std::fs::read(exit_file(&inner.config.container_dir(id))).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Connects to a sandbox's shim, takes over its state and follows it from then on.
pub(crate) async fn follow(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let mut conversation = Conversation::open(&inner.config.state_dir(id)).await?;
    conversation.send(&Request::Watch, &[]).await?;
    let (reply, _) = conversation.reply().await?;
    let Reply::State(state) = reply else {
        return Err(linux::Error::refused("hear from the pod's shim", "it answered something else").into());
    };
    if let Some(sandbox) = inner.model.lock().sandboxes.get_mut(id) {
        sandbox.alive = true;
        sandbox.pid = state.pid;
    }
    for container in state.containers {
        changed(inner, &container);
    }
    let (weak, id, stopping) = (Arc::downgrade(inner), id.to_owned(), inner.tasks.stopping().clone());
    inner.tasks.spawn("shim", async move {
        while let Some(next) = stopping.run_until_cancelled(conversation.next()).await {
            let Some(inner) = weak.upgrade() else { return };
            match next {
                Ok((Reply::Changed(container), _)) => changed(&inner, &container),
                Ok(_) => {}
                Err(_) => {
                    lost(&inner, &id).await;
                    return;
                }
            }
        }
    });
    Ok(())
}

fn changed(inner: &Arc<Inner>, state: &ContainerState) {
    let Some(container) = inner.model.lock().containers.get(&state.id).cloned() else { return };
    let new = match &state.exit {
        Some(exit) => Phase::Exited(exit.clone()),
        None if state.started_at != 0 => Phase::Running { pid: state.pid, started_at: state.started_at },
        None => return,
    };
    let event = match &new {
        Phase::Exited(_) => ContainerEventType::ContainerStoppedEvent,
        _ => ContainerEventType::ContainerStartedEvent,
    };
    let moved = container.phase.send_if_modified(|old| {
        let moved = *old != new;
        *old = new;
        moved
    });
    if moved {
        events::send(inner, &state.id, &container.record.sandbox_id, event);
    }
}

// The shim is gone: with a shared pid namespace all its processes are too, else they run without anybody to tell of
// their end. Either way the pod is over.
async fn lost(inner: &Arc<Inner>, id: &str) {
    let (stopped, containers) = {
        let mut model = inner.model.lock();
        let containers = model.containers_of(id);
        let Some(sandbox) = model.sandboxes.get_mut(id) else { return };
        sandbox.alive = false;
        sandbox.pid = 0;
        (sandbox.record.stopped, containers)
    };
    if !stopped {
        tracing::warn!(sandbox = id, "the pod's shim died; its containers are ended");
    }
    for container in containers.into_iter().filter(Container::running) {
        if let Ok(group) = inner.cgroups.group(&container.spec.cgroup) {
            let killed = blocking(move || Ok(group.kill()?)).await;
            if let Err(error) = killed {
                tracing::warn!(container = container.record.id, %error, "a container could not be ended");
            }
        }
        let exit = exit_record(inner, &container.record.id).unwrap_or_else(|| unseen(inner));
        container.phase.send_replace(Phase::Exited(exit));
        events::send(inner, &container.record.id, id, ContainerEventType::ContainerStoppedEvent);
    }
    if !stopped {
        events::send(inner, id, id, ContainerEventType::ContainerStoppedEvent);
    }
}
