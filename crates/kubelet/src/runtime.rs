//! The container runtime over CRI v1, in the kubelet's own words.
//!
//! The only file (with `runtime/convert.rs`) that reads CRI messages about running pods. Deliberately absent:
//! decisions, retries and caching; every answer is fresh.

mod convert;
mod termination;

use crate::model::{RuntimePod, labels};
use cri::v1;
use futures::future::join_all;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tonic::{Code, Request, Status};

/// A call to the runtime failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub(crate) struct RuntimeError {
    /// gRPC code.
    pub(crate) code: Code,
    /// The runtime's words.
    pub(crate) message: String,
}

impl From<Status> for RuntimeError {
    fn from(status: Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

impl RuntimeError {
    /// Whether the thing asked about does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }
}

type Result<T> = std::result::Result<T, RuntimeError>;

/// A connection to one runtime. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    clients: cri::Clients,
    /// Name of the runtime: the scheme of container ids.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
}

/// Answer of a command run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecOutput {
    /// Both streams, standard output first.
    pub(crate) output: Vec<u8>,
    /// Exit code.
    pub(crate) code: i32,
}

fn request<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Ordinary calls; upstream's `runtimeRequestTimeout`.
const PATIENCE: Duration = Duration::from_secs(120);

impl Runtime {
    /// Speaks to the runtime behind `clients` and asks who it is.
    pub(crate) async fn new(clients: cri::Clients) -> Result<Self> {
        let mut runtime = clients.runtime.clone();
        let version = runtime
            .version(request(v1::VersionRequest { version: "0.1.0".to_owned() }, PATIENCE))
            .await?
            .into_inner();
        Ok(Self { clients, name: version.runtime_name, version: version.runtime_version })
    }

    /// Conditions such as `RuntimeReady` and `NetworkReady`.
    pub(crate) async fn conditions(&self) -> Result<Vec<v1::RuntimeCondition>> {
        let answer = self
            .clients
            .runtime
            .clone()
            .status(request(v1::StatusRequest { verbose: false }, PATIENCE))
            .await?;
        Ok(answer.into_inner().status.unwrap_or_default().conditions)
    }

