//! Metrics of a HorizontalPodAutoscaler: checks, and how tables print them.

use crate::common::amounts::canonical;
use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricStatus, MetricTarget, MetricValueStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::{FieldErrors, FieldPath};

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// How many metrics a row names.
const SHOWN: usize = 2;

/// The source of a metric in the shape that all types share.
fn target(metric: &MetricSpec) -> Option<(&'static str, &MetricTarget)> {
    match metric.type_.as_str() {
        "ContainerResource" => metric.container_resource.as_ref().map(|m| ("containerResource", &m.target)),
        "External" => metric.external.as_ref().map(|m| ("external", &m.target)),
        "Object" => metric.object.as_ref().map(|m| ("object", &m.target)),
        "Pods" => metric.pods.as_ref().map(|m| ("pods", &m.target)),
        "Resource" => metric.resource.as_ref().map(|m| ("resource", &m.target)),
        _ => None,
    }
}

fn current(status: &MetricStatus) -> Option<&MetricValueStatus> {
    match status.type_.as_str() {
        "ContainerResource" => status.container_resource.as_ref().map(|m| &m.current),
        "External" => status.external.as_ref().map(|m| &m.current),
        "Object" => status.object.as_ref().map(|m| &m.current),
        "Pods" => status.pods.as_ref().map(|m| &m.current),
        "Resource" => status.resource.as_ref().map(|m| &m.current),
        _ => None,
    }
}

/// Reports a metric without its source, or with a target that is none.
pub(super) fn validate(metric: &MetricSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let kind = metric.type_.as_str();
    if kind.is_empty() {
        errors.required(path.child("type"), "must specify a metric source type");
        return;
    }
    if !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, TYPES);
        return;
    }
    let Some((field, target)) = target(metric) else {
        let mut field = kind.to_owned();
        field[..1].make_ascii_lowercase();
        errors.required(path.child(&field), "must populate information for the given metric source");
        return;
    };
    let at = path.child(field).child("target");
    if !["AverageValue", "Utilization", "Value"].contains(&target.type_.as_str()) {
        if target.type_.is_empty() {
            errors.required(at.child("type"), "must specify a metric target type");
        } else {
            errors.invalid(
                at.child("type"),
                &target.type_,
                "must be either Utilization, Value, or AverageValue",
            );
        }
    }
    if let Some(percent @ ..=0) = target.average_utilization {
        errors.invalid(at.child("averageUtilization"), percent, "must be greater than 0");
    }
    for (field, value) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(value) = value
            && crate::common::amounts::parse(value).is_none_or(|value| value.sign() <= 0)
        {
            errors.invalid(at.child(field), canonical(value), "must be positive");
        }
    }
    if target.average_utilization.is_none() && target.value.is_none() && target.average_value.is_none() {
        errors.required(at, "must set either a target raw value or a target utilization");
    }
}

/// Metrics as the `Targets` column prints them: current value before the slash, wanted one after.
pub(super) fn display(specs: &[MetricSpec], statuses: &[MetricStatus]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> =
        specs.iter().enumerate().map(|(at, spec)| display_one(spec, statuses.get(at))).collect();
    match all.len() {
        more if more > SHOWN => format!("{} + {} more...", all[..SHOWN].join(", "), more - SHOWN),
        _ => all.join(", "),
    }
}

fn display_one(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    let Some((_, target)) = target(spec) else { return "<unknown type>".to_owned() };
    let current = status.and_then(current);
    let amount = |value: Option<&Quantity>| value.map_or_else(|| "<unknown>".to_owned(), canonical);
    let average = current.and_then(|current| current.average_value.as_ref());
    let is_resource = ["ContainerResource", "Resource"].contains(&spec.type_.as_str());
    let text = match (&target.average_value, &target.value) {
        (Some(wanted), _) => {
            let suffix = if ["External", "Object"].contains(&spec.type_.as_str()) { " (avg)" } else { "" };
            format!("{}/{}{suffix}", amount(average), canonical(wanted))
        }
        (None, Some(wanted)) if !is_resource => {
            format!("{}/{}", amount(current.and_then(|c| c.value.as_ref())), canonical(wanted))
        }
        _ => {
            let now = current.and_then(|current| current.average_utilization);
            let now = now.map_or_else(|| "<unknown>".to_owned(), |percent| format!("{percent}%"));
            let wanted = target.average_utilization;
            let wanted = wanted.map_or_else(|| "<auto>".to_owned(), |percent| format!("{percent}%"));
            format!("{now}/{wanted}")
        }
    };
    let resource = spec.resource.as_ref().map(|resource| &resource.name);
    match resource.or(spec.container_resource.as_ref().map(|resource| &resource.name)) {
        Some(name) if is_resource => format!("{name}: {text}"),
        _ => text,
    }
}
