//! `windlass up`: a cluster from nothing, or the one that was there before.

use crate::control_plane::{ControlPlane, Identity};
use crate::layout::{Layout, Lock};
use crate::manifests::{self, Manifest};
use crate::network::{self, CLUSTER_DOMAIN, DNS_IP};
use crate::node::{self, Credentials, NodeSettings};
use crate::options::{Settings, UpOptions};
use crate::progress::{Progress, seconds};
use crate::readiness::Observer;
use crate::topology::{self, Place};
use crate::{agent, doors, files, preflight};
use anyhow::{Context, Result, bail};
use client::Client;
use component::clock::SystemClock;
use component::{SharedClock, Tasks};
use dns::forward::Forwarder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a part may take before the start counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long parts get to end when the cluster is stopped.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs the command; returns when the cluster was stopped. Must be called before any other thread exists, because
/// it may move the process into a network namespace.
pub fn run(options: UpOptions) -> Result<()> {
    let settings = Settings::resolve(options)?;
    let applied =
        settings.apply.iter().map(|path| manifests::read(path)).collect::<Result<Vec<_>>>()?.concat();
    preflight::run()?;
    let layout = Layout::new(&settings.data_dir);
    files::make_dir(layout.root())?;
    let _lock = Lock::take(&layout.lock_file())?;
    // Bound before the process may leave the host's network: sockets stay where they were made.
    let door = preflight::bind(Ipv4Addr::LOCALHOST, settings.port)?;
    let host_network = linux::namespace::own(linux::namespace::Kind::Network)?;
    let places = if settings.isolated { enter_isolation(&layout, settings.nodes)? } else { Vec::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start threads")?;
    let up = Up { settings, layout, places, applied, host_network };
    let outcome = runtime.block_on(up.run(door));
    runtime.shutdown_timeout(FAREWELL);
    outcome
}

/// Makes the namespaces and moves this process into the first node's.
fn enter_isolation(layout: &Layout, nodes: u32) -> Result<Vec<Place>> {
    let places = topology::places(layout, nodes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(topology::ensure(layout, &places)).context("failed to make the isolated network")?;
    let first = places.first().context("a cluster has at least one node")?;
    linux::namespace::join(linux::namespace::open(&first.namespace)?)?;
    Ok(places)
}

struct Up {
    settings: Settings,
    layout: Layout,
    places: Vec<Place>,
    applied: Vec<Manifest>,
    host_network: std::os::fd::OwnedFd,
}

impl Up {
    async fn run(self, door: TcpListener) -> Result<()> {
        let tasks = Tasks::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let progress = Progress::new();
        let outcome = tokio::select! {
            started = self.start(door, &tasks, &progress) => match started {
                Ok(_running) => {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        if outcome.is_ok() {
            let dir = self.layout.root().display();
            progress.say(&format!(
                "\nStopping; pods keep running. 'windlass up' resumes, 'windlass down --data-dir {dir}' removes them."
            ));
        }
        if !tasks.stop_and_wait(FAREWELL).await {
            tracing::warn!("some parts did not end in time");
        }
        outcome
    }

    fn first_node(&self, address: Ipv4Addr) -> Place {
        let alone = || Place { name: network::host_name(), address, namespace: std::path::PathBuf::new() };
        self.places.first().cloned().unwrap_or_else(alone)
    }

    async fn start(&self, door: TcpListener, tasks: &Tasks, progress: &Progress) -> Result<Running> {
        let clock = SystemClock::shared();
        let address = match self.places.first() {
            Some(place) => place.address,
            None => network::node_address().await?,
        };
        let first = self.first_node(address);
        let port = door.local_addr()?.port();
        let advertise = SocketAddr::from((address, port));
        let mut listeners = vec![door];
        listeners.push(preflight::bind(address, port)?);
        let identity = Identity::open(&self.layout, advertise)?;
        let control = ControlPlane::start(
            &self.layout,
            (&self.settings.store, &self.settings.access),
            &identity,
            (advertise, listeners),
            clock.clone(),
            tasks,
            progress,
        )
        .await?;
        let step = progress.step("controllers");
        control.start_controllers(&self.layout, &identity);
        step.done();
        let step = progress.step("scheduler");
        control.start_scheduler();
        step.done();
        let admin = control.admin();

        let step = progress.step(&format!("node {}", first.name));
        let settings = NodeSettings::new(&first.name, address, self.layout.node(&first.name));
        let credentials = Credentials {
            ca: identity.ca.certificate().as_bytes().to_vec(),
            serving: identity.ca.sign(&node::serving_subject(&first.name, address))?,
        };
        let name = format!("system:node:{}", first.name);
        let clients = node::Clients {
            kubelet: control.client(&name, &["system:nodes"]),
            proxy: control.client("system:kube-proxy", &["system:node-proxier"]),
        };
        node::start(settings, credentials, clients, clock.clone(), tasks).await?;
        let agents =
            agent::spawn_all(&self.layout, &identity, advertise, self.places.get(1..).unwrap_or_default())?;
        self.wait_for_nodes(&admin, &clock, tasks).await?;
        step.done_with(&address.to_string());

        let step = progress.step("cluster DNS");
        // Not before a node takes pods: a pod that waits for one is tried again only after a back-off.
        apply_addons(admin.clone(), self.places.len()).await?;
        wait_for_dns(&admin, &clock, tasks).await?;
        step.done_with(&DNS_IP.to_string());
        let doors = doors::open(&admin, &self.host_network, !self.places.is_empty(), address, &clock, tasks);
        self.say_ready(progress);
        self.apply(&admin, &clock, tasks, progress, address).await?;
        Ok(Running { _control: control, _agents: agents, _doors: doors })
    }

    async fn wait_for_nodes(&self, admin: &Client, clock: &SharedClock, tasks: &Tasks) -> Result<()> {
        let observer = Observer::start(admin, "kube-system", clock.clone(), tasks);
        let wanted = self.places.len().max(1);
        let look = |observer: &Observer| {
            let mut nodes = observer.nodes();
            if nodes.len() < wanted {
                let problem = Some(format!("{} of {wanted} have registered", nodes.len()));
                nodes.push(crate::readiness::Item { name: "nodes".to_owned(), problem });
            }
            nodes
        };
        observer.wait(PATIENCE, look).await.context("a node does not become ready")
    }

    fn say_ready(&self, progress: &Progress) {
        let config = self.layout.admin_kubeconfig();
        let (elapsed, config, dir) =
            (seconds(progress.elapsed()), config.display(), self.layout.root().display());
        progress.say(&format!(
            "\nThe cluster is ready after {elapsed}.\n\n  kubeconfig  {config}\n  try it      windlass kubectl --kubeconfig \
             {config} get nodes\n  stop it     windlass down --data-dir {dir}   (Ctrl-C stops only the control plane)\n"
        ));
    }

    async fn apply(
        &self,
        admin: &Client,
        clock: &SharedClock,
        tasks: &Tasks,
        progress: &Progress,
        address: Ipv4Addr,
    ) -> Result<()> {
        if self.applied.is_empty() {
            return Ok(());
        }
        let step = progress.step("applying manifests");
        for manifest in &self.applied {
            manifest.apply(admin).await?;
        }
        let observer = Observer::start(admin, "", clock.clone(), tasks);
        let look = |observer: &Observer| {
            let item = |m: &Manifest| observer.applied(&m.gvk.kind, &m.namespace, &m.name);
            self.applied.iter().map(item).collect::<Vec<_>>()
        };
        observer.wait(PATIENCE, look).await.context("what was applied does not become ready")?;
        step.done_with(&format!("{} objects", self.applied.len()));
        let host = if self.settings.isolated { Ipv4Addr::LOCALHOST } else { address };
        for manifest in self.applied.iter().filter(|manifest| manifest.gvk.kind == "Service") {
            if let Some(url) = service_url(admin, manifest, host).await? {
                progress.say(&format!("  {} answers at {url}", manifest.label()));
            }
        }
        Ok(())
    }
}

/// What must live as long as the cluster runs.
struct Running {
    _control: ControlPlane,
    _agents: agent::Agents,
    _doors: doors::Doors,
}

async fn apply_addons(admin: Client, nodes: usize) -> Result<()> {
    let image = node::own_image();
    let dns_ip = DNS_IP.to_string();
    // Where there is a second node, names must outlive the first one's drain or loss.
    let dns_replicas = if nodes > 1 { "2" } else { "1" };
    let values = [
        ("image", image.as_str()),
        ("domain", CLUSTER_DOMAIN),
        ("dns-ip", dns_ip.as_str()),
        ("dns-replicas", dns_replicas),
    ];
    for text in [include_str!("../manifests/cluster-dns.yaml"), include_str!("../manifests/local-path.yaml")]
    {
        for manifest in manifests::parse(&manifests::fill(text, &values))? {
            manifest.apply(&admin).await?;
        }
    }
    Ok(())
}

/// Waits until the Deployment is available and a question through the Service's address is answered.
async fn wait_for_dns(admin: &Client, clock: &SharedClock, tasks: &Tasks) -> Result<()> {
    let observer = Observer::start(admin, "kube-system", clock.clone(), tasks);
    let look = |observer: &Observer| vec![observer.applied("Deployment", "kube-system", "kube-dns")];
    observer.wait(PATIENCE, look).await.context("cluster DNS does not become ready")?;
    let name = dns::name(&format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"))
        .context("the cluster's domain is not a name")?;
    let forwarder = Forwarder::new(vec![SocketAddr::from((DNS_IP, 53))]);
    let deadline = clock.instant() + PATIENCE;
    while clock.instant() < deadline {
        // Each question waits for its answer; one that is lost while rules are still being written is asked again.
        if forwarder.ask(&dns::address_query(&name)).await.is_some_and(|answer| !answer.answers.is_empty()) {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
    bail!(
        "cluster DNS runs but does not answer at {DNS_IP}; see 'windlass kubectl -n kube-system logs deploy/kube-dns'"
    )
}

/// Where a Service answers from this machine, if it has a node port.
async fn service_url(admin: &Client, manifest: &Manifest, host: Ipv4Addr) -> Result<Option<String>> {
    use k8s_openapi::api::core::v1::Service;
    let service = admin.namespaced::<Service>(&manifest.namespace).get(&manifest.name).await?;
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    Ok(ports.iter().find_map(|port| port.node_port).map(|number| format!("http://{host}:{number}/")))
}
