//! Containers: making, starting, stopping, removing, changing.

use super::model::{Container, Phase, container_name, new_id};
use super::records::{self, ContainerRecord};
use super::sandboxes::{cgroup_parent, files, remove_group};
use super::{Error, Inner, blocking, events};
use crate::images::{Image, ImageError, Lease, Store};
use crate::shim::client;
use crate::shim::protocol::{Reply, Request};
use crate::spec::{self, Ingredients};
use cri::v1;
use linux::Context;
use std::sync::Arc;
use std::time::Duration;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// How long a killed container may take to end before that counts as an error: uninterruptible I/O.
const DYING: Duration = Duration::from_secs(60);

/// Makes a container, not started yet, and returns its id.
pub(crate) async fn create(inner: &Arc<Inner>, request: v1::CreateContainerRequest) -> Result<String, Error> {
    let config = request.config.ok_or_else(|| Error::Invalid("container config is required".into()))?;
    if config.metadata.is_none() {
        return Err(Error::Invalid("container config must include metadata".into()));
    }
    if !config.cdi_devices.is_empty() {
        return Err(Error::Unsupported("CDI devices for containers"));
    }
    let sandbox = inner.model.lock().sandbox(&request.pod_sandbox_id).cloned()?;
    if sandbox.state() != v1::PodSandboxState::SandboxReady {
        return Err(Error::State(format!("sandbox {:?} is not ready", sandbox.record.id)));
    }
    let id = new_id();
    inner.model.lock().reserve(&container_name(&sandbox.record.id, &config), &id)?;
    let (work, own, pod) = (inner.clone(), id.clone(), sandbox.record.id.clone());
    let made = blocking(move || make(&work, &own, &pod, &sandbox.config(), config)).await;
    let (container, lease) = match made {
        Ok(made) => made,
        Err(error) => {
            inner.model.lock().release(&id);
            let dir = inner.config.container_dir(&id);
            blocking(move || remove_dir(&dir)).await.ok();
            return Err(error);
        }
    };
    let sandbox = container.record.sandbox_id.clone();
    inner.model.lock().containers.insert(id.clone(), container);
    drop(lease);
    events::send(inner, &id, &sandbox, v1::ContainerEventType::ContainerCreatedEvent);
    Ok(id)
}

fn make(
    inner: &Inner,
    id: &str,
    sandbox_id: &str,
    sandbox: &v1::PodSandboxConfig,
    config: v1::ContainerConfig,
) -> Result<(Container, Lease), Error> {
    let wanted = config.image.as_ref().map_or("", |image| image.image.as_str());
    let image = inner.images.find(wanted).ok_or_else(|| ImageError::NotFound(wanted.to_owned()))?;
    // Until the container is in the model, nothing else keeps its layers.
    let lease = inner.images.lease(&image.layers);
    let process = inner.images.config(&image)?.process();
    let directory = inner.config.container_dir(id);
    let spec = spec::build(&Ingredients {
        id,
        directory: &directory,
        config: &config,
        sandbox,
        files: &files(inner, sandbox_id, sandbox),
        image: &image,
        process: &process,
        store: &inner.images,
        cgroup: format!("{}/{id}", cgroup_parent(sandbox).trim_end_matches('/')),
    })?;
    let record = ContainerRecord {
        id: id.to_owned(),
        sandbox_id: sandbox_id.to_owned(),
        created_at: inner.now(),
        image_id: image.id.to_string(),
        image_ref: image.digests.first().cloned().unwrap_or_else(|| image.id.to_string()),
        image_name: image_name(&config, &image),
        stop_signal: stop_signal(&config, &process.stop_signal),
        resources: config.linux.as_ref().and_then(|linux| linux.resources.clone()),
        log_path: spec.log_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        started: false,
        config: Some(config),
    };
    records::save(&directory, &record)?;
    records::save_spec(&directory, &spec)?;
    Ok((Container::new(record, spec, Phase::Created), lease))
}

// The name it was asked for by, if it still has it; the kubelet asks by id and says the name beside it.
fn image_name(config: &v1::ContainerConfig, image: &Image) -> String {
    let spec = config.image.clone().unwrap_or_default();
    let asked = [&spec.user_specified_image, &spec.image];
    let known = asked.into_iter().find_map(|text| {
        crate::images::Name::parse(text).ok()?.tagged().filter(|tag| image.tags.contains(tag))
    });
    let first = || image.tags.first().or(image.digests.first()).cloned();
    known.or_else(first).unwrap_or_else(|| image.id.to_string())
}

