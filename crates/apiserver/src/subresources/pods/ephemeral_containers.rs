//! `pods/ephemeralcontainers`: containers for looking into a running pod are added, and never change again.

use crate::contract::{SubresourceHandler, UpdateRules};
use api::Object;
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use machinery::{FieldErrors, FieldPath};

pub(in crate::subresources) struct EphemeralContainers;

impl SubresourceHandler for EphemeralContainers {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        "ephemeralcontainers"
    }

    fn update_rules(&self) -> Option<&dyn UpdateRules> {
        Some(self)
    }
}

fn of(pod: &Pod) -> &[EphemeralContainer] {
    pod.spec.as_ref().map(|spec| items(&spec.ephemeral_containers)).unwrap_or_default()
}

impl UpdateRules for EphemeralContainers {
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object) {
        let (Some(new), Some(old)) = (new.downcast_mut::<Pod>(), old.downcast_ref::<Pod>()) else { return };
        let containers = of(new).to_vec();
        let changed = containers != of(old);
        new.metadata.labels.clone_from(&old.metadata.labels);
        new.metadata.annotations.clone_from(&old.metadata.annotations);
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
        new.spec.get_or_insert_default().ephemeral_containers =
            (!containers.is_empty()).then_some(containers);
        api::common::next_generation(&mut new.metadata, &old.metadata, changed);
    }

    fn validate(&self, new: &dyn Object, old: &dyn Object) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let (Some(new), Some(old)) = (new.downcast_ref::<Pod>(), old.downcast_ref::<Pod>()) else {
            return errors;
        };
        let field = FieldPath::new("spec").child("ephemeralContainers");
        for before in of(old) {
            match of(new).iter().find(|container| container.name == before.name) {
                None => errors.forbidden(
                    field.clone(),
                    format!("existing ephemeral containers {:?} may not be removed\n", before.name),
                ),
                Some(after) if after != before => errors.forbidden(
                    field.clone(),
                    format!("existing ephemeral containers {:?} may not be changed\n", before.name),
                ),
                Some(_) => {}
            }
        }
        let Some(spec) = &new.spec else { return errors };
        let others = spec.containers.iter().chain(items(&spec.init_containers)).map(|c| c.name.as_str());
        let mut seen: Vec<&str> = others.clone().collect();
        for (at, container) in of(new).iter().enumerate() {
            let field = field.index(at);
            if container.name.is_empty() {
                errors.required(field.child("name"), "");
            } else if seen.contains(&container.name.as_str()) {
                errors.duplicate(field.child("name"), &container.name);
            } else {
                let wrong = api::common::names::label(&container.name, false);
                api::common::names::report(field.child("name"), &container.name, wrong, &mut errors);
            }
            seen.push(&container.name);
            if text(&container.image).is_empty() {
                errors.required(field.child("image"), "");
            }
            let target = text(&container.target_container_name);
            if !target.is_empty() && !others.clone().any(|name| name == target) {
                errors.not_found(field.child("targetContainerName"), target);
            }
            for (set, name) in [
                (container.ports.is_some(), "ports"),
                (container.liveness_probe.is_some(), "livenessProbe"),
                (container.readiness_probe.is_some(), "readinessProbe"),
                (container.startup_probe.is_some(), "startupProbe"),
                (container.lifecycle.is_some(), "lifecycle"),
            ] {
                if set {
                    errors.forbidden(field.child(name), "cannot be set for an Ephemeral Container");
                }
            }
        }
        errors
    }
}
