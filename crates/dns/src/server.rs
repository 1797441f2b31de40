//! The server: sockets, dispatch between the zone and the forwarder, and the ports that probes ask.

use crate::cluster::Informed;
use crate::forward::Forwarder;
use crate::zone::{Answer, Zone};
use async_trait::async_trait;
use client::{Client, InformerFactory};
use component::serve::{self, full};
use component::{SharedClock, Tasks};
use futures::future::BoxFuture;
use hickory_proto::op::{Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use http::StatusCode;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, watch};

/// How long an idle TCP connection is kept.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers queued per TCP connection.
const TCP_ANSWERS: usize = 32;

/// How long a probe of readiness waits for it; less than probes' usual timeout of a second.
const PROBE_PATIENCE: Duration = Duration::from_millis(800);

/// How cluster DNS runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address for UDP and TCP.
    pub listen: SocketAddr,
    /// Address for `/health` and `/ready`; `None` serves neither.
    pub health: Option<SocketAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// Who is asked about other names.
    pub forwarder: Forwarder,
    /// Notified when the server is to leave: it is no longer ready, and goes after `lameduck`.
    pub leave: Arc<Notify>,
    /// How long questions are still answered after `leave`, so that the service proxies of all nodes hear of it
    /// first.
    pub lameduck: Duration,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port could not be had.
    #[error("failed to listen on {address}: {source}; is another DNS server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The domain is no name.
    #[error("{0:?} is not a domain name; use something like cluster.local")]
    Domain(String),
}

struct Handler {
    zone: Zone,
    forwarder: Forwarder,
}

/// What to send.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authority: Option<Record>,
}

impl Handler {
    async fn reply(&self, query: &Query) -> Reply {
        let mine = |code, answers: Vec<Record>| Reply {
            code,
            authoritative: true,
            authority: answers.is_empty().then(|| self.zone.authority()),
            answers,
        };
        match self.zone.lookup(query.name(), query.query_type()) {
            Answer::Records(records) => mine(ResponseCode::NoError, records),
            Answer::NoData => mine(ResponseCode::NoError, Vec::new()),
            Answer::NoName => mine(ResponseCode::NXDomain, Vec::new()),
            Answer::NotMine => self.forward(query).await,
            Answer::Alias(alias, target) => {
                let mut query = query.clone();
                query.set_name(target);
                let mut reply = self.forward(&query).await;
                reply.answers.insert(0, *alias);
                reply.code = ResponseCode::NoError;
                reply
            }
        }
    }

    async fn forward(&self, query: &Query) -> Reply {
        match self.forwarder.ask(query).await {
            Some(answer) => Reply {
                code: answer.metadata.response_code,
                authoritative: false,
                answers: answer.answers,
                authority: answer.authorities.into_iter().next(),
            },
            // With nobody to ask, the name is not known here; with somebody, the failure is theirs and passing.
            None if self.forwarder.is_empty() => Reply {
                code: ResponseCode::NXDomain,
                authoritative: false,
                answers: Vec::new(),
                authority: None,
            },
            None => Reply {
                code: ResponseCode::ServFail,
                authoritative: false,
                answers: Vec::new(),
                authority: None,
            },
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let builder = MessageResponseBuilder::from_message_request(request);
        let sent = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                let reply = self.reply(info.query.original()).await;
                let mut metadata = Metadata::response_from_request(&request.metadata);
                metadata.response_code = reply.code;
                metadata.authoritative = reply.authoritative;
                metadata.recursion_available = !self.forwarder.is_empty();
                let none: [&Record; 0] = [];
                let response = builder.build(metadata, &reply.answers, &reply.authority, none, none);
                out.send_response(response).await
            }
            Ok(_) => out.send_response(builder.error_msg(&request.metadata, ResponseCode::NotImp)).await,
            Err(_) => out.send_response(builder.error_msg(&request.metadata, ResponseCode::FormErr)).await,
        };
        sent.unwrap_or_else(|error| {
            tracing::debug!(peer = %request.src(), "failed to send an answer: {error}");
            let header = hickory_proto::op::Header {
                metadata: Metadata::response_from_request(&request.metadata),
                counts: hickory_proto::op::HeaderCounts::default(),
            };
            ResponseInfo::from(header)
        })
    }
}

