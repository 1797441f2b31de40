//! LimitRanger: default requests and limits of containers, and the bounds of LimitRanges.
//!
//! Source: "Limit Ranges". Deliberately absent: bounds on updates of running pods, whose resources do not change
//! here.

use super::{forbidden, list, pod, pod_mut};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::common::amounts::{Amounts, parse};
use api::common::items;
use api::k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, PodSpec, ResourceRequirements,
};
use async_trait::async_trait;
use machinery::Status;
use machinery::quantity::Quantity as Amount;
use std::collections::BTreeMap;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger(pub(super) Context);

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.operation != Operation::Create || pod(request).is_none() {
            return Ok(());
        }
        let ranges = list::<LimitRange>(&self.0, &request.namespace).await?;
        if let Some(pod) = pod_mut(request) {
            for range in ranges {
                set_defaults(pod, &range);
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let object = request.object.as_deref();
        let claim = object.filter(|_| request.is("", "persistentvolumeclaims"));
        let claim = claim.and_then(|object| object.downcast_ref::<PersistentVolumeClaim>());
        let new_pod = pod(request).filter(|_| request.operation == Operation::Create);
        if claim.is_none() && new_pod.is_none() {
            return Ok(());
        }
        for range in list::<LimitRange>(&self.0, &request.namespace).await? {
            let mut errors = Vec::new();
            for item in range.spec.iter().flat_map(|spec| &spec.limits) {
                match item.type_.as_str() {
                    "Container" => {
                        for container in new_pod.into_iter().flat_map(containers) {
                            let empty = ResourceRequirements::default();
                            let resources = container.resources.as_ref().unwrap_or(&empty);
                            check(
                                item,
                                &amounts(&resources.requests),
                                &amounts(&resources.limits),
                                &mut errors,
                            );
                        }
                    }
                    "Pod" => {
                        if let Some(spec) = new_pod.and_then(|pod| pod.spec.as_ref()) {
                            check(item, &total(spec, requests), &total(spec, limits), &mut errors);
                        }
                    }
                    "PersistentVolumeClaim" => {
                        if let Some(claim) = claim {
                            check_claim(item, claim, &mut errors);
                        }
                    }
                    _ => {}
                }
            }
            match errors.as_slice() {
                [] => {}
                [one] => return Err(forbidden(request, one)),
                many => return Err(forbidden(request, format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.containers.iter().chain(items(&spec.init_containers)))
}

type Parsed = BTreeMap<String, Amount>;

fn amounts(amounts: &Option<Amounts>) -> Parsed {
    amounts.iter().flatten().filter_map(|(name, value)| Some((name.clone(), parse(value)?))).collect()
}

fn requests(resources: &ResourceRequirements) -> Parsed {
    amounts(&resources.requests)
}

fn limits(resources: &ResourceRequirements) -> Parsed {
    amounts(&resources.limits)
}

/// What the pod as a whole takes: the larger of all its containers together and any init container alone.
/// Sidecars run with everything else. A resource that some container leaves open is not counted for it.
fn total(spec: &PodSpec, of: fn(&ResourceRequirements) -> Parsed) -> Parsed {
    let mut sum = Parsed::new();
    let mut add = |container: &Container| {
        for (name, value) in container.resources.as_ref().map(of).unwrap_or_default() {
            sum.entry(name).and_modify(|sum| *sum += value).or_insert(value);
        }
    };
    spec.containers.iter().for_each(&mut add);
    let is_sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    items(&spec.init_containers).iter().filter(is_sidecar).for_each(&mut add);
    for container in items(&spec.init_containers).iter().filter(|c| !is_sidecar(c)) {
        for (name, value) in container.resources.as_ref().map(of).unwrap_or_default() {
            let slot = sum.entry(name).or_insert(value);
            if value > *slot {
                *slot = value;
            }
        }
    }
    sum
}

/// Fills requests and limits that a container leaves open, and notes it in an annotation.
fn set_defaults(pod: &mut Pod, range: &LimitRange) {
    let Some(item) = range.spec.iter().flat_map(|s| &s.limits).find(|item| item.type_ == "Container") else {
        return;
    };
    let Some(spec) = pod.spec.as_mut() else { return };
    let mut notes = Vec::new();
    for container in &mut spec.containers {
        fill(container, item, "container", &mut notes);
    }
    for container in spec.init_containers.iter_mut().flatten() {
        fill(container, item, "init container", &mut notes);
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata.annotations.get_or_insert_default().insert(ANNOTATION.to_owned(), text);
    }
}

fn fill(container: &mut Container, item: &LimitRangeItem, what: &str, notes: &mut Vec<String>) {
    let resources = container.resources.get_or_insert_default();
    let name = &container.name;
    for (slot, defaults, kind) in [
        (&mut resources.requests, &item.default_request, "request"),
        (&mut resources.limits, &item.default, "limit"),
    ] {
        let mut set = Vec::new();
        for (resource, value) in defaults.iter().flatten() {
            if !slot.as_ref().is_some_and(|slot| slot.contains_key(resource)) {
                slot.get_or_insert_default().insert(resource.clone(), value.clone());
                set.push(resource.as_str());
            }
        }
        if !set.is_empty() {
            notes.push(format!("{} {kind} for {what} {name}", set.join(", ")));
        }
    }
}

fn check(item: &LimitRangeItem, requests: &Parsed, limits: &Parsed, errors: &mut Vec<String>) {
    let kind = &item.type_;
    for (name, min) in amounts(&item.min) {
        let bound = format!("minimum {name} usage per {kind} is {min}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => errors.push(format!("{bound}.  No request is specified")),
            (Some(request), _) if *request < min => errors.push(format!("{bound}, but request is {request}")),
            (_, Some(limit)) if *limit < min => errors.push(format!("{bound}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, max) in amounts(&item.max) {
        let bound = format!("maximum {name} usage per {kind} is {max}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => errors.push(format!("{bound}.  No limit is specified")),
            (_, Some(limit)) if *limit > max => errors.push(format!("{bound}, but limit is {limit}")),
            (Some(request), _) if *request > max => errors.push(format!("{bound}, but request is {request}")),
            _ => {}
        }
    }
    for (name, ratio) in amounts(&item.max_limit_request_ratio) {
        let bound = format!("{name} max limit to request ratio per {kind} is {ratio}");
        match (requests.get(&name).filter(|r| !r.is_zero()), limits.get(&name).filter(|l| !l.is_zero())) {
            (None, _) => errors.push(format!("{bound}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{bound}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let given = limit.as_f64() / request.as_f64();
                if given > ratio.as_f64() {
                    errors.push(format!("{bound}, but provided ratio is {given:.6}"));
                }
            }
        }
    }
}

fn check_claim(item: &LimitRangeItem, claim: &PersistentVolumeClaim, errors: &mut Vec<String>) {
    let requests = claim.spec.as_ref().and_then(|s| s.resources.as_ref()).map(|r| amounts(&r.requests));
    let requests = requests.unwrap_or_default();
    for (bounds, word) in [(&item.min, "minimum"), (&item.max, "maximum")] {
        for (name, bound) in amounts(bounds) {
            let text = format!("{word} {name} usage per {} is {bound}", item.type_);
            match requests.get(&name) {
                None => errors.push(format!("{text}.  No request is specified")),
                Some(request)
                    if (word == "minimum" && *request < bound) || (word == "maximum" && *request > bound) =>
                {
                    errors.push(format!("{text}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: &str) -> Pod {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"containers":[
               {{"name":"c","resources":{resources}}}]}}}}"#
        );
        api::Kind::from_json(json.as_bytes()).unwrap()
    }

    fn range(item: &str) -> LimitRange {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"LimitRange","metadata":{{}},"spec":{{"limits":[{item}]}}}}"#
        );
        api::Kind::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn defaults_fill_what_is_open_and_are_noted() {
        let mut pod = pod(r#"{"requests":{"cpu":"1"}}"#);
        set_defaults(
            &mut pod,
            &range(
                r#"{"type":"Container","defaultRequest":{"cpu":"2","memory":"1Gi"},"default":{"cpu":"3"}}"#,
            ),
        );
        assert_eq!(
            pod.metadata.annotations.unwrap()[ANNOTATION],
            "LimitRanger plugin set: memory request for container c; cpu limit for container c"
        );
        let resources = pod.spec.unwrap().containers.remove(0).resources.unwrap();
        assert_eq!(resources.requests.unwrap()["cpu"].0, "1");
        assert_eq!(resources.limits.unwrap()["cpu"].0, "3");
    }

    #[test]
    fn bounds_are_explained() {
        let item = range(
            r#"{"type":"Container","min":{"cpu":"100m"},"max":{"memory":"1Gi"},"maxLimitRequestRatio":{"cpu":"2"}}"#,
        );
        let item = &item.spec.unwrap().limits[0];
        let of = |pod: &Pod| {
            let resources = containers(pod).next().unwrap().resources.clone().unwrap();
            let mut errors = Vec::new();
            check(item, &amounts(&resources.requests), &amounts(&resources.limits), &mut errors);
            errors
        };
        assert_eq!(
            of(&pod(r#"{"requests":{"cpu":"50m"},"limits":{"cpu":"1"}}"#)),
            [
                "minimum cpu usage per Container is 100m, but request is 50m",
                "maximum memory usage per Container is 1Gi.  No limit is specified",
                "cpu max limit to request ratio per Container is 2, but provided ratio is 20.000000",
            ]
        );
        assert!(of(&pod(r#"{"requests":{"cpu":"1"},"limits":{"cpu":"2","memory":"1Gi"}}"#)).is_empty());
    }
}
