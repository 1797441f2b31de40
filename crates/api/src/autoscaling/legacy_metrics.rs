//! Metrics in the spelling of `autoscaling/v1` annotations: flat fields such as `targetAverageValue` in
//! place of `v2`'s nested `target`.

use k8s_openapi::api::autoscaling::v2::*;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value, json};

/// An object that leaves out what is unset.
#[derive(Default)]
struct Flat(Map<String, Value>);

impl Flat {
    fn text(mut self, key: &str, value: &str) -> Self {
        self.0.insert(key.to_owned(), json!(value));
        self
    }

    fn number(mut self, key: &str, value: Option<i32>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), json!(value));
        }
        self
    }

    fn amount(mut self, key: &str, value: &Option<Quantity>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), json!(value.0));
        }
        self
    }

    fn selector(mut self, key: &str, value: &Option<LabelSelector>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), crate::common::selector::printed(value));
        }
        self
    }

    fn object(mut self, key: &str, value: &CrossVersionObjectReference) -> Self {
        let mut reference = json!({"kind": value.kind, "name": value.name});
        if let Some(version) = &value.api_version {
            reference["apiVersion"] = json!(version);
        }
        self.0.insert(key.to_owned(), reference);
        self
    }

    /// `{"type": kind, field: self}`.
    fn of(self, kind: &str, field: &str) -> Value {
        json!({"type": kind, field: self.0})
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> Option<i32> {
    value.get(key).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok())
}

fn amount(value: &Value, key: &str) -> Option<Quantity> {
    value.get(key).and_then(Value::as_str).map(|text| Quantity(text.to_owned()))
}

fn selector(value: &Value, key: &str) -> Option<LabelSelector> {
    serde_json::from_value(value.get(key)?.clone()).ok()
}

fn object(value: &Value, key: &str) -> CrossVersionObjectReference {
    let reference = value.get(key).cloned().unwrap_or_default();
    CrossVersionObjectReference {
        api_version: Some(text(&reference, "apiVersion")).filter(|version| !version.is_empty()),
        kind: text(&reference, "kind"),
        name: text(&reference, "name"),
    }
}

/// A wanted metric, `v2` to annotation.
pub(super) fn spec_to(metric: &MetricSpec) -> Value {
    let kind = metric.type_.as_str();
    if let Some(m) = &metric.object {
        return Flat::default()
            .object("target", &m.described_object)
            .text("metricName", &m.metric.name)
            .amount("targetValue", &m.target.value)
            .selector("selector", &m.metric.selector)
            .amount("averageValue", &m.target.average_value)
            .of(kind, "object");
    }
    if let Some(m) = &metric.pods {
        return Flat::default()
            .text("metricName", &m.metric.name)
            .amount("targetAverageValue", &m.target.average_value)
            .selector("selector", &m.metric.selector)
            .of(kind, "pods");
    }
    if let Some(m) = &metric.resource {
        return Flat::default()
            .text("name", &m.name)
            .number("targetAverageUtilization", m.target.average_utilization)
            .amount("targetAverageValue", &m.target.average_value)
            .of(kind, "resource");
    }
    if let Some(m) = &metric.container_resource {
        return Flat::default()
            .text("name", &m.name)
            .text("container", &m.container)
            .number("targetAverageUtilization", m.target.average_utilization)
            .amount("targetAverageValue", &m.target.average_value)
            .of(kind, "containerResource");
    }
    let mut flat = Flat::default();
    if let Some(m) = &metric.external {
        flat = flat
            .text("metricName", &m.metric.name)
            .selector("metricSelector", &m.metric.selector)
            .amount("targetValue", &m.target.value)
            .amount("targetAverageValue", &m.target.average_value);
    }
    flat.of(kind, "external")
}

fn target(value: Option<Quantity>, average: Option<Quantity>, percent: Option<i32>) -> MetricTarget {
    let kind = match (&value, &average, percent) {
        (_, _, Some(_)) => "Utilization",
        (_, Some(_), None) => "AverageValue",
        _ => "Value",
    };
    MetricTarget { type_: kind.to_owned(), value, average_value: average, average_utilization: percent }
}

