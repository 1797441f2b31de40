//! Starts one container: back-off, image, configuration, create, start, postStart hook.

use crate::container::create::{self, TERMINATION_PATH};
use crate::container::security::{self, ImageUser};
use crate::container::{env, env_file, mounts, service_env};
use crate::kubelet::Kubelet;
use crate::model::{RuntimePod, State};
use crate::pod::backoff::go_duration;
use crate::pod::kill::{self, Stop};
use crate::pod::worker::Worker;
use crate::pod::{lifecycle, sandbox};
use crate::spec::{self, Role};
use crate::volumes::Prepared;
use api::Kind;
use api::k8s_openapi::api::core::v1::{Container, Pod};
use client::EventType;
use cri::v1;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Files of variables by volume and path.
type EnvFiles = BTreeMap<(String, String), Result<Option<env_file::Variables>, String>>;

/// A container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartError {
    /// Reason for the container's waiting state, such as `ErrImagePull`.
    pub(crate) reason: String,
    /// Message for the container's waiting state.
    pub(crate) message: String,
    /// When to try again, where that is known.
    pub(crate) retry: Option<Duration>,
}

impl StartError {
    /// A failure to be tried again with back-off.
    pub(crate) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into(), retry: None }
    }
}

/// Where a container is started.
pub(crate) struct Site<'a> {
    /// Sandbox.
    pub(crate) sandbox_id: String,
    /// Its configuration.
    pub(crate) sandbox_config: v1::PodSandboxConfig,
    /// What runs.
    pub(crate) runtime: Arc<RuntimePod>,
    /// Volumes.
    pub(crate) volumes: &'a Prepared,
}

/// Back-off of a container, once for each definition.
fn key(pod: &Pod, container: &Container) -> String {
    format!("{}/{}/{:x}", spec::uid(pod), container.name, spec::hash(container))
}

/// Refuses to start a container that crashed too recently.
fn check_crashes(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    runtime: &RuntimePod,
) -> Result<(), StartError> {
    // Not only the newest: one that was just stopped for a failed probe still shows as running.
    let mut attempts = runtime.containers.iter().filter(|c| c.name == container.name);
    let Some(ended) = attempts.find(|c| c.state == State::Exited) else { return Ok(()) };
    let now = client::time::now(&*kubelet.clock).as_nanosecond();
    let since = now - i128::from(ended.finished_at);
    let since = Duration::from_nanos(u64::try_from(since).unwrap_or(0));
    let key = key(pod, container);
    if let Some((delay, left)) = kubelet.crashes.remaining(&key, since) {
        let message =
            format!("Back-off restarting failed container {} in pod {}", container.name, spec::describe(pod));
        kubelet.container_event(pod, &container.name, EventType::Warning, "BackOff", message);
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            go_duration(delay),
            container.name,
            spec::describe(pod)
        );
        let reason = "CrashLoopBackOff".to_owned();
        return Err(StartError { reason, message, retry: Some(left) });
    }
    kubelet.crashes.next(&key, since, kubelet.clock.instant());
    Ok(())
}

/// How many attempts came before, also those whose records are gone.
fn restart_count(pod: &Pod, role: Role, container: &Container, runtime: &RuntimePod) -> i32 {
    if let Some(latest) = runtime.latest(&container.name) {
        return latest.restart_count + 1;
    }
    let status = pod.status.as_ref();
    let list = status.and_then(|s| match role {
        Role::Init | Role::Sidecar => s.init_container_statuses.as_ref(),
        Role::Regular => s.container_statuses.as_ref(),
        Role::Ephemeral => s.ephemeral_container_statuses.as_ref(),
    });
    let old = list.and_then(|l| l.iter().find(|s| s.name == container.name));
    old.filter(|o| o.container_id.is_some()).map_or(0, |o| o.restart_count + 1)
}

async fn fetch<K: Kind>(
    followed: &crate::references::Followed<K>,
    pod: &Pod,
    names: Vec<String>,
) -> Result<BTreeMap<String, Option<Arc<K>>>, String> {
    let mut found = BTreeMap::new();
    for name in names {
        let object = match followed.get(spec::uid(pod), spec::namespace(pod), &name).await {
            Ok(object) => Some(object),
            Err(status) if status.is_not_found() => None,
            Err(status) => return Err(status.message),
        };
        found.insert(name, object);
    }
    Ok(found)
}

/// Reads the files that the environment takes variables from.
async fn env_files(volumes: &Prepared, container: &Container) -> Result<EnvFiles, String> {
    let places: Vec<_> = env::files(container)
        .into_iter()
        .filter_map(|place| Some((volumes.get(&place.0)?.path.clone(), place)))
        .collect();
    if places.is_empty() {
        return Ok(EnvFiles::new());
    }
    let read = move || {
        let read = |(dir, place): (PathBuf, (String, String))| {
            let found = env_file::read(&dir, &place.1);
            (place, found)
        };
        places.into_iter().map(read).collect()
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())
}

