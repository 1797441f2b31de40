//! `pods/eviction`: deletes a pod, unless its disruption budget forbids it now.
//!
//! Source: "API-initiated Eviction". Deliberately absent: keeping the budget's numbers up to date, which the
//! disruption controller does.

use super::{resource, target};
use crate::contract::{Context, ObjectCall, SubresourceHandler};
use crate::subresources::success;
use api::common::{items, selector, text};
use api::k8s_openapi::api::core::v1::{Pod, PodCondition};
use api::k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use api::transport::{DeleteOptions, Propagation, Target, WriteOptions};
use api::{Kind, Object, StoredObject, Verb};
use async_trait::async_trait;
use machinery::{GroupResource, GroupVersionResource, Status, StatusCause, StatusDetails};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Attempts against other writers of the budget or the pod.
const ATTEMPTS: usize = 30;
/// Pods that a budget may wait for at once.
const MAX_DISRUPTED: usize = 2000;
const RETRY_SECONDS: i32 = 10;

pub(in crate::subresources) struct PodEviction;

#[async_trait]
impl SubresourceHandler for PodEviction {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        "eviction"
    }

    async fn call(&self, context: &Context, call: ObjectCall) -> Result<Arc<StoredObject>, Status> {
        if call.verb != Verb::Create {
            return Err(Status::method_not_allowed(&resource(), call.verb.as_str()));
        }
        let eviction =
            Eviction::from_json(&call.body).map_err(|error| Status::bad_request(error.to_string()))?;
        if text(&eviction.metadata.name) != call.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut options = options(&eviction, &call.options)?;
        let stored = context.loopback.get(&target(&call.namespace, &call.name)).await?;
        let pod = stored.get::<Pod>().map_err(Status::internal)?;
        crate::admission::node_restriction::eviction(&call, &pod)?;
        if !ignores_budgets(&pod)
            && let Some(budget) = budget_of(context, &pod).await?
            && !unhealthy_may_go(&pod, &budget)
        {
            charge(context, budget, &call, options.dry_run).await?;
        }
        if options.uid.is_none() {
            // Never another pod that took the name meanwhile.
            options.uid.clone_from(&pod.metadata.uid);
        }
        if !options.dry_run {
            announce(context, &call).await?;
        }
        context.loopback.delete(&target(&call.namespace, &call.name), &options).await?;
        success(201)
    }
}

fn options(eviction: &Eviction, write: &WriteOptions) -> Result<DeleteOptions, Status> {
    let given = eviction.delete_options.clone().unwrap_or_default();
    let propagation = match given.propagation_policy.as_deref() {
        None | Some("") => None,
        Some("Orphan") => Some(Propagation::Orphan),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some(other) => return Err(Status::bad_request(format!("invalid propagationPolicy {other:?}"))),
    };
    let preconditions = given.preconditions.unwrap_or_default();
    Ok(DeleteOptions {
        grace_period_seconds: given.grace_period_seconds,
        uid: preconditions.uid,
        resource_version: preconditions.resource_version,
        propagation,
        dry_run: write.dry_run || items(&given.dry_run).iter().any(|value| value == "All"),
    })
}

/// Pods that are not running disturb nobody when they go.
fn ignores_budgets(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().map(|status| text(&status.phase)).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod.metadata.deletion_timestamp.is_some()
}

async fn budget_of(context: &Context, pod: &Pod) -> Result<Option<Arc<PodDisruptionBudget>>, Status> {
    let storage = GroupResource::new("policy", PodDisruptionBudget::PLURAL);
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let mut matching = Vec::new();
    for stored in context.lookup.list(&storage, text(&pod.metadata.namespace)).await? {
        let budget = stored.get::<PodDisruptionBudget>().map_err(Status::internal)?;
        let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        if selector::convert(wanted).is_ok_and(|selector| selector.matches(&labels)) {
            matching.push(budget);
        }
    }
    if matching.len() > 1 {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    Ok(matching.pop())
}

/// A pod that is not ready may go where the budget says so, or where enough others are healthy.
fn unhealthy_may_go(pod: &Pod, budget: &PodDisruptionBudget) -> bool {
    let status = pod.status.as_ref();
    let running = status.map(|status| text(&status.phase)) == Some("Running");
    let conditions = status.map(|status| items(&status.conditions)).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if !running || ready {
        return false;
    }
    let policy = budget.spec.as_ref().map(|spec| text(&spec.unhealthy_pod_eviction_policy));
    policy == Some("AlwaysAllow")
        || budget.status.as_ref().is_some_and(|status| {
            let wanted = status.desired_healthy.unwrap_or(0);
            status.current_healthy.unwrap_or(0) >= wanted && wanted > 0
        })
}

fn too_many(cause: String) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::too_many_requests(message, RETRY_SECONDS).with_details(StatusDetails {
        causes: vec![StatusCause {
            reason: "DisruptionBudget".to_owned(),
            message: cause,
            field: String::new(),
        }],
        retry_after_seconds: RETRY_SECONDS,
        ..StatusDetails::default()
    })
}

