//! A CRI runtime in memory. Containers run until the test (or a stop) ends them.

use crate::model::labels;
use component::clock::FakeClock;
use component::{Clock, Tasks};
use cri::v1;
use cri::v1::image_service_server::{ImageService, ImageServiceServer};
use cri::v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{broadcast, watch};
use tonic::{Request, Response, Status};

#[derive(Clone)]
struct Box_ {
    config: v1::PodSandboxConfig,
    ready: bool,
    created_at: i64,
}

#[derive(Clone)]
struct Made {
    sandbox: String,
    config: v1::ContainerConfig,
    log_directory: String,
    state: v1::ContainerState,
    times: (i64, i64, i64),
    exit_code: i32,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, Box_>,
    containers: BTreeMap<String, Made>,
    calls: Vec<String>,
    serial: u32,
    network_down: bool,
    bad_images: HashMap<String, String>,
    pulled: Vec<String>,
    exec_code: i32,
    streaming: String,
}

#[derive(Clone)]
pub(super) struct FakeRuntime {
    state: Arc<Mutex<State>>,
    clock: Arc<FakeClock>,
    events: broadcast::Sender<v1::ContainerEventResponse>,
    /// Whether sandboxes are held back, and how many wait.
    held: watch::Sender<(bool, usize)>,
}

impl FakeRuntime {
    pub(super) async fn serve(socket: &Path, clock: Arc<FakeClock>, tasks: &Tasks) -> Self {
        let this = Self {
            state: Arc::default(),
            clock,
            events: broadcast::channel(1024).0,
            held: watch::Sender::new((false, 0)),
        };
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder()
            .add_service(RuntimeServiceServer::new(this.clone()))
            .add_service(ImageServiceServer::new(this.clone()))
            .serve_with_incoming(incoming);
        tasks.spawn_until_stopped("fake runtime", async move {
            let _ = server.await;
        });
        this
    }

    fn now(&self) -> i64 {
        let since = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_nanos()).unwrap()
    }

    /// What it was asked to do, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        self.calls().iter().filter(|c| c.starts_with(prefix)).count()
    }

    pub(super) fn set_network_ready(&self, ready: bool) {
        self.state.lock().network_down = !ready;
    }

    /// Pulls of `image` fail (or work again, with `None`).
    pub(super) fn break_image(&self, image: &str, why: Option<&str>) {
        let mut state = self.state.lock();
        match why {
            Some(why) => state.bad_images.insert(image.to_owned(), why.to_owned()),
            None => state.bad_images.remove(image),
        };
    }

    /// Exit code of commands run in containers.
    pub(super) fn set_exec(&self, code: i32) {
        self.state.lock().exec_code = code;
    }

    /// Holds new sandboxes back, or lets them go on.
    pub(super) fn hold_sandboxes(&self, hold: bool) {
        self.held.send_modify(|held| held.0 = hold);
    }

    /// Waits until a sandbox is held back.
    pub(super) async fn until_held(&self) {
        self.held.subscribe().wait_for(|held| held.1 > 0).await.unwrap();
    }

    /// URL of the streaming server.
    pub(super) fn set_streaming(&self, url: &str) {
        self.state.lock().streaming = url.to_owned();
    }

    /// The configuration of the newest container called `name`.
    pub(super) fn config(&self, name: &str) -> Option<v1::ContainerConfig> {
        let state = self.state.lock();
        let mut all = state.containers.values().filter(|c| name_of(c) == name);
        all.next_back().map(|c| c.config.clone())
    }

    /// Ends the newest container called `name`.
    pub(super) fn exit(&self, name: &str, code: i32) {
        let id = {
            let state = self.state.lock();
            let mut all = state.containers.iter().filter(|(_, c)| name_of(c) == name);
            all.next_back().map(|(id, _)| id.clone()).unwrap()
        };
        self.end(&id, code);
    }

    fn end(&self, id: &str, code: i32) {
        let uid = {
            let mut state = self.state.lock();
            let Some(made) = state.containers.get_mut(id) else { return };
            if made.state == v1::ContainerState::ContainerExited {
                return;
            }
            made.state = v1::ContainerState::ContainerExited;
            made.exit_code = code;
            made.times.2 = self.now();
            made.config.labels.get(labels::POD_UID).cloned().unwrap_or_default()
        };
        self.tell(&uid, id);
    }

    fn tell(&self, uid: &str, id: &str) {
        let metadata = v1::PodSandboxMetadata { uid: uid.to_owned(), ..Default::default() };
        let status = v1::PodSandboxStatus { metadata: Some(metadata), ..Default::default() };
        let event = v1::ContainerEventResponse {
            container_id: id.to_owned(),
            pod_sandbox_status: Some(status),
            ..Default::default()
        };
        let _ = self.events.send(event);
    }

    fn id(&self, prefix: &str) -> String {
        let mut state = self.state.lock();
        state.serial += 1;
        format!("{prefix}{:04}", state.serial)
    }

    fn call(&self, text: String) {
        self.state.lock().calls.push(text);
    }
}

