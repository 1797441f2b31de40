//! The downward API: fields of the pod and resources of its containers as text. Pure.

use crate::{quantity, spec};
use api::k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;

/// What is known of the pod beyond its specification.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runtime {
    /// Addresses of the pod, primary first.
    pub(crate) pod_ips: Vec<String>,
    /// Addresses of the node, primary first.
    pub(crate) host_ips: Vec<String>,
    /// Allocatable CPU of the node, thousandths.
    pub(crate) milli_cpu: i64,
    /// Allocatable memory of the node, bytes.
    pub(crate) memory: i64,
    /// Allocatable ephemeral storage of the node, bytes.
    pub(crate) storage: i64,
}

fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", go_quote(value))).collect();
    lines.join("\n")
}

/// Key of `metadata.labels['key']`, given the part before the bracket.
fn subscript<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")
}

/// The value of a field. Errors name the path.
pub(crate) fn field(pod: &Pod, runtime: &Runtime, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    let s = spec::spec(pod);
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(text(meta.labels.as_ref().and_then(|m| m.get(key))));
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(text(meta.annotations.as_ref().and_then(|m| m.get(key))));
    }
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => text(s.node_name.as_ref()),
        "spec.serviceAccountName" => text(s.service_account_name.as_ref()),
        "status.hostIP" => text(runtime.host_ips.first()),
        "status.hostIPs" => runtime.host_ips.join(","),
        "status.podIP" => text(runtime.pod_ips.first()),
        "status.podIPs" => runtime.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of a resource of `container`, in units of the divisor, rounded up. Unset limits are the node's.
pub(crate) fn resource(
    container: &Container,
    runtime: &Runtime,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let resources = container.resources.clone().unwrap_or_default();
    let (list, name, is_limit) = match selector.resource.split_once('.') {
        Some(("limits", name)) => (resources.limits, name, true),
        Some(("requests", name)) => (resources.requests, name, false),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let set = list.unwrap_or_default().get(name).map(|q| q.0.clone());
    let divisor = selector.divisor.as_ref().map_or("1", |d| d.0.as_str());
    let divisor_milli = match quantity::milli(divisor) {
        0 => 1000,
        milli => milli,
    };
    let milli: i128 = match (set, name) {
        (Some(value), "cpu") => i128::from(quantity::milli(&value)),
        (Some(value), _) => i128::from(quantity::units(&value)) * 1000,
        (None, "cpu") if is_limit => i128::from(runtime.milli_cpu),
        (None, "memory") if is_limit => i128::from(runtime.memory) * 1000,
        (None, "ephemeral-storage") if is_limit => i128::from(runtime.storage) * 1000,
        (None, _) => 0,
    };
    let divisor = i128::from(divisor_milli);
    Ok(((milli + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::ResourceRequirements;
    use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    #[test]
    fn labels_are_quoted_and_sorted() {
        let mut pod = Pod::default();
        pod.metadata.labels = Some(BTreeMap::from([("b".into(), "x\"y".into()), ("a".into(), "1".into())]));
        let runtime = Runtime::default();
        assert_eq!(field(&pod, &runtime, "metadata.labels").unwrap(), "a=\"1\"\nb=\"x\\\"y\"");
        assert_eq!(field(&pod, &runtime, "metadata.labels['a']").unwrap(), "1");
        assert!(field(&pod, &runtime, "spec.bogus").unwrap_err().contains("spec.bogus"));
    }

    #[test]
    fn resources_round_up_to_the_divisor() {
        let resources = ResourceRequirements {
            limits: Some(BTreeMap::from([("cpu".to_owned(), Quantity("1500m".to_owned()))])),
            ..ResourceRequirements::default()
        };
        let container = Container { resources: Some(resources), ..Container::default() };
        let runtime = Runtime { memory: 1 << 30, ..Runtime::default() };
        for (what, divisor, want) in [
            ("limits.cpu", "0", "2"),
            ("limits.cpu", "1m", "1500"),
            ("limits.memory", "1Mi", "1024"),
            ("requests.memory", "1", "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: what.to_owned(),
                divisor: Some(Quantity(divisor.to_owned())),
                container_name: None,
            };
            assert_eq!(resource(&container, &runtime, &selector).unwrap(), want, "{what}");
        }
    }
}