fn stop_signal(config: &v1::ContainerConfig, image: &str) -> i32 {
    let asked = config.stop_signal();
    let name =
        if asked == v1::Signal::RuntimeDefault { image.to_owned() } else { asked.as_str_name().to_owned() };
    signal_number(&name).unwrap_or(SIGTERM)
}

/// Kernel numbers of signals (signal(7), x86 and ARM), where CRI's own numbers mean nothing to the kernel.
const SIGNALS: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == bare) {
        return Some(*number);
    }
    if bare == "POLL" {
        return Some(29);
    }
    let offset = |text: &str| text.trim_start_matches(['+', '-']).parse::<i32>().ok();
    for (prefix, base, sign) in
        [("RTMINPLUS", 34, 1), ("RTMAXMINUS", 64, -1), ("RTMIN+", 34, 1), ("RTMAX-", 64, -1)]
    {
        if let Some(number) = bare.strip_prefix(prefix).and_then(offset) {
            return Some(base + sign * number);
        }
    }
    match bare {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => None,
    }
}

fn get(inner: &Inner, id: &str) -> Result<Container, Error> {
    inner.model.lock().container(id).cloned()
}

/// Starts a container.
pub(crate) async fn start(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let container = get(inner, id)?;
    let _only = container.busy.lock().await;
    let id = container.record.id.clone();
    if container.phase() != Phase::Created {
        let state = container.state().as_str_name();
        return Err(Error::State(format!("container is in {state} state")));
    }
    let mut record = container.record.clone();
    record.started = true;
    let (dir, saved) = (inner.config.container_dir(&id), record.clone());
    blocking(move || records::save(&dir, &saved)).await?;
    if let Some(known) = inner.model.lock().containers.get_mut(&id) {
        known.record = record;
    }
    let state = inner.config.state_dir(&container.record.sandbox_id);
    let request = Request::Start(Box::new((*container.spec).clone()));
    let mut changes = container.phase.subscribe();
    match client::ask(&state, &request, &[]).await {
        Ok((Reply::Started { .. }, _)) => {
            // The watcher hears it on another socket: whoever asks next must see it running.
            wait_for(inner, &mut changes, DYING, |phase| *phase != Phase::Created).await;
            Ok(())
        }
        Ok(_) => Err(linux::Error::refused("start the container", "the shim answered something else").into()),
        Err(error) => {
            fail(inner, &container, &error.to_string());
            Err(error.into())
        }
    }
}

// A shim that could not even fork has no end to report: it is recorded here.
fn fail(inner: &Arc<Inner>, container: &Container, why: &str) {
    let record = crate::shim::protocol::ExitRecord {
        code: 128,
        out_of_memory: false,
        started_at: 0,
        finished_at: inner.now(),
        failure: Some(why.to_owned()),
    };
    let moved = container.phase.send_if_modified(|phase| {
        let moved = !matches!(phase, Phase::Exited(_));
        if moved {
            *phase = Phase::Exited(record);
        }
        moved
    });
    if moved {
        let event = v1::ContainerEventType::ContainerStoppedEvent;
        events::send(inner, &container.record.id, &container.record.sandbox_id, event);
    }
}

async fn wait_for(
    inner: &Inner,
    changes: &mut tokio::sync::watch::Receiver<Phase>,
    patience: Duration,
    reached: impl FnMut(&Phase) -> bool,
) -> bool {
    let timeout = inner.clock.sleep(patience);
    tokio::select! {
        done = changes.wait_for(reached) => done.is_ok(),
        () = timeout => false,
    }
}

/// Stops a container: its signal, then after `timeout` seconds SIGKILL. Not there, or ended, is not an error.
pub(crate) async fn stop(inner: &Arc<Inner>, id: &str, timeout: i64) -> Result<(), Error> {
    let Ok(container) = get(inner, id) else { return Ok(()) };
    if !container.running() {
        return Ok(());
    }
    if let Ok(seconds @ 1..) = u64::try_from(timeout) {
        let mut changes = container.phase.subscribe();
        signal(inner, &container, container.record.stop_signal).await?;
        let over = |phase: &Phase| matches!(phase, Phase::Exited(_));
        if wait_for(inner, &mut changes, Duration::from_secs(seconds), over).await {
            return Ok(());
        }
    }
    end(inner, &container).await
}

/// Kills a container, if it runs, and waits for its end.
pub(crate) async fn end(inner: &Arc<Inner>, container: &Container) -> Result<(), Error> {
    if !container.running() {
        return Ok(());
    }
    let mut changes = container.phase.subscribe();
    signal(inner, container, SIGKILL).await?;
    if wait_for(inner, &mut changes, DYING, |phase| matches!(phase, Phase::Exited(_))).await {
        return Ok(());
    }
    Err(Error::Timeout(format!(
        "container {:?} does not end though it was killed; it may wait for a device",
        container.record.id
    )))
}

