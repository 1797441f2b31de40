//! CRI's `RuntimeService`: requests and responses, nothing else.

use super::model::selected;
use super::{Error, Inner, blocking, containers, exec, readiness, sandboxes, stats, status};
use crate::streaming::Session;
use cri::v1;
use cri::v1::runtime_service_server::RuntimeService;
use futures::Stream;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::{Once, StreamExt};
use tonic::{Request, Response, Status};

pub(crate) struct Service(pub(crate) Arc<Inner>);

type Answer<T> = Result<Response<T>, Status>;

fn once<T>(message: T) -> Response<Once<Result<T, Status>>> {
    Response::new(tokio_stream::once(Ok(message)))
}

impl Service {
    fn sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Vec<v1::PodSandbox> {
        let filter = filter.unwrap_or_default();
        let model = self.0.model.lock();
        let all = model.sandboxes.values().filter(|each| each.record.complete || each.alive);
        all.filter(|each| {
            each.record.id.starts_with(&filter.id)
                && filter.state.as_ref().is_none_or(|state| state.state() == each.state())
                && selected(&each.config().labels, &filter.label_selector)
        })
        .map(status::sandbox_item)
        .collect()
    }

    fn containers(&self, filter: Option<v1::ContainerFilter>) -> Vec<v1::Container> {
        let filter = filter.unwrap_or_default();
        let model = self.0.model.lock();
        let all = model.containers.values();
        all.filter(|each| {
            each.record.id.starts_with(&filter.id)
                && each.record.sandbox_id.starts_with(&filter.pod_sandbox_id)
                && filter.state.as_ref().is_none_or(|state| state.state() == each.state())
                && selected(&each.config().labels, &filter.label_selector)
        })
        .map(status::container_item)
        .collect()
    }

