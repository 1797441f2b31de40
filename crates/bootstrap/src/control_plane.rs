//! The control plane of one process: store, API server, controllers, scheduler.

use crate::access::AccessOptions;
use crate::kubeconfig;
use crate::layout::Layout;
use crate::network::{CLUSTER_DOMAIN, POD_CIDR, SERVICE_CIDR};
use crate::pki::{Authority, Subject, service_account_key};
use crate::progress::Progress;
use crate::store::{self, StoreSettings};
use anyhow::Result;
use api::transport::Transport;
use apiserver::{ApiServer, KubeletClient, Listen, ServiceAccounts, UserInfo};
use client::{Client, LeaderConfig, LeaderElector};
use component::{SharedClock, Tasks, tls};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The credentials of the cluster.
pub struct Identity {
    /// Signs everything below.
    pub ca: Authority,
    front_proxy_ca: Authority,
    front_proxy_client: tls::KeyPair,
    apiserver: tls::KeyPair,
    kubelet_client: tls::KeyPair,
    service_account_key: String,
}

impl Identity {
    /// Loads or makes them, and writes the administrator's kubeconfig. `advertise` is the address in the cluster.
    pub fn open(layout: &Layout, advertise: SocketAddr) -> Result<Self> {
        let pki = layout.pki();
        let ca = Authority::open(&pki, "ca", "kubernetes")?;
        let front_proxy_ca = Authority::open(&pki, "front-proxy-ca", "front-proxy-ca")?;
        let front_proxy_client =
            front_proxy_ca.issue("front-proxy-client", &Subject::client("front-proxy-client", None))?;
        let first = Ipv4Addr::from(u32::from(SERVICE_CIDR.network()) + 1);
        let names = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            advertise.ip().to_string(),
            first.to_string(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"),
        ];
        let apiserver = ca.issue("apiserver", &Subject::server("kube-apiserver", &names))?;
        let masters = Some("system:masters");
        let kubelet_client =
            ca.issue("apiserver-kubelet-client", &Subject::client("kube-apiserver-kubelet-client", masters))?;
        let admin = ca.issue("admin", &Subject::client("kubernetes-admin", masters))?;
        let server = format!("https://127.0.0.1:{}", advertise.port());
        let config = kubeconfig::build(&server, ca.certificate().as_bytes(), "kubernetes-admin", &admin);
        kubeconfig::write(&layout.admin_kubeconfig(), &config)?;
        let service_account_key = service_account_key(&pki)?;
        Ok(Self { ca, front_proxy_ca, front_proxy_client, apiserver, kubelet_client, service_account_key })
    }
}

/// A running control plane.
pub(crate) struct ControlPlane {
    server: ApiServer,
    clock: SharedClock,
    tasks: Tasks,
    /// Who this process is among those on the same store; `None` when it is alone.
    leader_identity: Option<String>,
}

/// Unique among processes of all machines, as upstream makes it.
fn own_identity() -> String {
    format!("{}_{}", crate::network::host_name(), uuid::Uuid::new_v4())
}

