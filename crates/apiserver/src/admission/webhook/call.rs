//! The call itself: HTTPS to a URL or to a service in the cluster.

use crate::contract::Context;
use crate::subresources::service_endpoint;
use api::common::text;
use api::k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use bytes::Bytes;
use component::upgrade::{Upstream, dial};
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer (upstream's limit for webhooks).
const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// Where a webhook is.
struct Place {
    /// What to dial.
    address: String,
    /// Whom its certificate must name.
    name: String,
    /// As the URL says it.
    authority: String,
    path: String,
}

async fn place(context: &Context, client: &WebhookClientConfig) -> Result<Place, String> {
    if let Some(service) = &client.service {
        let port = service.port.unwrap_or(443);
        let found = service_endpoint(context, &service.namespace, &service.name, &port.to_string()).await;
        let (host, number) = found.map_err(|error| error.message)?;
        let name = format!("{}.{}.svc", service.name, service.namespace);
        let path = text(&service.path);
        return Ok(Place {
            address: if host.contains(':') {
                format!("[{host}]:{number}")
            } else {
                format!("{host}:{number}")
            },
            authority: format!("{name}:{port}"),
            name,
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        });
    }
    let url: Uri = text(&client.url).parse().map_err(|error| format!("the URL cannot be read: {error}"))?;
    let Some(authority) = url.authority().filter(|_| url.scheme_str() == Some("https")) else {
        return Err("the URL must start with https://".to_owned());
    };
    let host = authority.host();
    Ok(Place {
        address: format!("{host}:{}", authority.port_u16().unwrap_or(443)),
        name: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        authority: authority.to_string(),
        path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
    })
}

/// Posts `body` and returns the answer, or why there is none.
pub(crate) async fn post(
    context: &Context,
    client: &WebhookClientConfig,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, String> {
    let place = place(context, client).await.map_err(|why| format!("failed to call webhook: {why}"))?;
    let separator = if place.path.contains('?') { '&' } else { '?' };
    let path = format!("{}{separator}timeout={}s", place.path, timeout.as_secs());
    let url = format!("https://{}{path}", place.authority);
    let failed = |why: String| format!("failed to call webhook: Post {url:?}: {why}");
    let Some(bundle) = client.ca_bundle.as_ref().filter(|bundle| !bundle.0.is_empty()) else {
        return Err(failed("x509: certificate signed by unknown authority (caBundle is empty)".to_owned()));
    };
    let tls =
        component::tls::client(&bundle.0, None, &["http/1.1"]).map_err(|error| failed(error.to_string()))?;
    let upstream = Upstream::Tls { address: place.address, server_name: place.name, config: Arc::new(tls) };
    let stream = dial(&upstream).await.map_err(|error| failed(error.to_string()))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    let request = Request::post(path.as_str())
        .header(header::HOST, place.authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(body))
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let code = answer.status();
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(error.to_string()))?;
            bytes.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            if bytes.len() > MAX_ANSWER {
                return Err(failed(format!("the answer is larger than {MAX_ANSWER} bytes")));
            }
        }
        if code.is_success() {
            return Ok(Bytes::from(bytes));
        }
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).trim().to_owned();
        Err(format!("failed to call webhook: the server responded with {code}: {text}"))
    };
    // The connection is driven only as long as the exchange needs it, and tells the exchange when it breaks.
    let driving = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = driving => never,
    }
}
