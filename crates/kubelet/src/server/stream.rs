//! Exec, attach and port-forward: the runtime gives a URL that speaks the protocol, and bytes are proxied raw.

use super::query::Query;
use super::text;
use crate::kubelet::Kubelet;
use crate::model::State;
use crate::pod::worker::Worker;
use crate::runtime::RuntimeError;
use component::serve::{Request, Response};
use component::upgrade::{self, Upstream};
use cri::v1;
use http::{StatusCode, Uri};
use http_body_util::BodyExt;
use machinery::Status;
use std::sync::Arc;
use std::time::Duration;

/// The worker that `<ns>/<pod>` or `<ns>/<pod>/<uid>` names.
fn worker(kubelet: &Kubelet, namespace: &str, pod: &str, uid: Option<&str>) -> Result<Arc<Worker>, Status> {
    let found = kubelet.workers.find(namespace, pod).filter(|w| uid.is_none_or(|uid| uid == w.uid));
    found.ok_or_else(|| Status::new(404, machinery::Reason::NotFound, "pod does not exist"))
}

/// Id of the running container that `<ns>/<pod>[/<uid>]/<container>` names.
fn container(kubelet: &Kubelet, rest: &[&str]) -> Result<String, Status> {
    let (worker, name) = match rest {
        [namespace, pod, name] => (worker(kubelet, namespace, pod, None)?, *name),
        [namespace, pod, uid, name] => (worker(kubelet, namespace, pod, Some(uid))?, *name),
        _ => return Err(Status::new(404, machinery::Reason::NotFound, "404 page not found")),
    };
    let runtime = worker.runtime();
    let running = runtime.as_ref().and_then(|r| r.latest(name)).filter(|c| c.state == State::Running);
    match running {
        Some(container) => Ok(container.id.clone()),
        None => {
            Err(Status::new(404, machinery::Reason::NotFound, format!("container not found (\"{name}\")")))
        }
    }
}

fn internal(error: &RuntimeError) -> Status {
    Status::new(500, machinery::Reason::InternalError, error.to_string())
}

/// Proxies the request to the runtime's URL.
async fn proxy(kubelet: &Kubelet, mut request: Request, url: &str) -> Result<Response, Status> {
    let bad = || Status::internal(format!("the runtime's streaming URL {url:?} cannot be used"));
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let upstream = Upstream::of_url(&uri).ok_or_else(bad)?;
    // The runtime's URL stands for everything that the query asked; its path and query replace the caller's.
    *request.uri_mut() = uri;
    request.headers_mut().remove(http::header::HOST);
    request.headers_mut().remove(http::header::AUTHORIZATION);
    match upgrade::forward(request, &upstream, &kubelet.tasks).await {
        Ok(response) => Ok(response.map(|body| body.boxed_unsync())),
        Err(error) => Err(error.status("error trying to reach the container runtime")),
    }
}

/// `/exec/...`.
pub(super) async fn exec(
    kubelet: &Arc<Kubelet>,
    rest: &[&str],
    request: Request,
) -> Result<Response, Status> {
    let query = Query::parse(request.uri().query());
    let id = container(kubelet, rest)?;
    let tty = query.flag(&["tty"]);
    let ask = v1::ExecRequest {
        container_id: id,
        cmd: query.all("command"),
        tty,
        stdin: query.flag(&["input", "stdin"]),
        stdout: query.flag(&["output", "stdout"]),
        // A terminal has one stream.
        stderr: query.flag(&["error", "stderr"]) && !tty,
        ..v1::ExecRequest::default()
    };
    if !ask.stdin && !ask.stdout && !ask.stderr {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let url = kubelet.runtime.exec(ask).await.map_err(|error| internal(&error))?;
    proxy(kubelet, request, &url).await
}

/// `/attach/...`.
pub(super) async fn attach(
    kubelet: &Arc<Kubelet>,
    rest: &[&str],
    request: Request,
) -> Result<Response, Status> {
    let query = Query::parse(request.uri().query());
    let id = container(kubelet, rest)?;
    let tty = query.flag(&["tty"]);
    let ask = v1::AttachRequest {
        container_id: id,
        tty,
        stdin: query.flag(&["input", "stdin"]),
        stdout: query.flag(&["output", "stdout"]),
        stderr: query.flag(&["error", "stderr"]) && !tty,
        ..v1::AttachRequest::default()
    };
    if !ask.stdin && !ask.stdout && !ask.stderr {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let url = kubelet.runtime.attach(ask).await.map_err(|error| internal(&error))?;
    proxy(kubelet, request, &url).await
}

/// `/portForward/...`.
pub(super) async fn port_forward(
    kubelet: &Arc<Kubelet>,
    rest: &[&str],
    request: Request,
) -> Result<Response, Status> {
    let worker = match rest {
        [namespace, pod] => worker(kubelet, namespace, pod, None)?,
        [namespace, pod, uid] => worker(kubelet, namespace, pod, Some(uid))?,
        _ => return Err(Status::new(404, machinery::Reason::NotFound, "404 page not found")),
    };
    let query = Query::parse(request.uri().query());
    let mut ports: Vec<i32> = Vec::new();
    for list in query.all("port").iter().chain(&query.all("ports")) {
        for port in list.split(',') {
            let port = port.trim().parse::<u16>().ok().filter(|p| *p > 0);
            ports.push(
                port.map(i32::from)
                    .ok_or_else(|| Status::bad_request(format!("invalid port in {list:?}")))?,
            );
        }
    }
    let runtime = worker.runtime();
    let Some(sandbox) = runtime.as_ref().and_then(|r| r.ready_sandbox()) else {
        return Err(Status::new(404, machinery::Reason::NotFound, "pod sandbox is not running"));
    };
    let url = kubelet.runtime.port_forward(&sandbox.id, ports).await.map_err(|error| internal(&error))?;
    proxy(kubelet, request, &url).await
}

/// `/run/...`: one command, its output as the answer.
pub(super) async fn run(
    kubelet: &Arc<Kubelet>,
    rest: &[&str],
    request: &Request,
) -> Result<Response, Status> {
    let query = Query::parse(request.uri().query());
    let id = container(kubelet, rest)?;
    let words: Vec<String> = query
        .get("cmd")
        .unwrap_or_default()
        .split(' ')
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect();
    if words.is_empty() {
        return Err(Status::bad_request("the command is missing; give it in the query as cmd=..."));
    }
    let output =
        kubelet.runtime.exec_sync(&id, &words, Duration::ZERO).await.map_err(|error| internal(&error))?;
    match output.code {
        0 => Ok(text(StatusCode::OK, output.output)),
        code => {
            let said = String::from_utf8_lossy(&output.output);
            let message = format!("command '{}' exited with {code}: {said}", words.join(" "));
            Err(Status::new(500, machinery::Reason::InternalError, message))
        }
    }
}