async fn signal(inner: &Inner, container: &Container, signal: i32) -> Result<(), Error> {
    let state = inner.config.state_dir(&container.record.sandbox_id);
    let request = Request::Signal { container: container.record.id.clone(), signal };
    match client::ask(&state, &request, &[]).await {
        Ok(_) => Ok(()),
        // The watcher sees that too and ends what is left.
        Err(_) if !container.running() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a container, killing it first if it runs. Not there is not an error.
pub(crate) async fn remove(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let Ok(container) = get(inner, id) else { return Ok(()) };
    let _only = container.busy.lock().await;
    end(inner, &container).await?;
    let id = container.record.id.clone();
    let state = inner.config.state_dir(&container.record.sandbox_id);
    if container.record.started {
        // A shim that is gone has forgotten.
        let _ = client::ask(&state, &Request::Forget { container: id.clone() }, &[]).await;
    }
    let (dir, group) = (inner.config.container_dir(&id), inner.cgroups.group(&container.spec.cgroup)?);
    blocking(move || {
        remove_group(&group)?;
        remove_dir(&dir)
    })
    .await?;
    {
        let mut model = inner.model.lock();
        model.containers.remove(&id);
        model.release(&id);
    }
    events::send(inner, &id, &container.record.sandbox_id, v1::ContainerEventType::ContainerDeletedEvent);
    Ok(())
}

fn remove_dir(dir: &std::path::Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Ok(Err(error).context(|| format!("remove {}", dir.display()))?)
        }
        _ => Ok(()),
    }
}

/// Changes a container's limits.
pub(crate) async fn update(
    inner: &Arc<Inner>,
    request: v1::UpdateContainerResourcesRequest,
) -> Result<(), Error> {
    let container = get(inner, &request.container_id)?;
    let _only = container.busy.lock().await;
    if matches!(container.phase(), Phase::Exited(_)) {
        return Err(Error::State("cannot update an exited container".into()));
    }
    let wanted = request.linux.unwrap_or_default();
    let mut limits = spec::resources(&wanted);
    limits.devices = None;
    let mut record = container.record.clone();
    record.resources = Some(spec::merged(record.resources.clone().unwrap_or_default(), &wanted));
    let mut new_spec = (*container.spec).clone();
    let devices = new_spec.resources.devices.take();
    new_spec.resources = spec::resources(&record.resources.clone().unwrap_or_default());
    new_spec.resources.devices = devices;
    let group = container.running().then(|| inner.cgroups.group(&container.spec.cgroup)).transpose()?;
    let (dir, id) = (inner.config.container_dir(&record.id), record.id.clone());
    let (saved, saved_spec) = (record.clone(), new_spec.clone());
    blocking(move || {
        group.map_or(Ok(()), |group| group.set(&limits))?;
        records::save(&dir, &saved)?;
        records::save_spec(&dir, &saved_spec)
    })
    .await?;
    if let Some(known) = inner.model.lock().containers.get_mut(&id) {
        known.record = record;
        known.spec = Arc::new(new_spec);
    }
    Ok(())
}

/// Opens a container's log anew after a rotation.
pub(crate) async fn reopen_log(inner: &Arc<Inner>, id: &str) -> Result<(), Error> {
    let container = get(inner, id)?;
    if !container.running() {
        return Err(Error::State("container is not running".into()));
    }
    let state = inner.config.state_dir(&container.record.sandbox_id);
    client::ask(&state, &Request::ReopenLog { container: container.record.id }, &[]).await?;
    Ok(())
}

/// Layers that containers stand on, for the collection of others.
pub(crate) fn layers_in_use(inner: &Inner) -> Vec<String> {
    inner.model.lock().layers_in_use()
}

/// Removes an image; its layers go when no container needs them.
pub(crate) async fn remove_image(inner: &Arc<Inner>, name: String) -> Result<(), Error> {
    let (store, used): (Store, _) = (inner.images.clone(), layers_in_use(inner));
    blocking(move || Ok(store.remove(&name, &used)?)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_every_name() {
        for (name, number) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMINPLUS3", 37),
            ("SIGRTMIN+3", 37),
            ("SIGRTMAXMINUS1", 63),
            ("SIGRTMAX", 64),
            ("SIGPOLL", 29),
        ] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
        assert_eq!(signal_number("SIGNOTHING"), None);
        assert_eq!(signal_number("0"), None);
    }
}
