//! `pods/proxy`, `services/proxy`, `nodes/proxy`: HTTP to something in the cluster, with the caller's credentials
//! taken away.
//!
//! Deliberately absent: following redirects, which could lead anywhere, and rewriting links in HTML.

use super::{kubelet, service_endpoints, trust};
use crate::contract::{ConnectCall, Context, SubresourceHandler};
use api::common::{items, text};
use async_trait::async_trait;
use component::serve::{Response, full};
use component::upgrade::{Upstream, forward};
use http::{StatusCode, header};
use machinery::{GroupResource, Status};
use std::net::IpAddr;

pub(super) struct NodeProxy;
pub(super) struct PodProxy;
pub(super) struct ServiceProxy;

/// `[scheme:]name[:port]`, as the name of the proxied object may be written.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

fn parse(text: &str) -> Option<Named<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    let named = match parts.as_slice() {
        [name] => Named { tls: false, name, port: "" },
        [name, port] => Named { tls: false, name, port },
        ["https", name, port] => Named { tls: true, name, port },
        ["http" | "", name, port] => Named { tls: false, name, port },
        _ => return None,
    };
    (!named.name.is_empty()).then_some(named)
}

/// Everything after `/proxy` in the path, undecoded, with the query; `None` when the slash is missing.
fn rest(call: &ConnectCall) -> Option<String> {
    let path = call.request.uri().path();
    // …/namespaces/<ns>/<plural>/<name>/proxy or …/<plural>/<name>/proxy
    let segments = if call.info.namespace.is_empty() { 5 } else { 7 };
    let mut at = 0;
    for _ in 0..segments {
        at += path[at..].find('/')? + 1;
    }
    let slash = at + path[at..].find('/')?;
    let query = call.request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{query}", &path[slash..]))
}

/// Where the slash is missing, relative links would lead astray: browsers are sent to the right place.
fn add_slash(call: &ConnectCall) -> Result<Response, Status> {
    let query = call.request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    http::Response::builder()
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, format!("{}/{query}", call.request.uri().path()))
        .body(full(""))
        .map_err(Status::internal)
}

/// Refuses addresses through which the API server would talk to itself or to the cloud's metadata service.
fn check_address(host: &str) -> Result<(), Status> {
    let Ok(address) = host.parse::<IpAddr>() else { return Ok(()) };
    let bad = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || link_local
        }
    };
    if bad { Err(Status::bad_request("address not allowed")) } else { Ok(()) }
}

async fn to_backend(
    context: &Context,
    call: ConnectCall,
    host: &str,
    port: i32,
    tls: bool,
    what: &str,
) -> Result<Response, Status> {
    let Some(rest) = rest(&call) else { return add_slash(&call) };
    check_address(host)?;
    let address = kubelet::authority(host, port);
    let upstream = if tls {
        let config = trust::anyone().map_err(Status::internal)?;
        Upstream::Tls { address: address.clone(), server_name: host.to_owned(), config }
    } else {
        Upstream::Tcp(address.clone())
    };
    let mut request = call.request;
    kubelet::rewrite(&mut request, &rest)?;
    request.headers_mut().insert(header::HOST, address.parse().map_err(Status::internal)?);
    forward(request, &upstream, &context.tasks)
        .await
        .map_err(|error| Status::unavailable(format!("error trying to reach {what}: {error}")))
}

fn bad_name(plural: &'static str, name: &str) -> Status {
    Status::bad_request(format!("invalid {plural} request {name:?}"))
}

#[async_trait]
impl SubresourceHandler for PodProxy {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        "proxy"
    }

    fn connects(&self) -> bool {
        true
    }

    async fn connect(&self, context: &Context, mut call: ConnectCall) -> Result<Response, Status> {
        let full_name = call.info.name.clone();
        let named = parse(&full_name).ok_or_else(|| bad_name("pod", &full_name))?;
        call.info.name = named.name.to_owned();
        let pod = kubelet::pod(context, &call).await?;
        let address = pod.status.as_ref().map(|status| text(&status.pod_ip)).unwrap_or_default();
        if address.is_empty() {
            return Err(Status::bad_request("address not allowed"));
        }
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let mut ports = containers.iter().flat_map(|container| items(&container.ports));
        let port = match named.port {
            "" => ports.next().map(|port| port.container_port),
            number if number.bytes().all(|b| b.is_ascii_digit()) => number.parse().ok(),
            name => ports.find(|port| text(&port.name) == name).map(|port| port.container_port),
        };
        let port = port.unwrap_or(if named.tls { 443 } else { 80 });
        to_backend(context, call, address, port, named.tls, "pod").await
    }
}

#[async_trait]
impl SubresourceHandler for ServiceProxy {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "services")
    }

    fn name(&self) -> &'static str {
        "proxy"
    }

    fn connects(&self) -> bool {
        true
    }

    async fn connect(&self, context: &Context, call: ConnectCall) -> Result<Response, Status> {
        let full_name = call.info.name.clone();
        let named = parse(&full_name).ok_or_else(|| bad_name("service", &full_name))?;
        let (address, port) =
            service_endpoints::pick(context, &call.info.namespace, named.name, named.port).await?;
        to_backend(context, call, &address, port, named.tls, "service").await
    }
}

#[async_trait]
impl SubresourceHandler for NodeProxy {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "nodes")
    }

    fn name(&self) -> &'static str {
        "proxy"
    }

    fn connects(&self) -> bool {
        true
    }

    async fn connect(&self, context: &Context, call: ConnectCall) -> Result<Response, Status> {
        let full_name = call.info.name.clone();
        let named = parse(&full_name).ok_or_else(|| bad_name("node", &full_name))?;
        let (host, kubelet_port) = kubelet::address(context, named.name).await?;
        let wanted: i32 = match named.port {
            "" => kubelet_port,
            port => port.parse().map_err(|_| bad_name("node", &full_name))?,
        };
        if wanted != kubelet_port {
            return to_backend(context, call, &host, wanted, named.tls, "node").await;
        }
        let Some(rest) = rest(&call) else { return add_slash(&call) };
        if call.request.headers().contains_key(header::UPGRADE) && call.info.verb == "get" {
            // The kubelet runs commands for whoever the API server sends: reading must not be enough.
            let mut attributes = call.info.attributes(&call.user);
            attributes.verb = "create".into();
            crate::authz::check(context, &attributes).await?;
        }
        let (upstream, _) = kubelet::upstream(context, named.name).await?;
        let mut request = call.request;
        kubelet::rewrite(&mut request, &rest)?;
        forward(request, &upstream, &context.tasks).await.map_err(|error| {
            let gr = GroupResource::new("", "nodes");
            tracing::debug!(resource = %gr, name = named.name, %error, "failed to reach a kubelet");
            Status::unavailable(format!("error trying to reach service: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_scheme_and_port() {
        assert_eq!(parse("a"), Some(Named { tls: false, name: "a", port: "" }));
        assert_eq!(parse("a:80"), Some(Named { tls: false, name: "a", port: "80" }));
        assert_eq!(parse("https:a:x"), Some(Named { tls: true, name: "a", port: "x" }));
        assert_eq!(parse("ftp:a:x"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn no_address_of_the_server_itself() {
        for bad in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(check_address("10.0.0.1").is_ok());
    }
}
