//! The kubelet's HTTPS server: logs, exec, attach, port-forward, pods, statistics, metrics.
//!
//! Every request but health is authenticated (client certificate or token) and authorised by the API server. The
//! streaming protocols are the runtime's: bytes are proxied raw. Deliberately absent: the read-only port.

mod auth;
mod follow;
mod logs;
mod metrics;
mod pods;
mod query;
mod stats;
mod stream;

use crate::kubelet::Kubelet;
use crate::{Error, Listen};
use component::serve::{self, ConnInfo, Handler, Limits, Request, Response, full};
use component::tls;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use machinery::Status;
use std::net::TcpListener;
use std::sync::Arc;

struct Server {
    kubelet: Arc<Kubelet>,
    auth: auth::Auth,
}

/// An answer of plain text.
fn text(code: StatusCode, body: impl Into<bytes::Bytes>) -> Response {
    typed(code, "text/plain; charset=utf-8", body)
}

fn typed(code: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response {
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json(body: impl Into<bytes::Bytes>) -> Response {
    typed(StatusCode::OK, "application/json", body)
}

/// A failure in words: what clients of the kubelet expect.
fn failure(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(code, format!("{}\n", status.message))
}

impl Handler for Server {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let (kubelet, auth) = (self.kubelet.clone(), self.auth.clone());
        Box::pin(async move {
            match answer(&kubelet, &auth, request).await {
                Ok(response) => response,
                Err(status) => failure(&status),
            }
        })
    }
}

async fn answer(kubelet: &Arc<Kubelet>, auth: &auth::Auth, request: Request) -> Result<Response, Status> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let peer = request.extensions().get::<Arc<ConnInfo>>().cloned();
    auth.check(kubelet, &request, peer.as_deref(), &path).await?;
    match (request.method(), parts.as_slice()) {
        (_, ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] | ["livez"] | ["readyz"]) => {
            Ok(text(StatusCode::OK, "ok"))
        }
        (&Method::GET, ["pods"]) => Ok(pods::all(kubelet)),
        (&Method::GET, ["runningpods"]) => pods::running(kubelet).await,
        (&Method::GET, ["configz"]) => Ok(pods::configz(kubelet)),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            logs::serve(kubelet, namespace, pod, container, &request).await
        }
        (_, ["exec", rest @ ..]) => stream::exec(kubelet, rest, request).await,
        (_, ["attach", rest @ ..]) => stream::attach(kubelet, rest, request).await,
        (_, ["portForward", rest @ ..]) => stream::port_forward(kubelet, rest, request).await,
        (&Method::POST, ["run", rest @ ..]) => stream::run(kubelet, rest, &request).await,
        (&Method::GET, ["stats", "summary"]) => stats::summary(kubelet).await,
        (&Method::GET, ["metrics"]) => Ok(metrics::own(kubelet)),
        (&Method::GET, ["metrics", "probes"]) => Ok(metrics::text("")),
        (&Method::GET, ["metrics", "resource"]) => metrics::resource(kubelet).await,
        (&Method::GET, ["metrics", "cadvisor"]) => metrics::cadvisor(kubelet).await,
        (_, ["logs", ..] | ["checkpoint", ..] | ["debug", ..]) => {
            Err(Status::not_supported(format!("{} of the kubelet", path)))
        }
        (_, ["run" | "containerLogs" | "pods" | "metrics" | "stats", ..]) => {
            Err(Status::new(405, machinery::Reason::MethodNotAllowed, "405: Method Not Allowed"))
        }
        _ => Err(Status::new(404, machinery::Reason::NotFound, "404 page not found")),
    }
}

fn listener(listen: Listen) -> Result<Option<TcpListener>, Error> {
    match listen {
        Listen::Nowhere => Ok(None),
        Listen::Socket(socket) => Ok(Some(socket)),
        Listen::Address(address) => TcpListener::bind(address).map(Some).map_err(|error| {
            Error::Server(format!("failed to listen on {address}: {error}; is another kubelet running?"))
        }),
    }
}

/// Starts serving; returns the port, 0 for nowhere.
pub(crate) async fn start(kubelet: &Arc<Kubelet>, listen: Listen) -> Result<u16, Error> {
    let Some(socket) = listener(listen)? else { return Ok(0) };
    let Some(pair) = &kubelet.config.tls else {
        return Err(Error::Server("it has no certificate; give the configuration one in `tls`".to_owned()));
    };
    let tls = tls::server(pair, kubelet.config.client_ca.as_deref())
        .map_err(|error| Error::Server(error.to_string()))?;
    let handler = Server { kubelet: kubelet.clone(), auth: auth::Auth::new() };
    let address =
        serve::serve(socket, Some(Arc::new(tls)), Limits::default(), &kubelet.tasks, Arc::new(handler))
            .map_err(|error| Error::Server(error.to_string()))?;
    Ok(address.port())
}
