//! Between `autoscaling/v1` and `v2`: everything but a CPU percentage travels in annotations of the `v1`
//! object, under the names that upstream uses, in its own `v1` spelling of metrics.

use super::horizontal_pod_autoscaler::cpu_metric;
use super::legacy_metrics as legacy;
use crate::common::items;
use k8s_openapi::api::autoscaling::{v1, v2};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn put<T: Serialize>(meta: &mut ObjectMeta, key: &str, value: &T) {
    if let Ok(text) = serde_json::to_string(value) {
        meta.annotations.get_or_insert_default().insert(key.to_owned(), text);
    }
}

/// Takes an annotation off the object and reads it; one that does not parse is dropped, as upstream does.
fn take<T: DeserializeOwned>(meta: &mut ObjectMeta, key: &str) -> Option<T> {
    let annotations = meta.annotations.as_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.annotations = None;
    }
    serde_json::from_str(&text).ok()
}

/// Whether `v1` has a field of its own for this metric.
fn plain_cpu(metric: &v2::MetricSpec) -> Option<i32> {
    let resource = metric.resource.as_ref().filter(|_| metric.type_ == "Resource")?;
    resource.target.average_utilization.filter(|_| resource.name == "cpu")
}

/// Served to stored.
pub(super) fn to_v2(scaler: &v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let mut meta = scaler.metadata.clone();
    let spec = &scaler.spec;
    let mut metrics: Vec<v2::MetricSpec> = Vec::new();
    metrics.extend(spec.target_cpu_utilization_percentage.map(cpu_metric));
    let others: Vec<Value> = take(&mut meta, METRICS).unwrap_or_default();
    metrics.extend(others.iter().filter_map(legacy::spec_from));
    let behavior = take(&mut meta, BEHAVIOR);
    let currents: Option<Vec<Value>> = take(&mut meta, CURRENT);
    let conditions = take(&mut meta, CONDITIONS);
    let target = &spec.scale_target_ref;
    v2::HorizontalPodAutoscaler {
        metadata: meta,
        spec: v2::HorizontalPodAutoscalerSpec {
            behavior,
            max_replicas: spec.max_replicas,
            metrics: (!metrics.is_empty()).then_some(metrics),
            min_replicas: spec.min_replicas,
            scale_target_ref: v2::CrossVersionObjectReference {
                api_version: target.api_version.clone(),
                kind: target.kind.clone(),
                name: target.name.clone(),
            },
        },
        status: scaler.status.as_ref().map(|status| {
            let cpu = status.current_cpu_utilization_percentage.map(legacy::cpu_status);
            let others = currents.iter().flatten().filter_map(legacy::status_from);
            let current: Vec<v2::MetricStatus> = cpu.into_iter().chain(others).collect();
            v2::HorizontalPodAutoscalerStatus {
                conditions,
                current_metrics: (!current.is_empty()).then_some(current),
                current_replicas: Some(status.current_replicas),
                desired_replicas: status.desired_replicas,
                last_scale_time: status.last_scale_time.clone(),
                observed_generation: status.observed_generation,
            }
        }),
    }
}

/// Stored to served.
pub(super) fn from_v2(scaler: &v2::HorizontalPodAutoscaler) -> v1::HorizontalPodAutoscaler {
    let mut meta = scaler.metadata.clone();
    let spec = &scaler.spec;
    let mut percent = None;
    let mut others: Vec<Value> = Vec::new();
    for metric in items(&spec.metrics) {
        match plain_cpu(metric) {
            Some(cpu) if percent.is_none() => percent = Some(cpu),
            _ => others.push(legacy::spec_to(metric)),
        }
    }
    if !others.is_empty() {
        put(&mut meta, METRICS, &others);
    }
    if let Some(behavior) = &spec.behavior {
        put(&mut meta, BEHAVIOR, behavior);
    }
    let status = scaler.status.as_ref().map(|status| status_from_v2(status, &mut meta));
    let target = &spec.scale_target_ref;
    v1::HorizontalPodAutoscaler {
        metadata: meta,
        spec: v1::HorizontalPodAutoscalerSpec {
            max_replicas: spec.max_replicas,
            min_replicas: spec.min_replicas,
            scale_target_ref: v1::CrossVersionObjectReference {
                api_version: target.api_version.clone(),
                kind: target.kind.clone(),
                name: target.name.clone(),
            },
            target_cpu_utilization_percentage: percent,
        },
        status,
    }
}

fn status_from_v2(
    status: &v2::HorizontalPodAutoscalerStatus,
    meta: &mut ObjectMeta,
) -> v1::HorizontalPodAutoscalerStatus {
    let mut percent = None;
    let mut others: Vec<Value> = Vec::new();
    for metric in items(&status.current_metrics) {
        match legacy::plain_cpu_status(metric) {
            Some(cpu) if percent.is_none() => percent = Some(cpu),
            _ => others.push(legacy::status_to(metric)),
        }
    }
    if !others.is_empty() {
        put(meta, CURRENT, &others);
    }
    if let Some(conditions) = &status.conditions {
        put(meta, CONDITIONS, conditions);
    }
    v1::HorizontalPodAutoscalerStatus {
        current_cpu_utilization_percentage: percent,
        current_replicas: status.current_replicas.unwrap_or_default(),
        desired_replicas: status.desired_replicas,
        last_scale_time: status.last_scale_time.clone(),
        observed_generation: status.observed_generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn nothing_is_lost_on_the_way_there_and_back() {
        let object = serde_json::json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {
                "maxReplicas": 3, "minReplicas": 1,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "behavior": {"scaleDown": {"selectPolicy": "Max", "policies":
                    [{"type": "Percent", "value": 10, "periodSeconds": 15}]}},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Resource", "resource": {"name": "memory",
                        "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "Object", "object": {"metric": {"name": "rps"}, "describedObject":
                        {"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"},
                        "target": {"type": "Value", "value": "2k"}}},
                    {"type": "External", "external": {"metric": {"name": "queue"},
                        "target": {"type": "AverageValue", "averageValue": "30"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app",
                        "target": {"type": "Utilization", "averageUtilization": 60}}},
                ],
            },
            "status": {"currentReplicas": 1, "desiredReplicas": 2,
                "conditions": [{"type": "AbleToScale", "status": "True", "reason": "Ready"}],
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu",
                        "current": {"averageUtilization": 20, "averageValue": "20m"}}},
                    {"type": "External", "external": {"metric": {"name": "queue"},
                        "current": {"averageValue": "7"}}},
                ]},
        });
        let stored = v2::HorizontalPodAutoscaler::from_json(object.to_string().as_bytes()).expect("decodes");
        let served = from_v2(&stored);
        assert_eq!(served.spec.target_cpu_utilization_percentage, Some(50));
        assert_eq!(to_v2(&served), stored);
    }
}
