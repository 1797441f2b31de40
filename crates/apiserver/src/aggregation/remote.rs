//! [`Remote`]: an API server behind a Service, and the requests that this server makes of it for itself.

use super::check::Verdict;
use crate::contract::{Context, UserInfo};
use crate::subresources::service_endpoint;
use api::common::text;
use api::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use bytes::Bytes;
use component::tls;
use component::upgrade::{Upstream, dial};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use machinery::Status;
use parking_lot::Mutex;
use rustls::ClientConfig;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of a document that is taken from a remote server.
const MAX_DOCUMENT: usize = 16 << 20;
/// How long a remote server may take to answer a check (upstream: 5 s).
const TIMEOUT: Duration = Duration::from_secs(5);

/// The Service of an APIService.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceName {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: i32,
}

/// What a remote server said of itself.
#[derive(Default)]
pub(super) struct Seen {
    /// The version's entry of aggregated discovery.
    pub(super) discovery: Option<Value>,
    /// Where its OpenAPI v3 document is.
    pub(super) openapi_v3: Option<String>,
    pub(super) openapi_v2: Option<(String, Arc<Value>)>,
    pub(super) verdict: Option<Verdict>,
}

/// A group and version that another API server serves.
pub(crate) struct Remote {
    pub(super) object: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) service: ServiceName,
    pub(super) spec: APIServiceSpec,
    pub(super) uid: Option<String>,
    tls: Result<Arc<ClientConfig>, String>,
    available: AtomicBool,
    pub(super) seen: Mutex<Seen>,
}

fn trust(spec: &APIServiceSpec, context: &Context) -> Result<ClientConfig, String> {
    let pair = context.config.front_proxy_client.as_ref();
    let bundle = spec.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).unwrap_or_default();
    let made = if spec.insecure_skip_tls_verify == Some(true) {
        tls::client_of_anyone(pair, &["http/1.1"])
    } else if bundle.is_empty() {
        return Err("x509: certificate signed by unknown authority (caBundle is empty)".to_owned());
    } else {
        tls::client(bundle, pair, &["http/1.1"])
    };
    made.map_err(|error| error.to_string())
}

impl Remote {
    pub(super) fn new(object: &APIService, spec: &APIServiceSpec, context: &Context) -> Self {
        let service = spec.service.as_ref();
        // Known to be available until the next check, as its last condition says.
        let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
        let available =
            conditions.into_iter().flatten().any(|c| c.type_ == "Available" && c.status == "True");
        Self {
            object: text(&object.metadata.name).to_owned(),
            group: text(&spec.group).to_owned(),
            version: text(&spec.version).to_owned(),
            service: ServiceName {
                namespace: service.map(|s| text(&s.namespace)).unwrap_or_default().to_owned(),
                name: service.map(|s| text(&s.name)).unwrap_or_default().to_owned(),
                port: service.and_then(|s| s.port).unwrap_or(443),
            },
            spec: spec.clone(),
            uid: object.metadata.uid.clone(),
            tls: trust(spec, context).map(Arc::new),
            available: AtomicBool::new(available),
            seen: Mutex::default(),
        }
    }

    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    pub(super) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    /// The name that its certificate must have.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc", self.service.name, self.service.namespace)
    }

    /// One of its endpoints.
    pub(super) async fn upstream(&self, context: &Context) -> Result<Upstream, String> {
        let ServiceName { namespace, name, port } = &self.service;
        let found: Result<(String, i32), Status> =
            service_endpoint(context, namespace, name, &port.to_string()).await;
        let (host, port) = found.map_err(|error| error.message)?;
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Upstream::Tls { address, server_name: self.host(), config: self.tls.clone()? })
    }

    /// A document of the remote server, asked for as this server itself. Redirects are not followed.
    pub(super) async fn get(
        &self,
        context: &Context,
        path: &str,
        accept: &str,
    ) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let work = self.fetch(context, path, accept);
        match tokio::time::timeout(TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }

    async fn fetch(
        &self,
        context: &Context,
        path: &str,
        accept: &str,
    ) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        let upstream = self.upstream(context).await?;
        let stream = dial(&upstream).await.map_err(|error| error.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let mut request = Request::get(path)
            .header(header::HOST, self.host())
            .header(header::ACCEPT, accept)
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        identify(request.headers_mut(), &UserInfo::new("system:kube-aggregator", &["system:masters"]));
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (parts, mut body) = answer.into_parts();
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| error.to_string())?;
                bytes.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
                if bytes.len() > MAX_DOCUMENT {
                    return Err(format!("the answer is larger than {MAX_DOCUMENT} bytes"));
                }
            }
            Ok((parts.status, parts.headers, Bytes::from(bytes)))
        };
        let driving = async {
            // The exchange reports what goes wrong with the connection.
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = driving => never,
        }
    }
}

/// A header name of `prefix` and a key that may have any character: what a name cannot carry is percent-encoded.
fn extra_name(key: &str) -> Option<HeaderName> {
    let mut name = String::from("x-remote-extra-");
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name.parse().ok()
}

/// Says in `X-Remote-*` headers for whom a request is made.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let mut add = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(name, value);
        }
    };
    add(HeaderName::from_static("x-remote-user"), &user.name);
    if !user.uid.is_empty() {
        add(HeaderName::from_static("x-remote-uid"), &user.uid);
    }
    for group in &user.groups {
        add(HeaderName::from_static("x-remote-group"), group);
    }
    for (key, values) in &user.extra {
        let Some(name) = extra_name(key) else { continue };
        values.iter().for_each(|value| add(name.clone(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_travel_in_headers() {
        let mut user = UserInfo::new("alice", &["a", "b"]);
        user.uid = "7".to_owned();
        user.extra.insert("example.com/Scope".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        let mut headers = HeaderMap::new();
        identify(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["alice"]);
        assert_eq!(all("x-remote-uid"), ["7"]);
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.com%2fscope"), ["x", "y"]);
    }
}
