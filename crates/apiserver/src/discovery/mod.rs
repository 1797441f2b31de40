//! Everything that is not a resource: discovery, version, health, metrics, OpenAPI, pages for debugging.

mod aggregated;
mod health;
mod legacy;
mod logs;
mod openapi;
mod process;
mod version;
mod zpages;

use crate::Config;
use crate::http::{Accept, Metrics, json_response, text_response};
use crate::registry::{Caller, Registry};
use crate::request::RequestInfo;
use component::serve::{Request, Response, full};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue};
use k8s_openapi::jiff::Timestamp;
use machinery::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The documents by which others verify service-account tokens.
fn issuer(registry: &Registry, path: &str) -> Result<Response, Status> {
    let config = &registry.context()?.config;
    let keys = crate::authn::service_account::Keys::new(&config.service_accounts)?;
    let found = crate::authn::service_account::document(&keys, config.advertise, path);
    let (media, document) = found.ok_or_else(Status::no_such_path)?;
    let mut response = json_response(200, &document);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    Ok(response)
}

/// What serves paths that are not about resources.
pub(crate) struct Site {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    address: String,
    documents: openapi::Documents,
    health: health::Health,
    started: Timestamp,
    stop: CancellationToken,
}

impl Site {
    pub(crate) fn new(
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        config: &Config,
        stop: CancellationToken,
    ) -> Self {
        let started = registry.now();
        Self {
            registry,
            metrics,
            address: config.advertise.to_string(),
            documents: openapi::Documents::default(),
            health: health::Health::default(),
            started,
            stop,
        }
    }

    /// Answers one request.
    pub(crate) async fn handle(
        &self,
        _caller: &Caller,
        info: &RequestInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let segments: Vec<&str> = info.path.split('/').filter(|s| !s.is_empty()).collect();
        let known = matches!(
            segments.first(),
            None | Some(
                &("api"
                    | "apis"
                    | "version"
                    | "healthz"
                    | "livez"
                    | "logs"
                    | "readyz"
                    | "metrics"
                    | "openapi"
                    | "configz"
                    | "flagz"
                    | "statusz")
            )
        );
        if known && !matches!(info.verb.as_ref(), "get" | "head") {
            return Err(Status::new(
                405,
                machinery::Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            ));
        }
        let table = self.registry.resources();
        let headers = request.headers();
        match segments.as_slice() {
            [] => {
                let mut paths = legacy::paths(&table);
                self.registry.context()?.aggregator.add_paths(&mut paths);
                Ok(json_response(200, &json!({"paths": paths})))
            }
            ["version"] => Ok(json_response(200, &version::info())),
            ["metrics"] => {
                let process = tokio::task::spawn_blocking(process::render).await.map_err(Status::internal)?;
                let (flow, store) =
                    (self.registry.context()?.flow.metrics(), self.registry.feed().store().metrics());
                Ok(metrics(self.metrics.render() + &flow + &self.health.render() + &process + &store))
            }
            ["metrics", "slis"] => Ok(metrics(self.health.render())),
            [kind @ ("healthz" | "livez" | "readyz"), rest @ ..] => {
                let stopping = self.stop.is_cancelled();
                Ok(self.health.answer(kind, rest, &info.query, &self.registry, stopping).await)
            }
            ["statusz"] => {
                zpages::statusz(headers, self.started, self.registry.now(), &legacy::paths(&table))
            }
            ["flagz"] => zpages::flagz(headers, &self.registry.context()?.config),
            ["configz"] => Ok(zpages::configz(&self.registry.context()?.config)),
            ["logs", ..] => logs::answer(&info.path).await,
            ["api"] => self.list(headers, aggregated::core(&table), legacy::versions(&self.address)),
            ["apis"] => {
                let (mut all, mut groups) = (aggregated::groups(&table), legacy::groups(&table));
                let aggregator = &self.registry.context()?.aggregator;
                aggregator.add_aggregated(&mut all);
                aggregator.add_groups(&mut groups);
                self.list(headers, all, groups)
            }
            ["api", version] => found(headers, legacy::resources(&table, "", version)),
            ["apis", group] => {
                let aggregator = &self.registry.context()?.aggregator;
                found(headers, aggregator.group(group, legacy::group(&table, group)))
            }
            ["apis", group, version] => found(headers, legacy::resources(&table, group, version)),
            ["debug", "api_priority_and_fairness", what] => {
                let dump = self.registry.context()?.flow.dump(what).ok_or_else(Status::no_such_path)?;
                Ok(text_response(200, dump))
            }
            ["openapi", path @ ..] => self.documents.answer(&self.registry, path, &info.query, headers).await,
            [".well-known" | "openid", ..] => issuer(&self.registry, &info.path),
            _ => Err(Status::no_such_path()),
        }
    }

    /// The aggregated form where the client takes it, the old one otherwise.
    fn list(&self, headers: &HeaderMap, aggregated: Value, legacy: Value) -> Result<Response, Status> {
        let version = Accept::ranges(headers).iter().find_map(|range| {
            let discovery = range.media == "application/json"
                && range.parameter("g") == Some("apidiscovery.k8s.io")
                && range.parameter("as") == Some("APIGroupDiscoveryList");
            match range.parameter("v") {
                Some("v2") if discovery => Some("v2"),
                // For clients of Kubernetes 1.26 to 1.29; the same document under its older name.
                Some("v2beta1") if discovery => Some("v2beta1"),
                _ if discovery => None,
                _ => (range.parameter("as").is_none()
                    && range.media != "application/vnd.kubernetes.protobuf")
                    .then_some("legacy"),
            }
        });
        match version {
            Some(version @ ("v2" | "v2beta1")) => {
                let mut aggregated = aggregated;
                aggregated["apiVersion"] = json!(format!("apidiscovery.k8s.io/{version}"));
                let mut response = tagged(headers, &aggregated);
                let media =
                    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
                if let Ok(media) = HeaderValue::try_from(media) {
                    response.headers_mut().insert(CONTENT_TYPE, media);
                }
                Ok(response)
            }
            Some(_) => Ok(tagged(headers, &legacy)),
            None => Err(Status::new(
                406,
                machinery::Reason::NotAcceptable,
                "only the following media types are accepted: application/json, application/yaml",
            )),
        }
    }
}

/// Prometheus' text format.
fn metrics(text: String) -> Response {
    let mut response = text_response(200, text);
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

fn found(headers: &HeaderMap, value: Option<Value>) -> Result<Response, Status> {
    value.map(|value| tagged(headers, &value)).ok_or_else(Status::no_such_path)
}

/// A document that clients may cache: 304 when they have it already.
pub(crate) fn tagged(headers: &HeaderMap, value: &Value) -> Response {
    let body = value.to_string();
    let digest = Sha512::digest(body.as_bytes());
    let mut tag = String::with_capacity(130);
    tag.push('"');
    for byte in digest {
        tag.push_str(&format!("{byte:02X}"));
    }
    tag.push('"');
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| {
        known.split(',').any(|candidate| candidate.trim().trim_start_matches("W/") == tag)
    });
    let mut response = json_response(if known { 304 } else { 200 }, &Value::Null);
    if known {
        *response.body_mut() = full(bytes::Bytes::new());
    } else {
        *response.body_mut() = full(body);
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}
