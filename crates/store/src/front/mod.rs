//! The etcd v3 front: a [`Store`] served as etcd's gRPC API, so that `etcdctl`, etcd's client libraries and
//! upstream's kube-apiserver can use it as their etcd.
//!
//! One member, no peers: KV, Watch, Lease, Maintenance and the member list are served; what needs several members
//! (changing them, moving the leader, downgrades) and users with passwords are refused with an error that says so.
//! Who may connect is decided by TLS: with a CA for clients, only those with a certificate of it.
//!
//! | module | what |
//! | --- | --- |
//! | `kv`, `range`, `txn`, `check` | keys: requests to operations and back, what etcd refuses |
//! | `watch` | watches: many on one stream |
//! | `lease`, `maintenance`, `cluster`, `auth` | the other services |
//! | `http` | `/health`, `/version` and `/metrics` |
//! | `error` | etcd's codes and messages |
//!
//! Deliberately absent: durability, history, leases: those are the store's. Compares over ranges of keys (the
//! trait has no word for them) and unix sockets.

mod auth;
pub(crate) mod check;
mod cluster;
mod error;
mod http;
mod kv;
mod lease;
mod maintenance;
mod range;
mod txn;
mod watch;

use crate::kv::{Revision, Store};
use crate::maintenance::Maintenance;
use crate::rpc;
use component::serve::{BoxError, Handler, Limits, Request, Response};
use component::{SharedClock, Tasks};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use rustls::ServerConfig;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tower_service::Service;

/// The release of etcd whose protocol this is: clients choose by it what they may ask for. It has watch progress
/// that can be relied upon.
pub const API_VERSION: &str = "3.5.21";

/// What a gRPC message may be larger than the request in it.
const MESSAGE_OVERHEAD: usize = 512 << 10;

/// How the front behaves. The defaults are etcd's.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the member.
    pub name: String,
    /// URLs that the member list shows to clients.
    pub client_urls: Vec<String>,
    /// Largest request, in bytes.
    pub max_request_bytes: usize,
    /// Most operations of a transaction.
    pub max_txn_ops: usize,
    /// Most requests and streams at once on one connection.
    pub max_streams: u32,
    /// A watch that asked for it hears after so much silence how far it has seen.
    pub progress_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            client_urls: Vec::new(),
            max_request_bytes: 3 << 19,
            max_txn_ops: 128,
            max_streams: 1 << 16,
            progress_interval: Duration::from_secs(600),
        }
    }
}

/// A store behind etcd's API. Clones share it.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    maintenance: Arc<dyn Maintenance>,
    config: Config,
    cluster: u64,
    member: u64,
    clock: SharedClock,
    tasks: Tasks,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Front {
    /// Serves `store`, which is also `maintenance`. Streams end when `tasks` stops.
    pub fn new<S: Store + Maintenance + 'static>(
        store: Arc<S>,
        config: Config,
        clock: SharedClock,
        tasks: Tasks,
    ) -> Self {
        let (cluster, member) = identity(&config);
        let maintenance = store.clone();
        Self(Arc::new(Inner { store, maintenance, config, cluster, member, clock, tasks }))
    }

    /// Accepts clients on `listener`, encrypted when `tls` is given, until the tasks stop. Must be called inside a
    /// tokio runtime. Returns the listener's address.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn serve(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<SocketAddr> {
        let limits = Limits {
            concurrent_streams: self.0.config.max_streams,
            // Clients cancel many watches at once.
            pending_resets: 1024,
            drain: Duration::from_secs(5),
            ..Limits::default()
        };
        component::serve::serve(listener, tls, limits, &self.0.tasks, Arc::new(Services::new(self)))
    }

    fn header(&self, revision: Revision) -> Option<rpc::ResponseHeader> {
        // There is one term only: nobody else can lead.
        let Inner { cluster, member, .. } = *self.0;
        Some(rpc::ResponseHeader { cluster_id: cluster, member_id: member, revision, raft_term: 1 })
    }

    /// A header for answers that read nothing.
    async fn header_now(&self) -> Result<Option<rpc::ResponseHeader>, tonic::Status> {
        Ok(self.header(self.revision().await?))
    }

    async fn revision(&self) -> Result<Revision, tonic::Status> {
        self.0.store.revision().await.map_err(error::status)
    }
}

/// Ids of the cluster and of its member. The same name at the same place is the same member after a restart.
fn identity(config: &Config) -> (u64, u64) {
    let number = |text: &str| {
        let (high, low) = (crc32c::crc32c(text.as_bytes()), crc32c::crc32c_append(!0, text.as_bytes()));
        u64::from(high) << 32 | u64::from(low)
    };
    let member = number(&format!("{} {}", config.name, config.client_urls.join(" ")));
    (number(&format!("cluster of {member:x}")), member)
}

/// The services by name.
struct Services {
    front: Front,
    kv: rpc::kv_server::KvServer<Front>,
    watch: rpc::watch_server::WatchServer<Front>,
    lease: rpc::lease_server::LeaseServer<Front>,
    maintenance: rpc::maintenance_server::MaintenanceServer<Front>,
    cluster: rpc::cluster_server::ClusterServer<Front>,
    auth: rpc::auth_server::AuthServer<Front>,
}

impl Services {
    fn new(front: &Front) -> Self {
        let most = front.0.config.max_request_bytes + MESSAGE_OVERHEAD;
        let own = || front.clone();
        Self {
            front: own(),
            kv: rpc::kv_server::KvServer::new(own()).max_decoding_message_size(most),
            watch: rpc::watch_server::WatchServer::new(own()).max_decoding_message_size(most),
            lease: rpc::lease_server::LeaseServer::new(own()).max_decoding_message_size(most),
            maintenance: rpc::maintenance_server::MaintenanceServer::new(own())
                .max_decoding_message_size(most),
            cluster: rpc::cluster_server::ClusterServer::new(own()).max_decoding_message_size(most),
            auth: rpc::auth_server::AuthServer::new(own()).max_decoding_message_size(most),
        }
    }
}

impl Handler for Services {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match name {
            "etcdserverpb.KV" => call(self.kv.clone(), request),
            "etcdserverpb.Watch" => call(self.watch.clone(), request),
            "etcdserverpb.Lease" => call(self.lease.clone(), request),
            "etcdserverpb.Maintenance" => call(self.maintenance.clone(), request),
            "etcdserverpb.Cluster" => call(self.cluster.clone(), request),
            "etcdserverpb.Auth" => call(self.auth.clone(), request),
            _ => {
                let front = self.front.clone();
                Box::pin(async move { http::answer(&front, &request).await })
            }
        }
    }
}

fn call<S>(mut service: S, request: Request) -> BoxFuture<'static, Response>
where
    S: Service<Request, Response = ::http::Response<tonic::body::Body>, Error = std::convert::Infallible>,
    S::Future: Send + 'static,
{
    let answer = service.call(request);
    Box::pin(async move {
        match answer.await {
            Ok(response) => response.map(|body| body.map_err(BoxError::from).boxed_unsync()),
            Err(never) => match never {},
        }
    })
}
