//! `pods/resize`: CPU and memory of running containers change in place (KEP-1287).
//!
//! Deliberately absent: deciding whether the node has room, which the kubelet does.

use crate::contract::{SubresourceHandler, UpdateRules};
use api::Object;
use api::common::amounts::{Amounts, equal};
use api::common::items;
use api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use machinery::{FieldErrors, FieldPath};

pub(in crate::subresources) struct Resize;

impl SubresourceHandler for Resize {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        "resize"
    }

    fn update_rules(&self) -> Option<&dyn UpdateRules> {
        Some(self)
    }
}

/// Takes over resources by container name.
fn take(into: &mut [Container], from: &[Container]) {
    for container in into {
        if let Some(wanted) = from.iter().find(|wanted| wanted.name == container.name) {
            container.resources.clone_from(&wanted.resources);
            container.resize_policy.clone_from(&wanted.resize_policy);
        }
    }
}

impl UpdateRules for Resize {
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object) {
        let (Some(new), Some(old)) = (new.downcast_mut::<Pod>(), old.downcast_ref::<Pod>()) else { return };
        let (Some(wanted), Some(before)) = (&new.spec, &old.spec) else { return };
        let mut spec = before.clone();
        take(&mut spec.containers, &wanted.containers);
        if let (Some(into), Some(from)) = (&mut spec.init_containers, &wanted.init_containers) {
            take(into, from);
        }
        spec.resources.clone_from(&wanted.resources);
        let changed = spec != *before;
        new.spec = Some(spec);
        new.status.clone_from(&old.status);
        new.metadata.labels.clone_from(&old.metadata.labels);
        new.metadata.annotations.clone_from(&old.metadata.annotations);
        api::common::next_generation(&mut new.metadata, &old.metadata, changed);
    }

    fn validate(&self, new: &dyn Object, old: &dyn Object) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let (Some(new), Some(old)) = (new.downcast_ref::<Pod>(), old.downcast_ref::<Pod>()) else {
            return errors;
        };
        let (Some(spec), Some(before)) = (&new.spec, &old.spec) else { return errors };
        if quality(spec) != quality(before) {
            errors.invalid(
                FieldPath::new("spec"),
                quality(spec),
                "Pod QOS Class may not change as a result of resizing",
            );
        }
        let path = FieldPath::new("spec").child("containers");
        check(&spec.containers, &before.containers, &path, &mut errors);
        let path = FieldPath::new("spec").child("initContainers");
        check(items(&spec.init_containers), items(&before.init_containers), &path, &mut errors);
        errors
    }
}

fn check(new: &[Container], old: &[Container], path: &FieldPath, errors: &mut FieldErrors) {
    let empty = ResourceRequirements::default();
    for (at, (new, old)) in new.iter().zip(old).enumerate() {
        let path = path.index(at);
        if new.resize_policy != old.resize_policy {
            errors.forbidden(path.child("resizePolicy"), "resizePolicy may not be changed");
        }
        let (now, then) =
            (new.resources.as_ref().unwrap_or(&empty), old.resources.as_ref().unwrap_or(&empty));
        let path = path.child("resources");
        for (now, then, name) in
            [(&now.requests, &then.requests, "requests"), (&now.limits, &then.limits, "limits")]
        {
            let (now, then) = (now.clone().unwrap_or_default(), then.clone().unwrap_or_default());
            for key in now.keys().chain(then.keys()) {
                let path = path.child(name).key(key);
                match (now.get(key), then.get(key)) {
                    (None, Some(_)) => errors.forbidden(path, format!("resource {name} cannot be removed")),
                    (Some(a), Some(b)) if equal(a, b) => {}
                    (Some(_), _) if key != "cpu" && key != "memory" => {
                        errors.forbidden(path, "only cpu and memory resources are mutable");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The pod's quality of service class.
fn quality(spec: &PodSpec) -> &'static str {
    let mut all = spec.containers.iter().chain(items(&spec.init_containers)).peekable();
    let amount = |amounts: Option<&Amounts>, name: &str| {
        amounts.and_then(|amounts| amounts.get(name)).filter(|q| q.0 != "0").cloned()
    };
    let (mut any, mut guaranteed) = (false, all.peek().is_some());
    for container in all {
        let resources = container.resources.as_ref();
        for name in ["cpu", "memory"] {
            let request = amount(resources.and_then(|r| r.requests.as_ref()), name);
            let limit = amount(resources.and_then(|r| r.limits.as_ref()), name);
            any |= request.is_some() || limit.is_some();
            guaranteed &= match (&request, &limit) {
                (Some(request), Some(limit)) => equal(request, limit),
                _ => false,
            };
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
