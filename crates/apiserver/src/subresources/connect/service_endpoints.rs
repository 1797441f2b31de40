//! One ready endpoint of a service, for the proxy.

use crate::contract::Context;
use api::Kind;
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::Service;
use api::k8s_openapi::api::discovery::v1::EndpointSlice;
use api::transport::Target;
use machinery::{GroupResource, GroupVersionResource, Status};

/// Address and port behind `port` of the service: a name, a number, or empty for the only one.
pub(crate) async fn pick(
    context: &Context,
    namespace: &str,
    name: &str,
    port: &str,
) -> Result<(String, i32), Status> {
    let target = Target::all(GroupVersionResource::new("", "v1", Service::PLURAL));
    let found = context.loopback.get(&target.in_namespace(namespace).named(name)).await?;
    let service = found.get::<Service>().map_err(Status::internal)?;
    let ports = service.spec.as_ref().map(|spec| items(&spec.ports)).unwrap_or_default();
    let number: Option<i32> = port.parse().ok();
    let wanted = match ports {
        [only] if port.is_empty() => only,
        ports => ports
            .iter()
            .find(|p| {
                (!port.is_empty() && text(&p.name) == port)
                    || (port.is_empty() && text(&p.name).is_empty())
                    || number == Some(p.port)
            })
            .ok_or_else(|| {
                Status::unavailable(format!("no service port {port:?} found for service {name:?}"))
            })?,
    };
    let port_name = text(&wanted.name);
    let mut candidates = Vec::new();
    let storage = GroupResource::new("discovery.k8s.io", EndpointSlice::PLURAL);
    for stored in context.lookup.list(&storage, namespace).await? {
        let labels = stored.meta().labels.as_ref();
        if labels.and_then(|l| l.get("kubernetes.io/service-name")).map(String::as_str) != Some(name) {
            continue;
        }
        let slice = stored.get::<EndpointSlice>().map_err(Status::internal)?;
        let Some(number) =
            items(&slice.ports).iter().find(|p| text(&p.name) == port_name).and_then(|p| p.port)
        else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if let (true, Some(address)) = (ready, endpoint.addresses.first()) {
                candidates.push((address.clone(), number));
            }
        }
    }
    if candidates.is_empty() {
        return Err(Status::unavailable(format!("no endpoints available for service {name:?}")));
    }
    Ok(candidates.swap_remove(rand::random_range(0..candidates.len())))
}
