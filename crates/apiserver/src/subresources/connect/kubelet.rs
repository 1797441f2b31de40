//! Requests to kubelets, with the API server's own client certificate.

use crate::authn::strip_credentials;
use crate::contract::{ConnectCall, Context};
use api::Kind;
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{Node, Pod};
use api::transport::Target;
use component::serve::{Request, Response};
use component::upgrade::{ProxyError, Upstream, forward};
use machinery::{GroupVersionResource, Status};
use std::sync::Arc;

const DEFAULT_PORT: i32 = 10250;
/// Addresses of a node, the most direct first: names of nodes need not resolve.
const ADDRESS_TYPES: [&str; 5] = ["InternalIP", "Hostname", "InternalDNS", "ExternalDNS", "ExternalIP"];

/// The pod of a call, as the store has it.
pub(super) async fn pod(context: &Context, call: &ConnectCall) -> Result<Arc<Pod>, Status> {
    let target = Target::all(GroupVersionResource::new("", "v1", Pod::PLURAL));
    let target = target.in_namespace(&call.info.namespace).named(&call.info.name);
    context.loopback.get(&target).await?.get().map_err(Status::internal)
}

/// The node that a pod runs on; `None` while it has none.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().map(|spec| text(&spec.node_name)).filter(|node| !node.is_empty())
}

/// Host and port of a node's kubelet.
pub(super) async fn address(context: &Context, node: &str) -> Result<(String, i32), Status> {
    let target = Target::all(GroupVersionResource::new("", "v1", Node::PLURAL)).named(node);
    let node = context.loopback.get(&target).await?.get::<Node>().map_err(Status::internal)?;
    let status = node.status.as_ref();
    let port = status
        .and_then(|status| status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref())
        .map(|endpoint| endpoint.port)
        .filter(|port| *port > 0)
        .unwrap_or(DEFAULT_PORT);
    let addresses = status.map(|status| items(&status.addresses)).unwrap_or_default();
    let found = ADDRESS_TYPES.iter().find_map(|kind| addresses.iter().find(|a| a.type_ == *kind));
    match found {
        Some(address) => Ok((address.address.clone(), port)),
        None => Err(Status::internal(format!(
            "no preferred addresses found; known addresses: {:?}",
            addresses.iter().map(|a| a.address.as_str()).collect::<Vec<_>>()
        ))),
    }
}

/// `host:port`, an IPv6 address in brackets.
pub(super) fn authority(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The kubelet of `node` as an upstream, and its URL without a path.
pub(super) async fn upstream(context: &Context, node: &str) -> Result<(Upstream, String), Status> {
    let (host, port) = address(context, node).await?;
    let Some(config) = context.config.kubelet.tls.clone() else {
        return Err(Status::unavailable(
            "this API server has no client certificate for kubelets; set --kubelet-client-certificate",
        ));
    };
    let address = authority(&host, port);
    let url = format!("https://{address}");
    Ok((Upstream::Tls { address, server_name: host, config }, url))
}

/// How a failure to reach a kubelet is worded.
#[derive(Clone, Copy)]
pub(super) enum Wording {
    /// As for plain requests: with method and URL.
    Request,
    /// As for streams.
    Stream,
}

/// Sends the request to `path_and_query` of a kubelet.
pub(super) async fn send(
    context: &Context,
    node: &str,
    mut request: Request,
    path_and_query: &str,
    wording: Wording,
) -> Result<Response, Status> {
    let (upstream, url) = upstream(context, node).await?;
    let url = format!("{url}{path_and_query}");
    rewrite(&mut request, path_and_query)?;
    let method = title(request.method().as_str());
    forward(request, &upstream, &context.tasks).await.map_err(|error: ProxyError| match wording {
        Wording::Request => failure(format!("{method} {url:?}: {error}")),
        Wording::Stream => failure(format!("error dialing backend: {error}")),
    })
}

/// 500 in the words given, as upstream passes errors of its proxies on.
fn failure(message: String) -> Status {
    Status::new(500, machinery::Reason::InternalError, message)
}

fn title(method: &str) -> String {
    let lower = method.to_lowercase();
    let mut chars = lower.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Points the request elsewhere and takes away what identified its sender.
pub(super) fn rewrite(request: &mut Request, path_and_query: &str) -> Result<(), Status> {
    let uri = path_and_query.parse().map_err(|_| {
        Status::bad_request(format!("{path_and_query:?} is not a path that can be requested"))
    })?;
    *request.uri_mut() = uri;
    request.headers_mut().remove(http::header::HOST);
    strip_credentials(request.headers_mut());
    Ok(())
}

/// Appends query parameters, percent-encoded.
pub(super) fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = path.to_owned();
    let mut separator = '?';
    for (name, value) in pairs {
        url.push(separator);
        url.push_str(&escape(name));
        url.push('=');
        url.push_str(&escape(value));
        separator = '&';
    }
    url
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// The container that a call means: the named one if it exists, or the only one.
pub(super) fn container<'a>(pod: &'a Pod, asked: Option<&str>) -> Result<&'a str, Status> {
    let name = text(&pod.metadata.name);
    let Some(spec) = &pod.spec else { return Err(Status::internal("the pod has no spec")) };
    let ordinary: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let init: Vec<&str> = items(&spec.init_containers).iter().map(|c| c.name.as_str()).collect();
    let ephemeral: Vec<&str> = items(&spec.ephemeral_containers).iter().map(|c| c.name.as_str()).collect();
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        let mut all = ordinary.iter().chain(&init).chain(&ephemeral);
        return all
            .find(|known| **known == asked)
            .copied()
            .ok_or_else(|| Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    if let [only] = ordinary.as_slice() {
        return Ok(only);
    }
    let mut text =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", ordinary.join(" "));
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        text.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(Status::bad_request(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_found_or_listed() {
        let pod = Pod::from_json(
            br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"initContainers":[{"name":"i"}],
            "containers":[{"name":"a"},{"name":"b"}]}}"#,
        )
        .unwrap();
        assert_eq!(container(&pod, Some("i")).unwrap(), "i");
        assert_eq!(container(&pod, Some("x")).unwrap_err().message, "container x is not valid for pod p");
        assert_eq!(
            container(&pod, None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(with_query("/x", [("a", "b c"), ("d", "&=")]), "/x?a=b%20c&d=%26%3D");
        assert_eq!(authority("::1", 5), "[::1]:5");
    }
}
