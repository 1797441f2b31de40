//! PodTolerationRestriction: pods get the tolerations that their namespace says by default, and may have only those on
//! its list.

use super::namespace_lifecycle::{missing, namespace};
use super::{forbidden, pod, pod_mut};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{Pod, Toleration};
use async_trait::async_trait;
use machinery::Status;
use serde_json::Value;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

pub(super) struct PodTolerations {
    context: Context,
    defaults: Vec<Toleration>,
    allowed: Vec<Toleration>,
}

/// Reads tolerations from a tree.
fn read(value: &Value) -> Vec<Toleration> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let one = |value: &Value| Toleration {
        effect: text(value, "effect"),
        key: text(value, "key"),
        operator: text(value, "operator"),
        toleration_seconds: value.get("tolerationSeconds").and_then(Value::as_i64),
        value: text(value, "value"),
    };
    value.as_array().into_iter().flatten().map(one).collect()
}

fn operator(toleration: &Toleration) -> &str {
    match text(&toleration.operator) {
        "" => "Equal",
        other => other,
    }
}

/// Whether everything that `narrow` tolerates is tolerated by `wide`.
fn covers(wide: &Toleration, narrow: &Toleration) -> bool {
    let key = text(&wide.key);
    if !(key == text(&narrow.key) || (key.is_empty() && operator(wide) == "Exists")) {
        return false;
    }
    if !text(&wide.effect).is_empty() && text(&wide.effect) != text(&narrow.effect) {
        return false;
    }
    if let Some(most) = wide.toleration_seconds
        && narrow.toleration_seconds.is_none_or(|asked| asked > most)
    {
        return false;
    }
    match operator(wide) {
        "Exists" => true,
        "Equal" => operator(narrow) == "Equal" && text(&wide.value) == text(&narrow.value),
        _ => wide == narrow,
    }
}

/// Both lists; what another one of them covers is left out.
fn merge(first: &[Toleration], second: &[Toleration]) -> Vec<Toleration> {
    let all: Vec<&Toleration> = first.iter().chain(second).collect();
    let mut merged: Vec<Toleration> = Vec::new();
    for (at, toleration) in all.iter().enumerate() {
        let later = all.iter().skip(at + 1).any(|other| covers(other, toleration) && other != toleration);
        if !later && !merged.iter().any(|known| covers(known, toleration)) {
            merged.push((*toleration).clone());
        }
    }
    merged
}

fn is_best_effort(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let ordinary = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let init = spec.map(|spec| items(&spec.init_containers)).unwrap_or_default();
    let asks = |list: &Option<std::collections::BTreeMap<String, _>>| {
        list.as_ref().is_some_and(|list| list.keys().any(|name| name == "cpu" || name == "memory"))
    };
    !ordinary.iter().chain(init).any(|container| {
        container.resources.as_ref().is_some_and(|wanted| asks(&wanted.limits) || asks(&wanted.requests))
    })
}

impl PodTolerations {
    /// `configuration` is a `Configuration` of podtolerationrestriction with `default` and `whitelist`.
    pub(super) fn new(context: &Context, configuration: Option<&Value>) -> Self {
        let list = |key: &str| configuration.and_then(|value| value.get(key)).map(read).unwrap_or_default();
        Self { context: context.clone(), defaults: list("default"), allowed: list("whitelist") }
    }

    /// The annotation's tolerations, or else the cluster's.
    async fn list(
        &self,
        name: &str,
        annotation: &str,
        cluster: &[Toleration],
    ) -> Result<Vec<Toleration>, Status> {
        let found = namespace(&self.context, name).await?.ok_or_else(|| missing(name))?;
        match found.meta().annotations.as_ref().and_then(|all| all.get(annotation)) {
            None => Ok(cluster.to_vec()),
            Some(text) if text.is_empty() => Ok(Vec::new()),
            Some(text) => {
                let tree: Value = serde_json::from_str(text).map_err(|error| {
                    Status::internal(format!(
                        "failed to read the annotation {annotation} of namespace {name:?}: {error}"
                    ))
                })?;
                Ok(read(&tree))
            }
        }
    }
}

#[async_trait]
impl Admission for PodTolerations {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(own) = pod(request) else { return Ok(()) };
        let mut extra = Vec::new();
        if request.operation == Operation::Create {
            extra = self.list(&request.namespace, DEFAULTS, &self.defaults).await?;
        }
        if !is_best_effort(own) {
            extra.push(Toleration {
                key: Some(MEMORY_PRESSURE.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoSchedule".to_owned()),
                ..Toleration::default()
            });
        }
        if let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut())
            && !extra.is_empty()
        {
            spec.tolerations = Some(merge(&extra, items(&spec.tolerations)));
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod(request).and_then(|pod| pod.spec.as_ref()) else { return Ok(()) };
        let allowed = self.list(&request.namespace, ALLOWED, &self.allowed).await?;
        let inside = |toleration: &Toleration| allowed.iter().any(|wide| covers(wide, toleration));
        if !allowed.is_empty() && !items(&spec.tolerations).iter().all(inside) {
            let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
            return Err(forbidden(request, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_covered_is_said_once() {
        let list = read(&json!([
            {"key": "a", "operator": "Exists"},
            {"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"},
            {"key": "b", "value": "1"},
            {"key": "b", "value": "2"},
        ]));
        let merged = merge(&list[..2], &list[2..]);
        assert_eq!(merged, [list[0].clone(), list[2].clone(), list[3].clone()]);
        assert_eq!(merge(&list[1..2], &list[..1]), [list[0].clone()]);
        assert_eq!(merge(&list[2..3], &list[2..3]).len(), 1);
    }

    #[test]
    fn coverage() {
        let one = |value: Value| read(&json!([value])).remove(0);
        let all = one(json!({"operator": "Exists"}));
        let short =
            one(json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}));
        let long = one(json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}));
        assert!(covers(&all, &short) && covers(&all, &long));
        assert!(covers(&long, &short) && !covers(&short, &long));
        let equal = one(json!({"key": "a", "value": "x", "effect": "NoExecute"}));
        assert!(covers(&long, &equal) && !covers(&equal, &long));
    }
}