/// A wanted metric, annotation to `v2`.
pub(super) fn spec_from(value: &Value) -> Option<MetricSpec> {
    let mut metric = MetricSpec { type_: text(value, "type"), ..MetricSpec::default() };
    let percent = |m: &Value| number(m, "targetAverageUtilization");
    let average = |m: &Value| amount(m, "targetAverageValue");
    let name = |m: &Value, labels: &str| MetricIdentifier {
        name: text(m, "metricName"),
        selector: selector(m, labels),
    };
    match metric.type_.as_str() {
        "Object" => {
            let m = value.get("object")?;
            metric.object = Some(ObjectMetricSource {
                described_object: object(m, "target"),
                metric: name(m, "selector"),
                target: target(amount(m, "targetValue"), amount(m, "averageValue"), None),
            });
        }
        "Pods" => {
            let m = value.get("pods")?;
            let target = target(None, average(m), None);
            metric.pods = Some(PodsMetricSource { metric: name(m, "selector"), target });
        }
        "Resource" => {
            let m = value.get("resource")?;
            let target = target(None, average(m), percent(m));
            metric.resource = Some(ResourceMetricSource { name: text(m, "name"), target });
        }
        "ContainerResource" => {
            let m = value.get("containerResource")?;
            metric.container_resource = Some(ContainerResourceMetricSource {
                name: text(m, "name"),
                container: text(m, "container"),
                target: target(None, average(m), percent(m)),
            });
        }
        "External" => {
            let m = value.get("external")?;
            let target = target(amount(m, "targetValue"), average(m), None);
            metric.external = Some(ExternalMetricSource { metric: name(m, "metricSelector"), target });
        }
        _ => return None,
    }
    Some(metric)
}

/// The status of the one metric that `v1` has a field for.
pub(super) fn cpu_status(percent: i32) -> MetricStatus {
    MetricStatus {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricStatus {
            name: "cpu".to_owned(),
            current: MetricValueStatus { average_utilization: Some(percent), ..MetricValueStatus::default() },
        }),
        ..MetricStatus::default()
    }
}

/// The percentage, where it is all that the status says.
pub(super) fn plain_cpu_status(metric: &MetricStatus) -> Option<i32> {
    let percent = metric.resource.as_ref()?.current.average_utilization?;
    (*metric == cpu_status(percent)).then_some(percent)
}

/// A measured metric, `v2` to annotation.
pub(super) fn status_to(metric: &MetricStatus) -> Value {
    let kind = metric.type_.as_str();
    if let Some(m) = &metric.object {
        return Flat::default()
            .object("target", &m.described_object)
            .text("metricName", &m.metric.name)
            .amount("currentValue", &m.current.value)
            .selector("selector", &m.metric.selector)
            .amount("averageValue", &m.current.average_value)
            .of(kind, "object");
    }
    if let Some(m) = &metric.pods {
        return Flat::default()
            .text("metricName", &m.metric.name)
            .amount("currentAverageValue", &m.current.average_value)
            .selector("selector", &m.metric.selector)
            .of(kind, "pods");
    }
    if let Some(m) = &metric.resource {
        return Flat::default()
            .text("name", &m.name)
            .number("currentAverageUtilization", m.current.average_utilization)
            .amount("currentAverageValue", &m.current.average_value)
            .of(kind, "resource");
    }
    if let Some(m) = &metric.container_resource {
        return Flat::default()
            .text("name", &m.name)
            .text("container", &m.container)
            .number("currentAverageUtilization", m.current.average_utilization)
            .amount("currentAverageValue", &m.current.average_value)
            .of(kind, "containerResource");
    }
    let mut flat = Flat::default();
    if let Some(m) = &metric.external {
        flat = flat
            .text("metricName", &m.metric.name)
            .selector("metricSelector", &m.metric.selector)
            .amount("currentValue", &m.current.value)
            .amount("currentAverageValue", &m.current.average_value);
    }
    flat.of(kind, "external")
}

/// A measured metric, annotation to `v2`.
pub(super) fn status_from(value: &Value) -> Option<MetricStatus> {
    let mut metric = MetricStatus { type_: text(value, "type"), ..MetricStatus::default() };
    let average = |m: &Value| MetricValueStatus {
        average_utilization: number(m, "currentAverageUtilization"),
        average_value: amount(m, "currentAverageValue"),
        value: amount(m, "currentValue"),
    };
    let name = |m: &Value, labels: &str| MetricIdentifier {
        name: text(m, "metricName"),
        selector: selector(m, labels),
    };
    match metric.type_.as_str() {
        "Object" => {
            let m = value.get("object")?;
            let current = MetricValueStatus {
                average_utilization: None,
                average_value: amount(m, "averageValue"),
                value: amount(m, "currentValue"),
            };
            metric.object = Some(ObjectMetricStatus {
                described_object: object(m, "target"),
                metric: name(m, "selector"),
                current,
            });
        }
        "Pods" => {
            let m = value.get("pods")?;
            metric.pods = Some(PodsMetricStatus { metric: name(m, "selector"), current: average(m) });
        }
        "Resource" => {
            let m = value.get("resource")?;
            metric.resource = Some(ResourceMetricStatus { name: text(m, "name"), current: average(m) });
        }
        "ContainerResource" => {
            let m = value.get("containerResource")?;
            metric.container_resource = Some(ContainerResourceMetricStatus {
                name: text(m, "name"),
                container: text(m, "container"),
                current: average(m),
            });
        }
        "External" => {
            let m = value.get("external")?;
            metric.external =
                Some(ExternalMetricStatus { metric: name(m, "metricSelector"), current: average(m) });
        }
        _ => return None,
    }
    Some(metric)
}
