//! `apps/v1` StatefulSet.

use crate::common::names::{self, Messages};
use crate::common::pod::{defaults, template, warnings};
use crate::common::print::workload_columns;
use crate::common::status;
use crate::common::workload::validate_selector;
use crate::common::{default, default_text, first_generation, next_generation, numbers, text, volume_claim};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(StatefulSet);

const ROLLING: &str = "RollingUpdate";

impl Rules for StatefulSet {
    fn check_name(name: &str, prefix: bool) -> Messages {
        // The name becomes a label value and part of host names.
        names::label(name, prefix)
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        default_text(&mut spec.pod_management_policy, "OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_default();
        default_text(&mut strategy.type_, ROLLING);
        if text(&strategy.type_) == ROLLING {
            default(&mut strategy.rolling_update.get_or_insert_default().partition, 0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        default_text(&mut retention.when_deleted, "Retain");
        default_text(&mut retention.when_scaled, "Retain");
        default(&mut spec.replicas, 1);
        default(&mut spec.revision_history_limit, 10);
        defaults::template(&mut spec.template);
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            volume_claim::defaults(claim.spec.get_or_insert_default());
            default_text(&mut claim.status.get_or_insert_default().phase, "Pending");
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(StatefulSetStatus::default());
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        next_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = StatefulSetSpec::default();
        validate_spec(self.spec.as_ref().unwrap_or(&empty), &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        self.validate_create(errors);
        let (Some(new), Some(was)) = (&self.spec, &old.spec) else { return };
        let mutable = StatefulSetSpec {
            replicas: was.replicas,
            template: was.template.clone(),
            update_strategy: was.update_strategy.clone(),
            min_ready_seconds: was.min_ready_seconds,
            ordinals: was.ordinals.clone(),
            revision_history_limit: was.revision_history_limit,
            persistent_volume_claim_retention_policy: was.persistent_volume_claim_retention_policy.clone(),
            ..new.clone()
        };
        if mutable != *was {
            errors.forbidden(
                FieldPath::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    }

    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let of_all = [
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        status::counts(&of_all, errors);
        status::counts(
            &[("replicas", Some(status.replicas)), ("collisionCount", status.collision_count)],
            errors,
        );
        status::counts(&[("observedGeneration", status.observed_generation)], errors);
        status::at_most(&of_all, status.replicas, "status.replicas", errors);
        let ready = status.ready_replicas.unwrap_or(0);
        let available = [("availableReplicas", status.available_replicas)];
        status::at_most(&available, ready, "status.readyReplicas", errors);
        let was = old.status.as_ref().and_then(|status| status.collision_count);
        status::collisions(status.collision_count, was, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let Some(spec) = &self.spec else { return Vec::new() };
        let path = FieldPath::new("spec").child("template");
        warnings::workload(&self.metadata, old.map(|old| &old.metadata), &spec.template, &path)
    }

    fn columns() -> Vec<Column> {
        let mut columns = vec![
            Column::name(),
            Column::new("Ready", "string", "Pods that are ready, of all wanted."),
            Column::age(),
        ];
        columns.extend(workload_columns(false));
        columns
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let spec = self.spec.as_ref();
        let ready = self.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or_default();
        let (names, images) = template::container_cells(spec.map(|spec| &spec.template));
        vec![
            name_cell(self),
            json!(format!("{ready}/{wanted}")),
            age_cell(self, now),
            json!(names),
            json!(images),
        ]
    }
}

fn validate_spec(spec: &StatefulSetSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let at = path.child("podManagementPolicy");
    match text(&spec.pod_management_policy) {
        "" => errors.required(at, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(at, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    validate_strategy(spec, &path.child("updateStrategy"), errors);
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let at = path.child("persistentVolumeClaimRetentionPolicy");
        for (field, policy) in
            [("whenDeleted", &retention.when_deleted), ("whenScaled", &retention.when_scaled)]
        {
            let policy = text(policy);
            if !["Retain", "Delete"].contains(&policy) {
                errors.not_supported(at.child(field), policy, &["Delete", "Retain"]);
            }
        }
    }
    numbers::optional_not_negative(spec.replicas, path.child("replicas"), errors);
    numbers::optional_not_negative(spec.min_ready_seconds, path.child("minReadySeconds"), errors);
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
    numbers::optional_not_negative(start, path.child("ordinals").child("start"), errors);
    numbers::optional_not_negative(spec.revision_history_limit, path.child("revisionHistoryLimit"), errors);
    let service = text(&spec.service_name);
    if !service.is_empty() {
        names::report(path.child("serviceName"), service, names::dns1123_subdomain(service), errors);
    }
    validate_selector(&spec.selector, &spec.template, path, errors);
    // Mounts may name volumes that claims will provide.
    let mut pod = spec.template.clone();
    let volumes = pod.spec.get_or_insert_default().volumes.get_or_insert_default();
    for claim in spec.volume_claim_templates.iter().flatten() {
        let name = claim.metadata.name.clone().unwrap_or_default();
        volumes.retain(|volume| volume.name != name);
        volumes.push(k8s_openapi::api::core::v1::Volume {
            empty_dir: Some(Default::default()),
            name,
            ..Default::default()
        });
    }
    template::validate_running(&pod, "StatefulSet", &path.child("template"), errors);
}

fn validate_strategy(spec: &StatefulSetSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(strategy) = &spec.update_strategy else { return };
    match (text(&strategy.type_), &strategy.rolling_update) {
        ("", _) => errors.required(path.clone(), ""),
        ("OnDelete", Some(_)) => errors.invalid(
            path.child("rollingUpdate"),
            json!({}),
            "only allowed for updateStrategy 'RollingUpdate'",
        ),
        ("OnDelete", None) | (ROLLING, None) => {}
        (ROLLING, Some(rolling)) => {
            let at = path.child("rollingUpdate");
            numbers::optional_not_negative(rolling.partition, at.child("partition"), errors);
            if let Some(most) = &rolling.max_unavailable {
                let at = at.child("maxUnavailable");
                crate::common::int_or_percent::validate(most, &at, errors);
                if crate::common::int_or_percent::is_zero(most) {
                    errors.invalid(at, crate::common::int_or_percent::printed(most), "cannot be 0");
                }
            }
        }
        (other, _) => errors.invalid(path.clone(), other, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// The resource `statefulsets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<StatefulSet>().short(&["sts"]).category("all").scale().status()
}
