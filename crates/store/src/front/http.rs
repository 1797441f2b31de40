//! What etcd's client port answers over plain HTTP: `/health` and `/version` for probes, `/metrics`.

use super::{API_VERSION, Front};
use component::serve::{Request, Response, full};
use http::{HeaderValue, Method, StatusCode, header};

pub(super) async fn answer(front: &Front, request: &Request) -> Response {
    let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(is_grpc);
    if is_grpc {
        // A service that etcd does not have either, or a newer one.
        let why = format!("unknown method {}", request.uri().path());
        let response = tonic::Status::unimplemented(why).into_http::<()>();
        return response.map(|()| full(""));
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
    }
    match request.uri().path() {
        "/health" => health(front).await,
        "/version" => {
            let minor = API_VERSION.rsplit_once('.').map_or(API_VERSION, |(minor, _)| minor);
            json(StatusCode::OK, format!(r#"{{"etcdserver":"{API_VERSION}","etcdcluster":"{minor}.0"}}"#))
        }
        "/metrics" => {
            with_type(StatusCode::OK, front.0.store.metrics(), "text/plain; version=0.0.4; charset=utf-8")
        }
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

fn is_grpc(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"application/grpc")
}

/// Healthy: it answers, and nothing stops it from taking writes.
async fn health(front: &Front) -> Response {
    let revision = front.0.store.revision().await;
    let alarms = front.0.maintenance.alarms().await;
    let is_healthy = revision.is_ok() && alarms.is_ok_and(|alarms| alarms.is_empty());
    let status = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, format!(r#"{{"health":"{is_healthy}"}}"#))
}

fn json(status: StatusCode, body: String) -> Response {
    with_type(status, body, "application/json")
}

fn plain(status: StatusCode, body: String) -> Response {
    with_type(status, body, "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: String, kind: &'static str) -> Response {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