/// Serves until `tasks` stop. Answers questions only once the cluster was seen, so that no name is denied that
/// exists.
pub async fn run(config: Config, client: Client, clock: SharedClock, tasks: Tasks) -> Result<(), Error> {
    let origin = Name::from_utf8(config.domain.trim_end_matches('.'))
        .map_err(|_| Error::Domain(config.domain.clone()));
    let mut origin = origin?;
    origin.set_fqdn(true);
    let listen = |source| Error::Listen { address: config.listen, source };
    let udp = UdpSocket::bind(config.listen).await.map_err(listen)?;
    let tcp = TcpListener::bind(config.listen).await.map_err(listen)?;
    let ready = watch::Sender::new(false);
    if let Some(address) = config.health {
        serve_health(address, ready.subscribe(), clock.clone(), &tasks)?;
    }
    let informers = InformerFactory::new(client, clock.clone(), tasks.clone());
    let cluster = Informed::start(&informers);
    tokio::select! {
        () = cluster.synced() => {}
        () = tasks.stopping().cancelled() => return Ok(()),
        // Nobody was told to ask this server yet.
        () = config.leave.notified() => return Ok(()),
    }
    let zone = Zone::new(origin, Arc::new(cluster));
    let mut server = Server::new(Handler { zone, forwarder: config.forwarder.clone() });
    server.register_socket(udp);
    server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
    ready.send_replace(true);
    tracing::info!(address = %config.listen, domain = config.domain, "cluster DNS is ready");
    tokio::select! {
        () = tasks.stopping().cancelled() => {}
        () = lame(&config, &ready, &clock) => {}
    }
    if let Err(error) = server.shutdown_gracefully().await {
        tracing::warn!("failed to finish all DNS answers: {error}");
    }
    Ok(())
}

/// Ends when the server was told to leave and all who ask had time to notice.
async fn lame(config: &Config, ready: &watch::Sender<bool>, clock: &SharedClock) {
    config.leave.notified().await;
    ready.send_replace(false);
    tracing::info!(seconds = config.lameduck.as_secs(), "leaving; questions are still answered for a while");
    clock.sleep(config.lameduck).await;
}

/// Whether the cluster was seen; waits a little for it, so that a probe that comes early is not a failed one.
async fn becomes_ready(mut ready: watch::Receiver<bool>, clock: SharedClock) -> bool {
    tokio::select! {
        seen = ready.wait_for(|ready| *ready) => seen.is_ok(),
        () = clock.sleep(PROBE_PATIENCE) => false,
    }
}

fn serve_health(
    address: SocketAddr,
    ready: watch::Receiver<bool>,
    clock: SharedClock,
    tasks: &Tasks,
) -> Result<(), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    let handler = move |request: serve::Request| -> BoxFuture<'static, serve::Response> {
        let (ready, clock) = (ready.clone(), clock.clone());
        Box::pin(async move {
            let (code, text) = match request.uri().path() {
                "/health" => (StatusCode::OK, "OK"),
                "/ready" if becomes_ready(ready, clock).await => (StatusCode::OK, "OK"),
                "/ready" => {
                    (StatusCode::SERVICE_UNAVAILABLE, "the cluster's Services have not been seen yet")
                }
                _ => (StatusCode::NOT_FOUND, "not found"),
            };
            let mut response = http::Response::new(full(text));
            *response.status_mut() = code;
            response
        })
    };
    serve::serve(listener, None, serve::Limits::default(), tasks, Arc::new(handler)).map_err(failed)?;
    Ok(())
}