fn name_of(made: &Made) -> String {
    made.config.metadata.clone().unwrap_or_default().name
}

fn fits(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn gone(id: &str) -> Status {
    Status::not_found(format!("{id} not found"))
}

type Answer<T> = Result<Response<T>, Status>;

macro_rules! service {
    ($service:ident; refused: $($name:ident($req:ident) -> $resp:ident,)*;
     streams: $($kind:ident $stream:ident($sreq:ident) -> $sresp:ident,)*; $($rest:tt)*) => {
        #[tonic::async_trait]
        impl $service for FakeRuntime {
            $(async fn $name(&self, _: Request<v1::$req>) -> Answer<v1::$resp> {
                Err(Status::unimplemented(stringify!($name)))
            })*
            $(type $kind = BoxStream<'static, Result<v1::$sresp, Status>>;
            async fn $stream(&self, _: Request<v1::$sreq>) -> Answer<Self::$kind> {
                Err(Status::unimplemented(stringify!($stream)))
            })*
            $($rest)*
        }
    };
}

service! { RuntimeService;
    refused:
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse,
        update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse,
        update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse,
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse,
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse,
        attach(AttachRequest) -> AttachResponse,
        port_forward(PortForwardRequest) -> PortForwardResponse,
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse,
        list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse,
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse,
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse,
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse,
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse,;
    streams:
        StreamPodSandboxesStream stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesResponse,
        StreamContainersStream stream_containers(StreamContainersRequest) -> StreamContainersResponse,
        StreamContainerStatsStream stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsResponse,
        StreamPodSandboxStatsStream stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsResponse,
        StreamPodSandboxMetricsStream stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsResponse,;

    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1".into(),
            runtime_api_version: "v1".into(),
        }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let down = self.state.lock().network_down;
        let condition = |kind: &str, status| v1::RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: if status { String::new() } else { "NetworkPluginNotReady".into() },
            message: String::new(),
        };
        let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", !down)];
        let status = Some(v1::RuntimeStatus { conditions });
        Ok(Response::new(v1::StatusResponse { status, ..Default::default() }))
    }

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
        let config = request.into_inner().config.unwrap();
        self.held.send_modify(|held| held.1 += 1);
        self.held.subscribe().wait_for(|held| !held.0).await.unwrap();
        let id = self.id("sandbox");
        self.call(format!("sandbox {}", config.metadata.as_ref().unwrap().name));
        let made = Box_ { config, ready: true, created_at: self.now() };
        self.state.lock().sandboxes.insert(id.clone(), made);
        Ok(Response::new(v1::RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let inside: Vec<String> = {
            let mut state = self.state.lock();
            state.sandboxes.get_mut(&id).ok_or_else(|| gone(&id))?.ready = false;
            state.containers.iter().filter(|(_, c)| c.sandbox == id).map(|(id, _)| id.clone()).collect()
        };
        for container in inside {
            self.end(&container, 137);
        }
        self.call(format!("stop-sandbox {id}"));
        Ok(Response::new(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.state.lock().sandboxes.remove(&id);
        self.call(format!("remove-sandbox {id}"));
        Ok(Response::new(v1::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let made = self.state.lock().sandboxes.get(&id).cloned().ok_or_else(|| gone(&id))?;
        let status = v1::PodSandboxStatus {
            metadata: made.config.metadata.clone(),
            state: i32::from(!made.ready),
            created_at: made.created_at,
            network: Some(v1::PodSandboxNetworkStatus { ip: "10.244.0.9".into(), additional_ips: vec![] }),
            labels: made.config.labels.clone(),
            id,
            ..Default::default()
        };
        Ok(Response::new(v1::PodSandboxStatusResponse { status: Some(status), ..Default::default() }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let selector = request.into_inner().filter.unwrap_or_default().label_selector;
        let state = self.state.lock();
        let fitting = state.sandboxes.iter().filter(|(_, s)| fits(&s.config.labels, &selector));
        let items = fitting
            .map(|(id, s)| v1::PodSandbox {
                id: id.clone(),
                metadata: s.config.metadata.clone(),
                state: i32::from(!s.ready),
                created_at: s.created_at,
                labels: s.config.labels.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(v1::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap();
        let id = self.id("container");
        self.call(format!("create {}", config.metadata.as_ref().unwrap().name));
        let made = Made {
            sandbox: request.pod_sandbox_id,
            config,
            log_directory: request.sandbox_config.unwrap_or_default().log_directory,
            state: v1::ContainerState::ContainerCreated,
            times: (self.now(), 0, 0),
            exit_code: 0,
        };
        self.state.lock().containers.insert(id.clone(), made);
        Ok(Response::new(v1::CreateContainerResponse { container_id: id }))
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        let id = request.into_inner().container_id;
        let uid = {
            let mut state = self.state.lock();
            let now = self.now();
            let made = state.containers.get_mut(&id).ok_or_else(|| gone(&id))?;
            made.state = v1::ContainerState::ContainerRunning;
            made.times.1 = now;
            let (name, uid) = (name_of(made), made.config.labels.get(labels::POD_UID).cloned());
            state.calls.push(format!("start {name}"));
            uid.unwrap_or_default()
        };
        self.tell(&uid, &id);
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        let name = self.state.lock().containers.get(&request.container_id).map(name_of);
        self.call(format!("stop {} {}", name.ok_or_else(|| gone(&request.container_id))?, request.timeout));
        self.end(&request.container_id, 143);
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        let made = self.state.lock().containers.remove(&id);
        self.call(format!("remove {}", made.as_ref().map(name_of).unwrap_or_default()));
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        let selector = request.into_inner().filter.unwrap_or_default().label_selector;
        let state = self.state.lock();
        let fitting = state.containers.iter().filter(|(_, c)| fits(&c.config.labels, &selector));
        let containers = fitting
            .map(|(id, c)| v1::Container {
                id: id.clone(),
                pod_sandbox_id: c.sandbox.clone(),
                metadata: c.config.metadata.clone(),
                state: c.state as i32,
                created_at: c.times.0,
                labels: c.config.labels.clone(),
                annotations: c.config.annotations.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(v1::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let c = self.state.lock().containers.get(&id).cloned().ok_or_else(|| gone(&id))?;
        let status = v1::ContainerStatus {
            id,
            metadata: c.config.metadata.clone(),
            state: c.state as i32,
            created_at: c.times.0,
            started_at: c.times.1,
            finished_at: c.times.2,
            exit_code: c.exit_code,
            image: c.config.image.clone(),
            image_ref: "busybox@sha256:aa".into(),
            labels: c.config.labels.clone(),
            annotations: c.config.annotations.clone(),
            log_path: format!("{}/{}", c.log_directory, c.config.log_path),
            ..Default::default()
        };
        Ok(Response::new(v1::ContainerStatusResponse { status: Some(status), ..Default::default() }))
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        let request = request.into_inner();
        self.call(format!("exec {}", request.cmd.join(" ")));
        let exit_code = self.state.lock().exec_code;
        Ok(Response::new(v1::ExecSyncResponse { stdout: b"said".to_vec(), stderr: vec![], exit_code }))
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        self.call(format!("exec {}", request.into_inner().cmd.join(" ")));
        Ok(Response::new(v1::ExecResponse { url: self.state.lock().streaming.clone() }))
    }

    type GetContainerEventsStream = BoxStream<'static, Result<v1::ContainerEventResponse, Status>>;

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let stream = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        Ok(Response::new(stream.filter_map(|event| async { event.ok().map(Ok) }).boxed()))
    }
}

service! { ImageService;
    refused:
        remove_image(RemoveImageRequest) -> RemoveImageResponse,
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse,;
    streams:
        StreamImagesStream stream_images(StreamImagesRequest) -> StreamImagesResponse,;

    async fn list_images(&self, _: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        Ok(Response::new(v1::ListImagesResponse::default()))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let image = self.state.lock().pulled.contains(&name).then(|| v1::Image {
            id: format!("id-of-{name}"),
            size: 42,
            ..Default::default()
        });
        Ok(Response::new(v1::ImageStatusResponse { image, ..Default::default() }))
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        let request = request.into_inner();
        let name = request.image.unwrap_or_default().image;
        let user = request.auth.map(|a| a.username).unwrap_or_default();
        self.call(format!("pull {name} {user}").trim_end().to_owned());
        let mut state = self.state.lock();
        if let Some(why) = state.bad_images.get(&name) {
            return Err(Status::not_found(why.clone()));
        }
        state.pulled.push(name.clone());
        Ok(Response::new(v1::PullImageResponse { image_ref: format!("id-of-{name}") }))
    }
}
