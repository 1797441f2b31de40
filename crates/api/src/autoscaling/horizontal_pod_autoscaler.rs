//! `autoscaling/v2` HorizontalPodAutoscaler: the stored form.

use super::metrics;
use crate::common::{default, default_text, first_generation, items, names, next_generation, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(HorizontalPodAutoscaler);

/// Percentage of requested CPU that is aimed at when no metric is named.
const CPU_PERCENT: i32 = 80;

impl Rules for HorizontalPodAutoscaler {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        default(&mut spec.min_replicas, 1);
        if items(&spec.metrics).is_empty() {
            spec.metrics = Some(vec![cpu_metric(CPU_PERCENT)]);
        }
        if let Some(behavior) = &mut spec.behavior {
            let percent = || policy("Percent", 100);
            let up = behavior.scale_up.get_or_insert_default();
            default(&mut up.stabilization_window_seconds, 0);
            rules(up, vec![policy("Pods", 4), percent()]);
            rules(behavior.scale_down.get_or_insert_default(), vec![percent()]);
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(HorizontalPodAutoscalerStatus::default());
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
        validate_spec(&self.spec, &FieldPath::new("spec"), errors);
    }

    fn validate_status_update(&self, _: &Self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let counts = [
            ("currentReplicas", status.current_replicas),
            ("desiredReplicas", Some(status.desired_replicas)),
        ];
        crate::common::status::counts(&counts, errors);
    }

    fn columns() -> Vec<Column> {
        columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        cells(self, now)
    }
}

/// The metric for a percentage of requested CPU.
pub(super) fn cpu_metric(percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: 15 }
}

fn rules(rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>) {
    default_text(&mut rules.select_policy, "Max");
    if items(&rules.policies).is_empty() {
        rules.policies = Some(policies);
    }
}

/// The columns in either version.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Reference", "string", "What it scales."),
        Column::new("Targets", "string", "Metrics: what they are, and what they should be."),
        Column::new("MinPods", "string", "Fewest pods."),
        Column::new("MaxPods", "string", "Most pods."),
        Column::new("Replicas", "integer", "How many pods there are."),
        Column::age(),
    ]
}

/// The row in either version.
pub(super) fn cells(scaler: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&scaler.spec, scaler.status.as_ref());
    let target = &spec.scale_target_ref;
    let min = spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |min| min.to_string());
    let current = status.map(|status| items(&status.current_metrics)).unwrap_or_default();
    vec![
        name_cell(scaler),
        json!(format!("{}/{}", target.kind, target.name)),
        json!(metrics::display(items(&spec.metrics), current)),
        json!(min),
        json!(spec.max_replicas.to_string()),
        json!(status.and_then(|status| status.current_replicas).unwrap_or_default()),
        age_cell(scaler, now),
    ]
}

fn validate_spec(spec: &HorizontalPodAutoscalerSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let min = spec.min_replicas.unwrap_or(1);
    if min < 1 {
        errors.invalid(path.child("minReplicas"), min, "must be greater than or equal to 1");
    }
    let at = path.child("maxReplicas");
    if spec.max_replicas < 1 {
        errors.invalid(at.clone(), spec.max_replicas, "must be greater than 0");
    }
    if spec.max_replicas < min {
        errors.invalid(at, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    let at = path.child("scaleTargetRef");
    for (field, value) in [("kind", &spec.scale_target_ref.kind), ("name", &spec.scale_target_ref.name)] {
        if value.is_empty() {
            errors.required(at.child(field), "");
        } else {
            names::report(at.child(field), value, names::path_segment(value, false), errors);
        }
    }
    for (at, metric) in items(&spec.metrics).iter().enumerate() {
        metrics::validate(metric, &path.child("metrics").index(at), errors);
    }
    if let Some(behavior) = &spec.behavior {
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                validate_rules(rules, &path.child("behavior").child(field), errors);
            }
        }
    }
}

fn validate_rules(rules: &HPAScalingRules, path: &FieldPath, errors: &mut FieldErrors) {
    const SELECT: &[&str] = &["Disabled", "Max", "Min"];
    if let Some(seconds) = rules.stabilization_window_seconds {
        let at = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(at, seconds, "must be greater than or equal to zero");
        } else if seconds > 3600 {
            errors.invalid(at, seconds, "must be less than or equal to 3600");
        }
    }
    let select = text(&rules.select_policy);
    if !select.is_empty() && !SELECT.contains(&select) {
        errors.not_supported(path.child("selectPolicy"), select, SELECT);
    }
    if items(&rules.policies).is_empty() {
        errors.required(path.child("policies"), "must specify at least one Policy");
    }
    for (at, policy) in items(&rules.policies).iter().enumerate() {
        let at = path.child("policies").index(at);
        if !["Percent", "Pods"].contains(&policy.type_.as_str()) {
            errors.not_supported(at.child("type"), &policy.type_, &["Percent", "Pods"]);
        }
        if policy.value <= 0 {
            errors.invalid(at.child("value"), policy.value, "must be greater than zero");
        }
        if policy.period_seconds <= 0 {
            errors.invalid(at.child("periodSeconds"), policy.period_seconds, "must be greater than zero");
        } else if policy.period_seconds > 1800 {
            errors.invalid(
                at.child("periodSeconds"),
                policy.period_seconds,
                "must be less than or equal to 1800",
            );
        }
    }
}

/// The resource `horizontalpodautoscalers`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<HorizontalPodAutoscaler>().short(&["hpa"]).category("all").status()
}
