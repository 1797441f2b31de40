//! The subresources that change one part of a pod's spec: `ephemeralcontainers` and `resize`.

use super::create;
use super::update::spec_diff;
use crate::common::pod::qos;
use crate::common::{items, next_generation};
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use machinery::{FieldErrors, FieldPath};

/// Keeps everything of `old` but its ephemeral containers, which come from `pod`.
pub fn prepare_ephemeral(pod: &mut Pod, old: &Pod) {
    let added = pod.spec.take().and_then(|spec| spec.ephemeral_containers);
    keep(pod, old);
    pod.spec.get_or_insert_default().ephemeral_containers = added;
    next_generation(&mut pod.metadata, &old.metadata, pod.spec != old.spec);
}

/// Ephemeral containers are only ever added.
pub fn validate_ephemeral(pod: &Pod, old: &Pod, errors: &mut FieldErrors) {
    create::validate(pod, errors);
    let path = FieldPath::new("spec").child("ephemeralContainers");
    let of = |pod: &Pod| -> Vec<EphemeralContainer> {
        pod.spec.as_ref().map(|spec| items(&spec.ephemeral_containers).to_vec()).unwrap_or_default()
    };
    let new = of(pod);
    for (at, was) in of(old).iter().enumerate() {
        match new.iter().find(|container| container.name == was.name) {
            None => errors.forbidden(
                path.clone(),
                format!("existing ephemeral containers {:?} may not be removed\n", [&was.name]),
            ),
            Some(now) if now != was => errors.forbidden(
                path.index(at),
                format!("existing ephemeral containers {:?} may not be changed\n", [&was.name]),
            ),
            Some(_) => {}
        }
    }
}

/// Keeps everything of `old` but the resources of containers and their resize policies, which come from
/// `pod` (KEP-1287).
pub fn prepare_resize(pod: &mut Pod, old: &Pod) {
    let wanted = pod.spec.take().unwrap_or_default();
    keep(pod, old);
    let spec = pod.spec.get_or_insert_default();
    let resize = |container: &mut Container, wanted: &[Container]| {
        if let Some(wanted) = wanted.iter().find(|wanted| wanted.name == container.name) {
            container.resources.clone_from(&wanted.resources);
            container.resize_policy.clone_from(&wanted.resize_policy);
        }
    };
    spec.containers.iter_mut().for_each(|container| resize(container, &wanted.containers));
    let init = spec.init_containers.iter_mut().flatten();
    init.for_each(|container| resize(container, items(&wanted.init_containers)));
    spec.resources.clone_from(&wanted.resources);
    next_generation(&mut pod.metadata, &old.metadata, pod.spec != old.spec);
}

/// A resize changes CPU and memory of what can be resized, and never the quality of service.
pub fn validate_resize(pod: &Pod, old: &Pod, errors: &mut FieldErrors) {
    create::validate(pod, errors);
    let path = FieldPath::new("spec");
    let (Some(new), Some(was)) = (&pod.spec, &old.spec) else { return };
    if new.containers.len() != was.containers.len() {
        errors.forbidden(path.child("containers"), "containers may not be added or removed on resize");
        return;
    }
    if qos::class(new) != qos::class(was) {
        errors.invalid(path.clone(), qos::class(new), "Pod QOS Class may not change as a result of resizing");
    }
    let mut munged = new.clone();
    put_back(&mut munged, was);
    if munged != *was {
        let diff = spec_diff(old, &Pod { spec: Some(munged), ..old.clone() });
        errors.forbidden(path, format!("only cpu and memory resources are mutable\n{diff}"));
    }
}

/// Takes CPU and memory from `was`, so that what is left to compare must be equal.
fn put_back(spec: &mut PodSpec, was: &PodSpec) {
    let reset = |container: &mut Container, was: &Container| {
        container.resize_policy.clone_from(&was.resize_policy);
        let (Some(now), Some(was)) = (&mut container.resources, &was.resources) else { return };
        for (now, was) in [(&mut now.limits, &was.limits), (&mut now.requests, &was.requests)] {
            for name in ["cpu", "memory"] {
                match was.as_ref().and_then(|was| was.get(name)) {
                    Some(amount) => {
                        now.get_or_insert_default().insert(name.to_owned(), amount.clone());
                    }
                    None => {
                        now.as_mut().map(|now| now.remove(name));
                    }
                }
            }
            if was.is_none() && now.as_ref().is_some_and(|now| now.is_empty()) {
                *now = None;
            }
        }
    };
    spec.containers.iter_mut().zip(&was.containers).for_each(|(now, was)| reset(now, was));
    let init = spec.init_containers.iter_mut().flatten().zip(items(&was.init_containers));
    init.filter(|(_, was)| was.restart_policy.as_deref() == Some("Always"))
        .for_each(|(now, was)| reset(now, was));
    spec.resources.clone_from(&was.resources);
}

fn keep(pod: &mut Pod, old: &Pod) {
    let version = pod.metadata.resource_version.take();
    let fields = pod.metadata.managed_fields.take();
    *pod = old.clone();
    pod.metadata.resource_version = version;
    pod.metadata.managed_fields = fields;
}
