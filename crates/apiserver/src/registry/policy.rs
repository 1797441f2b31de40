//! What differs between resources in how they are written and deleted. Facts of upstream's strategies.

use api::ResourceDef;
use api::transport::Propagation;

/// Whether the resource is built in; custom resources have one rule for all.
fn builtin(def: &ResourceDef) -> bool {
    api::ResourceTable::shared().get(&def.gvr()).is_some()
}

/// Whether an update may come without a resource version.
pub(super) fn unconditional_update(def: &ResourceDef) -> bool {
    builtin(def)
        && !matches!(
            (def.gvk.group.as_ref(), def.plural.as_ref()),
            ("coordination.k8s.io", "leases")
                | ("apiextensions.k8s.io", _)
                | ("apiregistration.k8s.io", _)
                | ("admissionregistration.k8s.io", _)
                | ("node.k8s.io", "runtimeclasses")
                | ("storage.k8s.io", "volumeattachments" | "csinodes" | "csidrivers")
        )
}

/// Whether an update creates what does not exist.
pub(super) fn create_on_update(def: &ResourceDef) -> bool {
    matches!(
        (def.gvk.group.as_ref(), def.plural.as_ref()),
        ("" | "events.k8s.io", "events")
            | ("", "endpoints" | "limitranges" | "services")
            | ("coordination.k8s.io", "leases")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// Whether a finished deletion answers with the object; otherwise it answers with a Status.
pub(crate) fn returns_deleted(def: &ResourceDef) -> bool {
    def.gvk.group.is_empty()
        && matches!(
            def.plural.as_ref(),
            "pods"
                | "services"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
        )
}

/// What happens to dependents when the request does not say.
pub(super) fn default_propagation(def: &ResourceDef) -> Propagation {
    match (def.gvk.group.as_ref(), def.plural.as_ref()) {
        ("", "replicationcontrollers") | ("batch", "jobs") => Propagation::Orphan,
        _ => Propagation::Background,
    }
}

/// Leaves out what holds for built-in kinds only: their finalizers must have a domain.
pub(super) fn forgive(def: &ResourceDef, errors: &mut machinery::FieldErrors) {
    if !builtin(def) || def.gvk.group == "apiextensions.k8s.io" {
        errors.0.retain(|error| error.detail != api::meta::UNQUALIFIED_FINALIZER);
    }
}