/// The budget with one disruption less, or why there is none left.
fn spend(budget: &PodDisruptionBudget, pod: &str, now: Timestamp) -> Result<PodDisruptionBudget, Status> {
    let name = text(&budget.metadata.name);
    let mut spent = budget.clone();
    let status = spent.status.get_or_insert_default();
    let forbidden =
        |why: &str| Status::forbidden(&GroupResource::new("policy", "poddisruptionbudget"), name, why);
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        return Err(too_many(format!(
            "The disruption budget {name} is still being processed by the server."
        )));
    }
    let allowed = status.disruptions_allowed.unwrap_or(0);
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted: &mut BTreeMap<String, Time> = status.disrupted_pods.get_or_insert_default();
    if disrupted.len() > MAX_DISRUPTED {
        return Err(forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        return Err(too_many(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status.desired_healthy.unwrap_or(0),
            status.current_healthy.unwrap_or(0)
        )));
    }
    status.disruptions_allowed = Some(allowed - 1);
    disrupted.insert(pod.to_owned(), Time(now));
    Ok(spent)
}

async fn charge(
    context: &Context,
    mut budget: Arc<PodDisruptionBudget>,
    call: &ObjectCall,
    dry_run: bool,
) -> Result<(), Status> {
    let now =
        Timestamp::from_second(crate::authn::service_account::now(context)).map_err(Status::internal)?;
    let all = Target::all(GroupVersionResource::new("policy", "v1", PodDisruptionBudget::PLURAL));
    let target = all.in_namespace(&call.namespace).named(text(&budget.metadata.name));
    for _ in 0..ATTEMPTS {
        let spent = spend(&budget, &call.name, now)?;
        if dry_run {
            return Ok(());
        }
        let status = target.clone().sub("status");
        match context.loopback.update(&status, spent.to_json().into(), &WriteOptions::default()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        budget = context.loopback.get(&target).await?.get().map_err(Status::internal)?;
    }
    Err(too_many("couldn't update PodDisruptionBudget due to conflicts".to_owned()))
}

/// Notes on the pod that it goes because of an eviction.
async fn announce(context: &Context, call: &ObjectCall) -> Result<(), Status> {
    let now = Timestamp::from_second(crate::authn::service_account::now(context)).ok().map(Time);
    let target = target(&call.namespace, &call.name);
    for _ in 0..ATTEMPTS {
        let stored = context.loopback.get(&target).await?;
        let mut pod = stored.get::<Pod>().map_err(Status::internal)?.as_ref().clone();
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("EvictionByEvictionAPI".to_owned()),
            message: Some("Eviction API: evicting".to_owned()),
            last_transition_time: now.clone(),
            ..PodCondition::default()
        });
        let body = pod.to_json().into();
        match context.loopback.update(&target.clone().sub("status"), body, &WriteOptions::default()).await {
            Err(error) if error.is_conflict() => {}
            result => return result.map(drop),
        }
    }
    Err(Status::stale(&resource(), &call.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: &str) -> PodDisruptionBudget {
        let json = format!(
            r#"{{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{{"name":"b","generation":2}},
               "spec":{{}},"status":{status}}}"#
        );
        PodDisruptionBudget::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn budgets_are_spent_one_by_one() {
        let now = Timestamp::UNIX_EPOCH;
        let base = r#""currentHealthy":3,"desiredHealthy":3,"expectedPods":3,"observedGeneration":"#;
        let rich = budget(&format!(r#"{{"disruptionsAllowed":1,{base}2}}"#));
        let spent = spend(&rich, "p", now).unwrap();
        assert_eq!(spent.status.as_ref().unwrap().disruptions_allowed, Some(0));
        assert!(spent.status.as_ref().unwrap().disrupted_pods.as_ref().unwrap().contains_key("p"));
        let refused = spend(&spent, "q", now).unwrap_err();
        assert_eq!(refused.code, 429);
        assert_eq!(
            refused.details.unwrap().causes[0].message,
            "The disruption budget b needs 3 healthy pods and has 3 currently"
        );
        let stale = budget(&format!(r#"{{"disruptionsAllowed":1,{base}1}}"#));
        assert_eq!(spend(&stale, "p", now).unwrap_err().code, 429);
    }
}