impl ControlPlane {
    /// Starts the store and the API server on `listeners`; returns when it answers.
    pub(crate) async fn start(
        layout: &Layout,
        (settings, access): (&StoreSettings, &AccessOptions),
        identity: &Identity,
        (advertise, listeners): (SocketAddr, Vec<TcpListener>),
        clock: SharedClock,
        tasks: &Tasks,
        progress: &Progress,
    ) -> Result<Self> {
        let step = progress.step("store");
        let store = store::open(settings, layout, advertise.ip(), &clock, tasks).await?;
        let revision = store.revision().await?;
        step.done_with(&if revision > 1 { format!("revision {revision}") } else { String::new() });

        let step = progress.step("API server");
        let ca = identity.ca.certificate().as_bytes().to_vec();
        let server_tls = Arc::new(tls::server(&identity.apiserver, Some(&ca))?);
        let kubelet_tls = tls::client(&ca, Some(&identity.kubelet_client), &["http/1.1"])?;
        let mut config = apiserver::Config {
            advertise,
            service_cidr: (SERVICE_CIDR.network(), SERVICE_CIDR.prefix_len()),
            client_ca: Some(ca),
            front_proxy_ca: Some(identity.front_proxy_ca.certificate().as_bytes().to_vec()),
            front_proxy_client: Some(identity.front_proxy_client.clone()),
            front_proxy_names: vec!["front-proxy-client".to_owned()],
            service_accounts: ServiceAccounts {
                issuer: ISSUER.to_owned(),
                audiences: vec![ISSUER.to_owned()],
                signing_key: Some(identity.service_account_key.clone().into_bytes()),
                verification_keys: Vec::new(),
            },
            kubelet: KubeletClient { tls: Some(Arc::new(kubelet_tls)) },
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            store_check_timeouts: settings.check_timeouts(),
            ..apiserver::Config::default()
        };
        access.apply(&mut config)?;
        let listeners = listeners
            .into_iter()
            .map(|listener| Listen { listener, tls: Some(server_tls.clone()) })
            .collect();
        let server = ApiServer::start(config, listeners, store, clock.clone(), tasks).await?;
        step.done();
        let leader_identity = settings.is_shared().then(own_identity);
        Ok(Self { server, clock, tasks: tasks.clone(), leader_identity })
    }

    /// The API under an identity.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Client {
        let groups: Vec<&str> = groups.iter().copied().chain(["system:authenticated"]).collect();
        let transport: Arc<dyn Transport> = self.server.transport(UserInfo::new(user, &groups));
        Client::new(transport)
    }

    /// The API as the administrator.
    pub(crate) fn admin(&self) -> Client {
        self.client("kubernetes-admin", &["system:masters"])
    }

    /// Starts the controller manager.
    pub(crate) fn start_controllers(&self, layout: &Layout, identity: &Identity) {
        let pair = tls::KeyPair {
            certificate: identity.ca.certificate().as_bytes().to_vec(),
            key: identity.ca.key().as_bytes().to_vec(),
        };
        let config = controllers::Config {
            root_ca: pair.certificate.clone(),
            signer: Some(pair),
            cluster_cidr: (POD_CIDR.network(), POD_CIDR.prefix_len()),
            local_path_root: layout.root().join("local-path"),
            leader_identity: self.leader_identity.clone(),
            ..controllers::Config::default()
        };
        let client = self.client("system:kube-controller-manager", &[]);
        let (clock, tasks) = (self.clock.clone(), self.tasks.clone());
        self.tasks.spawn("controllers", async move {
            while !tasks.stopping().is_cancelled() {
                let (config, client) = (config.clone(), client.clone());
                if let Err(error) = controllers::run(config, client, clock.clone(), tasks.clone()).await {
                    tracing::error!("the controller manager ended: {error}");
                    return;
                }
            }
        });
    }

    /// Starts the scheduler.
    pub(crate) fn start_scheduler(&self) {
        let client = self.client("system:kube-scheduler", &[]);
        let (clock, tasks) = (self.clock.clone(), self.tasks.clone());
        let Some(identity) = self.leader_identity.clone() else {
            let run = scheduler::run(scheduler::Config::default(), client, clock, tasks);
            return self.tasks.spawn("scheduler", run);
        };
        let lease = LeaderConfig::new("kube-scheduler", &identity);
        let elector = LeaderElector::new(client.clone(), lease, clock.clone());
        self.tasks.spawn("scheduler", async move {
            let stopping = tasks.stopping().clone();
            while !stopping.is_cancelled() {
                let (client, clock, led) = (client.clone(), clock.clone(), tasks.child());
                let work = |leading: CancellationToken| async move {
                    let run = scheduler::run(scheduler::Config::default(), client, clock, led.clone());
                    leading.run_until_cancelled(run).await;
                    // What it has begun ends too: another one may lead already.
                    led.stop();
                };
                elector.run(&stopping, work).await;
            }
        });
    }
}