    /// Tells the runtime the node's pod range.
    pub(crate) async fn set_pod_cidr(&self, cidr: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.to_owned() });
        let config =
            v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
        self.clients.runtime.clone().update_runtime_config(request(config, PATIENCE)).await?;
        Ok(())
    }

    async fn list(
        &self,
        selector: HashMap<String, String>,
    ) -> Result<(Vec<v1::PodSandbox>, Vec<v1::Container>)> {
        let (mut one, mut two) = (self.clients.runtime.clone(), self.clients.runtime.clone());
        let sandboxes = v1::ListPodSandboxRequest {
            filter: Some(v1::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() }),
        };
        let containers = v1::ListContainersRequest {
            filter: Some(v1::ContainerFilter { label_selector: selector, ..Default::default() }),
        };
        let (sandboxes, containers) = tokio::try_join!(
            one.list_pod_sandbox(request(sandboxes, PATIENCE)),
            two.list_containers(request(containers, PATIENCE)),
        )?;
        Ok((sandboxes.into_inner().items, containers.into_inner().containers))
    }

    /// Everything about one pod.
    pub(crate) async fn pod(&self, uid: &str) -> Result<RuntimePod> {
        let selector = HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
        let (sandboxes, containers) = self.list(selector).await?;
        let mut pod = RuntimePod { uid: uid.to_owned(), ..RuntimePod::default() };
        let sandboxes = join_all(sandboxes.iter().map(|s| self.sandbox_status(&s.id))).await;
        for status in sandboxes {
            // What vanishes between list and status is gone.
            if let Some(status) = found(status)?.flatten() {
                convert::sandbox(status, &mut pod);
            }
        }
        let statuses = join_all(containers.iter().map(|c| self.container_status(&c.id))).await;
        for (listed, status) in containers.iter().zip(statuses) {
            if let Some(status) = found(status)?.flatten() {
                let log = termination::Source::of(&status);
                let mut container = convert::container(&listed.pod_sandbox_id, status);
                if let Some(words) = log.read().await {
                    container.message = words;
                }
                pod.containers.push(container);
            }
        }
        pod.sort();
        Ok(pod)
    }

    /// Every pod that the runtime knows, with names and states only.
    pub(crate) async fn pods(&self) -> Result<Vec<RuntimePod>> {
        let (sandboxes, containers) = self.list(HashMap::new()).await?;
        let mut pods: BTreeMap<String, RuntimePod> = BTreeMap::new();
        for sandbox in sandboxes {
            let Some(uid) = sandbox.labels.get(labels::POD_UID).cloned() else { continue };
            let pod = pods.entry(uid.clone()).or_insert_with(|| RuntimePod { uid, ..RuntimePod::default() });
            convert::listed_sandbox(sandbox, pod);
        }
        for container in containers {
            let Some(uid) = container.labels.get(labels::POD_UID).cloned() else { continue };
            let pod = pods.entry(uid.clone()).or_insert_with(|| RuntimePod { uid, ..RuntimePod::default() });
            convert::listed_container(container, pod);
        }
        Ok(pods
            .into_values()
            .map(|mut pod| {
                pod.sort();
                pod
            })
            .collect())
    }

    async fn sandbox_status(&self, id: &str) -> Result<Option<v1::PodSandboxStatus>> {
        let ask = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        Ok(self.clients.runtime.clone().pod_sandbox_status(request(ask, PATIENCE)).await?.into_inner().status)
    }

    async fn container_status(&self, id: &str) -> Result<Option<v1::ContainerStatus>> {
        let ask = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        Ok(self.clients.runtime.clone().container_status(request(ask, PATIENCE)).await?.into_inner().status)
    }

    /// Makes and starts a sandbox; returns its id.
    pub(crate) async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let ask = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        // Networks may be slow to come; upstream allows twice the ordinary time.
        let answer = self.clients.runtime.clone().run_pod_sandbox(request(ask, PATIENCE * 2)).await?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    /// Stops a sandbox and what runs in it.
    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let ask = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.clients.runtime.clone().stop_pod_sandbox(request(ask, PATIENCE)).await)
    }

    /// Removes a stopped sandbox.
    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let ask = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.clients.runtime.clone().remove_pod_sandbox(request(ask, PATIENCE)).await)
    }

    /// Makes a container; returns its id.
    pub(crate) async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let ask = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let answer = self.clients.runtime.clone().create_container(request(ask, PATIENCE)).await?;
        Ok(answer.into_inner().container_id)
    }

    /// Starts a container.
    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        let ask = v1::StartContainerRequest { container_id: id.to_owned() };
        self.clients.runtime.clone().start_container(request(ask, PATIENCE)).await?;
        Ok(())
    }

    /// Stops a container: its stop signal, then SIGKILL after `grace` seconds. Returns once it has ended.
    pub(crate) async fn stop_container(&self, id: &str, grace: i64) -> Result<()> {
        let ask = v1::StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        let patience = PATIENCE + Duration::from_secs(grace.max(0).unsigned_abs());
        gone_is_fine(self.clients.runtime.clone().stop_container(request(ask, patience)).await)
    }

    /// Removes a container.
    pub(crate) async fn remove_container(&self, id: &str) -> Result<()> {
        let ask = v1::RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_fine(self.clients.runtime.clone().remove_container(request(ask, PATIENCE)).await)
    }

    /// Makes the runtime open a container's log file anew, after it was rotated away.
    pub(crate) async fn reopen_log(&self, id: &str) -> Result<()> {
        let ask = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.clients.runtime.clone().reopen_container_log(request(ask, PATIENCE)).await?;
        Ok(())
    }

    /// Runs a command and waits for its end, at most `timeout`.
    pub(crate) async fn exec_sync(&self, id: &str, cmd: &[String], timeout: Duration) -> Result<ExecOutput> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let ask = v1::ExecSyncRequest { container_id: id.to_owned(), cmd: cmd.to_vec(), timeout: seconds };
        let patience = if timeout.is_zero() { PATIENCE } else { timeout + Duration::from_secs(5) };
        let answer = self.clients.runtime.clone().exec_sync(request(ask, patience)).await?.into_inner();
        let mut output = answer.stdout;
        output.extend_from_slice(&answer.stderr);
        Ok(ExecOutput { output, code: answer.exit_code })
    }

    /// URL that speaks the streaming protocol of an exec.
    pub(crate) async fn exec(&self, ask: v1::ExecRequest) -> Result<String> {
        Ok(self.clients.runtime.clone().exec(request(ask, PATIENCE)).await?.into_inner().url)
    }

    /// URL that speaks the streaming protocol of an attach.
    pub(crate) async fn attach(&self, ask: v1::AttachRequest) -> Result<String> {
        Ok(self.clients.runtime.clone().attach(request(ask, PATIENCE)).await?.into_inner().url)
    }

    /// URL that speaks the streaming protocol of port forwarding.
    pub(crate) async fn port_forward(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String> {
        let ask = v1::PortForwardRequest { pod_sandbox_id: sandbox_id.to_owned(), port: ports };
        Ok(self.clients.runtime.clone().port_forward(request(ask, PATIENCE)).await?.into_inner().url)
    }

    /// What happens to containers, from now on.
    pub(crate) async fn events(&self) -> Result<tonic::Streaming<v1::ContainerEventResponse>> {
        Ok(self.clients.runtime.clone().get_container_events(v1::GetEventsRequest {}).await?.into_inner())
    }

    /// An image that is present, `None` when it is not.
    pub(crate) async fn image(&self, image: &str) -> Result<Option<v1::Image>> {
        let spec = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let ask = v1::ImageStatusRequest { image: Some(spec), verbose: false };
        let answer = self.clients.images.clone().image_status(request(ask, PATIENCE)).await?;
        Ok(answer.into_inner().image.filter(|image| !image.id.is_empty()))
    }

    /// Every image.
    pub(crate) async fn images(&self) -> Result<Vec<v1::Image>> {
        let ask = v1::ListImagesRequest { filter: None };
        Ok(self.clients.images.clone().list_images(request(ask, PATIENCE)).await?.into_inner().images)
    }

    /// Pulls an image; returns its reference. Takes as long as it takes.
    pub(crate) async fn pull(
        &self,
        image: &str,
        user_image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            user_specified_image: user_image.to_owned(),
            ..Default::default()
        };
        let ask = v1::PullImageRequest { image: Some(spec), auth, sandbox_config: Some(sandbox) };
        Ok(self.clients.images.clone().pull_image(ask).await?.into_inner().image_ref)
    }

    /// Removes an image.
    pub(crate) async fn remove_image(&self, image: &str) -> Result<()> {
        let spec = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let ask = v1::RemoveImageRequest { image: Some(spec) };
        self.clients.images.clone().remove_image(request(ask, PATIENCE)).await?;
        Ok(())
    }

    /// Statistics of every pod.
    pub(crate) async fn pod_stats(&self) -> Result<Vec<v1::PodSandboxStats>> {
        let ask = v1::ListPodSandboxStatsRequest { filter: None };
        Ok(self
            .clients
            .runtime
            .clone()
            .list_pod_sandbox_stats(request(ask, PATIENCE))
            .await?
            .into_inner()
            .stats)
    }

    /// Statistics of every container.
    pub(crate) async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let ask = v1::ListContainerStatsRequest { filter: None };
        Ok(self
            .clients
            .runtime
            .clone()
            .list_container_stats(request(ask, PATIENCE))
            .await?
            .into_inner()
            .stats)
    }
}

/// A thing that is not found reads as `None`.
fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone_is_fine<T>(answer: std::result::Result<T, Status>) -> Result<()> {
    found(answer.map_err(RuntimeError::from)).map(drop)
}
