//! Reading a pod's specification: its containers in their roles, restart rules, hashes, QoS class.
//!
//! Pure functions of the API object. Deliberately absent: anything about what runs.

use crate::model::{RuntimeContainer, State};
use api::k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, ResourceRequirements};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to completion before the next.
    Init,
    /// Init container that keeps running (KEP-753).
    Sidecar,
    /// Ordinary container.
    Regular,
    /// Added to debug (KEP-277).
    Ephemeral,
}

/// A UID, empty for objects without one.
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// A name, empty for objects without one.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// A namespace, empty for objects without one.
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// `name_namespace(uid)`, as log lines and back-off messages write a pod.
pub(crate) fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// The specification; pods from the API always have one.
pub(crate) fn spec(pod: &Pod) -> Cow<'_, PodSpec> {
    match &pod.spec {
        Some(spec) => Cow::Borrowed(spec),
        None => Cow::Owned(PodSpec::default()),
    }
}

/// Ordinary containers.
pub(crate) fn regular(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

/// Init containers and sidecars in order.
pub(crate) fn init(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
}

/// Ephemeral containers in the shape of ordinary ones.
pub(crate) fn ephemeral(pod: &Pod) -> Vec<Container> {
    let list = pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default();
    list.iter().map(as_container).collect()
}

fn as_container(e: &EphemeralContainer) -> Container {
    let e = e.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        name: e.name,
        resources: e.resources,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
        ..Container::default()
    }
}

/// Whether an init container is a sidecar.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Every container with its role: init first, then regular, then ephemeral.
pub(crate) fn all(pod: &Pod) -> Vec<(Role, Cow<'_, Container>)> {
    let inits =
        init(pod).iter().map(|c| (if is_sidecar(c) { Role::Sidecar } else { Role::Init }, Cow::Borrowed(c)));
    let regulars = regular(pod).iter().map(|c| (Role::Regular, Cow::Borrowed(c)));
    let ephemerals = ephemeral(pod).into_iter().map(|c| (Role::Ephemeral, Cow::Owned(c)));
    inits.chain(regulars).chain(ephemerals).collect()
}

/// The container called `name`, whatever its role.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    all(pod).into_iter().find(|(_, c)| c.name == name)
}

/// Restart policy, `Always` when unset.
pub(crate) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether failed containers of the pod are restarted at all.
pub(crate) fn restarts_on_failure(pod: &Pod) -> bool {
    restart_policy(pod) != "Never"
}

/// Whether the pod uses the host's network.
pub(crate) fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// Whether an exit is followed by a restart under the container's own policy (KEP-5307), its rules first.
fn own_policy_restarts(container: &Container, exit_code: i32) -> Option<bool> {
    let policy = container.restart_policy.as_deref()?;
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.as_ref().is_some_and(|values| values.contains(&exit_code));
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        if rule.action == "Restart" && matches {
            return Some(true);
        }
    }
    Some(match policy {
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    })
}

/// Whether a container that ended with `exit_code` is to run again.
pub(crate) fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    own_policy_restarts(container, exit_code).unwrap_or_else(|| match restart_policy(pod) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    })
}

/// Whether the container is to be started, given its newest attempt.
pub(crate) fn should_start(pod: &Pod, container: &Container, latest: Option<&RuntimeContainer>) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Some(latest) = latest else { return true };
    match latest.state {
        State::Running => false,
        State::Unknown | State::Created => true,
        State::Exited => restarts_after(pod, container, latest.exit_code),
    }
}

/// FNV-1a of the fields whose change restarts a container: name and image (the others can not change or are
/// applied in place).
pub(crate) fn hash(container: &Container) -> u64 {
    let image = container.image.as_deref().unwrap_or_default();
    let text = format!("{{\"image\":{image:?},\"name\":{:?}}}", container.name);
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash)
}

/// Seconds that the pod has to end, from the API's deletion first.
pub(crate) fn grace_seconds(pod: &Pod) -> i64 {
    let from_spec = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    let from_meta = pod.metadata.deletion_grace_period_seconds;
    from_meta.or(from_spec).unwrap_or(30).max(0)
}

fn quantity_set(list: Option<&BTreeMap<String, Quantity>>, resource: &str) -> Option<i64> {
    list.and_then(|l| l.get(resource)).map(|q| crate::quantity::milli(&q.0)).filter(|v| *v > 0)
}

/// QoS class (`Guaranteed`, `Burstable`, `BestEffort`) by the published rule: guaranteed when every container
/// has cpu and memory limits equal to its requests, best effort when none has any.
pub(crate) fn qos(pod: &Pod) -> &'static str {
    if let Some(class) = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        match class {
            "Guaranteed" => return "Guaranteed",
            "Burstable" => return "Burstable",
            "BestEffort" => return "BestEffort",
            _ => {}
        }
    }
    let pod_level = pod.spec.as_ref().and_then(|s| s.resources.as_ref());
    let containers: Vec<Option<&ResourceRequirements>> = match pod_level {
        Some(resources) => vec![Some(resources)],
        None => init(pod).iter().chain(regular(pod)).map(|c| c.resources.as_ref()).collect(),
    };
    let mut any = false;
    let mut guaranteed = !containers.is_empty();
    for resources in containers {
        for resource in ["cpu", "memory"] {
            let limit = quantity_set(resources.and_then(|r| r.limits.as_ref()), resource);
            let request = quantity_set(resources.and_then(|r| r.requests.as_ref()), resource).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Whether the pod came from a manifest on the node or from another source than the API.
pub(crate) fn is_static(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get("kubernetes.io/config.source"))
        .is_some_and(|source| source != "api")
}

/// Whether the API says that the pod has ended for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