    async fn container_stats(
        &self,
        filter: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>, Error> {
        let inner = self.0.clone();
        blocking(move || {
            let found = stats::containers_for(&inner, &filter.unwrap_or_default());
            found.iter().map(|each| stats::container(&inner, each)).collect()
        })
        .await
    }

    async fn sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>, Error> {
        let inner = self.0.clone();
        blocking(move || {
            let found = stats::sandboxes_for(&inner, &filter.unwrap_or_default());
            found.iter().map(|each| stats::sandbox(&inner, each)).collect()
        })
        .await
    }
}

#[tonic::async_trait]
impl RuntimeService for Service {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "windlass".into(),
            runtime_version: self.0.config.version.clone(),
            runtime_api_version: "v1".into(),
        }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let (inner, verbose) = (self.0.clone(), request.into_inner().verbose);
        Ok(Response::new(blocking(move || Ok(readiness::status(&inner, verbose))).await?))
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs.into() };
        Ok(Response::new(v1::RuntimeConfigResponse { linux: Some(linux) }))
    }

    // The pod CIDR matters to runtimes that write CNI configurations from templates. This one does not.
    async fn update_runtime_config(
        &self,
        _: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        Ok(Response::new(v1::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        let pod_sandbox_id = sandboxes::run(&self.0, request.into_inner()).await?;
        Ok(Response::new(v1::RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        sandboxes::stop(&self.0, &request.into_inner().pod_sandbox_id).await?;
        Ok(Response::new(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        sandboxes::remove(&self.0, &request.into_inner().pod_sandbox_id).await?;
        Ok(Response::new(v1::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let (sandbox, all) = {
            let model = self.0.model.lock();
            let sandbox = model.sandbox(&request.pod_sandbox_id).cloned()?;
            let all = model.containers_of(&sandbox.record.id);
            (sandbox, all)
        };
        let mut response = v1::PodSandboxStatusResponse {
            status: Some(status::sandbox(&sandbox)),
            containers_statuses: all.iter().map(status::container).collect(),
            timestamp: self.0.now(),
            ..Default::default()
        };
        if request.verbose {
            let state = self.0.config.state_dir(&sandbox.record.id);
            let info = serde_json::json!({"pid": sandbox.pid, "stateDirectory": state, "addresses": sandbox.record.addresses});
            response.info.insert("info".into(), info.to_string());
        }
        Ok(Response::new(response))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        Ok(Response::new(v1::ListPodSandboxResponse { items: self.sandboxes(request.into_inner().filter) }))
    }

    type StreamPodSandboxesStream = Once<Result<v1::StreamPodSandboxesResponse, Status>>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<v1::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let pod_sandboxes = self.sandboxes(request.into_inner().filter);
        Ok(once(v1::StreamPodSandboxesResponse { pod_sandboxes }))
    }

    // The kubelet has changed the pod's cgroup already; this runtime keeps no limits of its own for it.
    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        self.0.model.lock().sandbox(&request.into_inner().pod_sandbox_id)?;
        Ok(Response::new(v1::UpdatePodSandboxResourcesResponse {}))
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let container_id = containers::create(&self.0, request.into_inner()).await?;
        Ok(Response::new(v1::CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        containers::start(&self.0, &request.into_inner().container_id).await?;
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        containers::stop(&self.0, &request.container_id, request.timeout).await?;
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        containers::remove(&self.0, &request.into_inner().container_id).await?;
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        Ok(Response::new(v1::ListContainersResponse {
            containers: self.containers(request.into_inner().filter),
        }))
    }

    type StreamContainersStream = Once<Result<v1::StreamContainersResponse, Status>>;

    async fn stream_containers(
        &self,
        request: Request<v1::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        Ok(once(v1::StreamContainersResponse { containers: self.containers(request.into_inner().filter) }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.0.model.lock().container(&request.container_id).cloned()?;
        let mut response =
            v1::ContainerStatusResponse { status: Some(status::container(&container)), ..Default::default() };
        if request.verbose {
            let pid = match container.phase() {
                super::model::Phase::Running { pid, .. } => pid,
                _ => 0,
            };
            let info = serde_json::json!({"pid": pid, "sandboxID": container.record.sandbox_id, "runtimeSpec": *container.spec});
            response.info.insert("info".into(), info.to_string());
        }
        Ok(Response::new(response))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        containers::update(&self.0, request.into_inner()).await?;
        Ok(Response::new(v1::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        containers::reopen_log(&self.0, &request.into_inner().container_id).await?;
        Ok(Response::new(v1::ReopenContainerLogResponse {}))
    }

    async fn checkpoint_container(
        &self,
        _: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        Err(Error::Unsupported("checkpointing of containers").into())
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        Ok(Response::new(exec::sync(&self.0, request.into_inner()).await?))
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        let request = request.into_inner();
        let container = exec::running(&self.0, &request.container_id)?;
        let request = v1::ExecRequest { container_id: container.record.id, ..request };
        let url = self.0.streaming.prepare(&self.0, Session::Exec(request))?;
        Ok(Response::new(v1::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        let request = request.into_inner();
        let container = exec::running(&self.0, &request.container_id)?;
        let request = v1::AttachRequest { container_id: container.record.id, ..request };
        let url = self.0.streaming.prepare(&self.0, Session::Attach(request))?;
        Ok(Response::new(v1::AttachResponse { url }))
    }

    async fn port_forward(
        &self,
        request: Request<v1::PortForwardRequest>,
    ) -> Answer<v1::PortForwardResponse> {
        let request = request.into_inner();
        let sandbox = self.0.model.lock().sandbox(&request.pod_sandbox_id).cloned()?;
        if sandbox.state() != v1::PodSandboxState::SandboxReady {
            return Err(
                Error::State(format!("sandbox container {:?} is not running", sandbox.record.id)).into()
            );
        }
        let request = v1::PortForwardRequest { pod_sandbox_id: sandbox.record.id, ..request };
        let url = self.0.streaming.prepare(&self.0, Session::PortForward(request))?;
        Ok(Response::new(v1::PortForwardResponse { url }))
    }

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        let container = self.0.model.lock().container(&request.into_inner().container_id).cloned()?;
        let inner = self.0.clone();
        let stats = blocking(move || stats::container(&inner, &container)).await?;
        Ok(Response::new(v1::ContainerStatsResponse { stats: Some(stats) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        let stats = Service::container_stats(self, request.into_inner().filter).await?;
        Ok(Response::new(v1::ListContainerStatsResponse { stats }))
    }

    type StreamContainerStatsStream = Once<Result<v1::StreamContainerStatsResponse, Status>>;

    async fn stream_container_stats(
        &self,
        request: Request<v1::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let container_stats = Service::container_stats(self, request.into_inner().filter).await?;
        Ok(once(v1::StreamContainerStatsResponse { container_stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        let sandbox = self.0.model.lock().sandbox(&request.into_inner().pod_sandbox_id).cloned()?;
        let inner = self.0.clone();
        let stats = blocking(move || stats::sandbox(&inner, &sandbox)).await?;
        Ok(Response::new(v1::PodSandboxStatsResponse { stats: Some(stats) }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        let stats = self.sandbox_stats(request.into_inner().filter).await?;
        Ok(Response::new(v1::ListPodSandboxStatsResponse { stats }))
    }

    type StreamPodSandboxStatsStream = Once<Result<v1::StreamPodSandboxStatsResponse, Status>>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<v1::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let pod_sandbox_stats = self.sandbox_stats(request.into_inner().filter).await?;
        Ok(once(v1::StreamPodSandboxStatsResponse { pod_sandbox_stats }))
    }

    type GetContainerEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::ContainerEventResponse, Status>> + Send>>;

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let events = tokio_stream::wrappers::BroadcastStream::new(self.0.events.subscribe());
        let events = events.map(|event| {
            // A reader that is too slow has missed some: it must list again, and its stream's end says so.
            event.map_err(|_| {
                Status::data_loss("the reader was too slow and missed events; list and watch again")
            })
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        Err(Error::Unsupported("listing of pod metrics (PodAndContainerStatsFromCRI)").into())
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        Err(Error::Unsupported("listing of pod metrics (PodAndContainerStatsFromCRI)").into())
    }

    type StreamPodSandboxMetricsStream = Once<Result<v1::StreamPodSandboxMetricsResponse, Status>>;

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<v1::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        Err(Error::Unsupported("listing of pod metrics (PodAndContainerStatsFromCRI)").into())
    }
}