async fn environment(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    volumes: &Prepared,
) -> Result<Vec<(String, String)>, String> {
    let (maps, secrets) = env::names(container);
    let lookup = env::Lookup {
        config_maps: fetch(&kubelet.references.config_maps, pod, maps).await?,
        secrets: fetch(&kubelet.references.secrets, pod, secrets).await?,
        files: env_files(volumes, container).await?,
    };
    kubelet.services.synced().await;
    let links = spec::spec(pod).enable_service_links.unwrap_or(true);
    let services = service_env::for_pod(&kubelet.services.store().list(), spec::namespace(pod), links);
    env::make(pod, container, &lookup, &services, &kubelet.field_values(pod))
}

struct Attempt<'a> {
    kubelet: &'a Arc<Kubelet>,
    worker: &'a Worker,
    pod: &'a Arc<Pod>,
    role: Role,
    container: &'a Container,
    site: &'a Site<'a>,
}

impl Attempt<'_> {
    fn failed(&self, reason: &str, why: impl std::fmt::Display) -> StartError {
        let error = StartError::new(reason, why.to_string());
        self.event(EventType::Warning, "Failed", format!("Error: {why}"));
        error
    }

    fn event(&self, kind: EventType, reason: &str, message: String) {
        self.kubelet.container_event(self.pod, &self.container.name, kind, reason, message);
    }

    /// The container whose processes an ephemeral one wants to see.
    fn target(&self) -> Option<String> {
        let s = spec::spec(self.pod);
        let list = s.ephemeral_containers.as_deref().unwrap_or_default();
        let name = list.iter().find(|e| e.name == self.container.name)?.target_container_name.clone()?;
        self.site.runtime.latest(&name).map(|c| c.id.clone())
    }

    async fn config(&self, image_ref: String, user: ImageUser) -> Result<v1::ContainerConfig, String> {
        let (kubelet, pod, container) = (self.kubelet, self.pod, self.container);
        security::check_non_root(pod, container, &user)?;
        let env = environment(kubelet, pod, container, self.site.volumes).await?;
        let known = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let mounts = mounts::make(kubelet, pod, container, self.site.volumes, &known).await?;
        Ok(create::config(&create::Inputs {
            pod,
            container,
            restart_count: restart_count(pod, self.role, container, &self.site.runtime),
            image_ref,
            user,
            env,
            mounts,
            target: self.target(),
            memory_capacity: kubelet.machine.memory_bytes,
            security: sandbox::security_defaults(kubelet),
        }))
    }

    async fn run(&self) -> Result<String, StartError> {
        let (kubelet, container) = (self.kubelet, self.container);
        let image = match kubelet.images.ensure(kubelet, self.pod, container, &self.site.sandbox_config).await
        {
            Ok(image) => image,
            Err(error) => {
                self.event(EventType::Warning, "Failed", format!("Error: {}", error.reason));
                return Err(error);
            }
        };
        let config = self
            .config(image.reference, image.user)
            .await
            .map_err(|why| self.failed("CreateContainerConfigError", why))?;
        let making = self.worker.making();
        let id = kubelet
            .runtime
            .create_container(&self.site.sandbox_id, config, self.site.sandbox_config.clone())
            .await
            .map_err(|error| self.failed("CreateContainerError", error.message))?;
        self.event(EventType::Normal, "Created", "Container created".to_owned());
        kubelet
            .runtime
            .start_container(&id)
            .await
            .map_err(|error| self.failed("RunContainerError", error.message))?;
        drop(making);
        self.event(EventType::Normal, "Started", "Container started".to_owned());
        Ok(id)
    }
}

/// Starts a container.
pub(crate) async fn container(
    kubelet: &Arc<Kubelet>,
    worker: &Worker,
    pod: &Arc<Pod>,
    role: Role,
    container: &Container,
    site: &Site<'_>,
) -> Result<(), StartError> {
    check_crashes(kubelet, pod, container, &site.runtime)?;
    let attempt = Attempt { kubelet, worker, pod, role, container, site };
    let id = attempt.run().await?;
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
    // The container shows as running while its hook runs.
    if let Ok(fresh) = kubelet.runtime.pod(&worker.uid).await {
        worker.set_runtime(fresh);
        kubelet.status.refresh(kubelet, worker, false);
    }
    if let Err(why) = lifecycle::run(kubelet, pod, container, &id, hook).await {
        attempt.event(EventType::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
        tracing::info!(pod = spec::describe(pod), container = container.name, "postStart hook failed: {why}");
        let message = Some("FailedPostStartHook".to_owned());
        let stop = Stop { id: &id, name: &container.name, message, grace: spec::grace_seconds(pod) };
        if let Err(error) = kill::container(kubelet, worker, pod, stop).await {
            tracing::warn!(pod = spec::describe(pod), "failed to stop a container: {error}; trying again");
        }
        return Err(StartError::new("PostStartHookError", format!("PostStartHook failed: {why}")));
    }
    Ok(())
}

/// Where the container finds its termination log.
pub(crate) fn termination_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(TERMINATION_PATH)
}
