//! A deployment's status and conditions.

use super::plan::{Bounds, Plan};
use super::sets::Working;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use std::time::Duration;

const PROGRESSING: &str = "Progressing";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// A deadline that means there is none.
const NO_DEADLINE: i32 = i32::MAX;

fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    let time = Some(client::time::seconds(now));
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: time.clone(),
        last_transition_time: time,
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
}

/// Same status and reason change nothing; same status keeps the transition time.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(old) = find(status, &condition.type_) {
        if old.status == condition.status && old.reason == condition.reason {
            return;
        }
        if old.status == condition.status {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// The progress deadline in seconds, if there is one.
fn deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != NO_DEADLINE).then_some(i64::from(seconds))
}

/// The counts, and whether enough is available.
fn counts(deployment: &Deployment, plan: &Plan, now: Timestamp) -> DeploymentStatus {
    let bounds = Bounds::of(deployment);
    let old = deployment.status.clone().unwrap_or_default();
    let total: i32 = plan.sets.all().map(Working::observed).sum();
    let available: i32 = plan.sets.all().map(Working::available).sum();
    let sum = |get: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>| -> i32 {
        plan.sets.all().filter_map(|set| set.set.status.as_ref().and_then(get)).sum()
    };
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(total),
        updated_replicas: nonzero(plan.sets.new.as_ref().map_or(0, Working::observed)),
        ready_replicas: nonzero(sum(|status| status.ready_replicas)),
        available_replicas: nonzero(available),
        terminating_replicas: Some(sum(|status| status.terminating_replicas)),
        unavailable_replicas: nonzero((total - available).max(0)),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let tolerated = if bounds.rolling { bounds.unavailable } else { 0 };
    let enough = if available >= bounds.replicas - tolerated {
        let message = "Deployment has minimum availability.".to_owned();
        condition("Available", "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        condition("Available", "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut status, enough);
    status
}

/// The status after a plan was carried out.
pub(super) fn status(deployment: &Deployment, plan: &Plan, now: Timestamp) -> DeploymentStatus {
    let mut status = counts(deployment, plan, now);
    pause(deployment, &mut status, now);
    if !plan.rollout {
        return status;
    }
    if deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    } else {
        progress(deployment, plan, &mut status, now);
    }
    match failure(plan) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, "ReplicaFailure"),
    }
    status
}

/// Says that a rollout was paused or resumed, so that pausing does not run into the deadline.
fn pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    let current = find(status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if deadline(deployment).is_none() || current == Some(TIMED_OUT) {
        return;
    }
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    if paused && current != Some(PAUSED) {
        set(status, condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned(), now));
    } else if !paused && current == Some(PAUSED) {
        let message = "Deployment is resumed".to_owned();
        set(status, condition(PROGRESSING, "Unknown", "DeploymentResumed", message, now));
    }
}

/// A failure of a ReplicaSet, the new one first.
fn failure(plan: &Plan) -> Option<DeploymentCondition> {
    let sets = plan.sets.new.iter().chain(&plan.sets.old);
    let mut conditions =
        sets.flat_map(|set| set.set.status.iter().flat_map(|status| &status.conditions).flatten());
    let found = conditions.find(|condition| condition.type_ == "ReplicaFailure")?;
    Some(DeploymentCondition {
        type_: found.type_.clone(),
        status: found.status.clone(),
        reason: found.reason.clone(),
        message: found.message.clone(),
        last_transition_time: found.last_transition_time.clone(),
        last_update_time: found.last_transition_time.clone(),
    })
}

/// Whether the deployment is what its spec says.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let replicas = Bounds::of(deployment).replicas;
    let is = |count: Option<i32>| count.unwrap_or(0) == replicas;
    is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| n(status.replicas) - n(status.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn progress(deployment: &Deployment, plan: &Plan, status: &mut DeploymentStatus, now: Timestamp) {
    let subject = match &plan.sets.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.name()),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or("")),
    };
    if let Some(new) = &plan.sets.new {
        if new.original.is_none() {
            let message = format!("Created new replica set \"{}\"", new.name());
            set(status, condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
        } else if find(status, PROGRESSING).is_none() {
            let message = format!("Found new replica set \"{}\"", new.name());
            set(status, condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
        }
    }
    let old = deployment.status.clone().unwrap_or_default();
    let current = find(status, PROGRESSING).cloned();
    let was_complete = status.replicas == status.updated_replicas
        && current.as_ref().and_then(|condition| condition.reason.as_deref()) == Some(NEW_AVAILABLE);
    if was_complete {
        return;
    }
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now));
    } else if has_progressed(&old, status) {
        let message = format!("{subject} is progressing.");
        let mut fresh = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        if let Some(current) = current.filter(|current| current.status == "True") {
            fresh.last_transition_time = current.last_transition_time;
        }
        // Removed first: the update time must move although status and reason may be the same.
        remove(status, PROGRESSING);
        set(status, fresh);
    } else if time_left(deployment, status, now).is_some_and(|left| left <= 0) {
        let message = format!("{subject} has timed out progressing.");
        set(status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

/// Seconds until the progress deadline, while it counts.
fn time_left(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<i64> {
    let condition = find(status, PROGRESSING)?;
    if matches!(condition.reason.as_deref(), Some(NEW_AVAILABLE | TIMED_OUT | PAUSED)) {
        return None;
    }
    let from = condition.last_update_time.as_ref()?.0.as_second();
    Some(from + deadline(deployment)? - now.as_second())
}

/// When to look again for a rollout that hangs.
pub(super) fn next_check(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    if is_complete(deployment, status) {
        return None;
    }
    let left = time_left(deployment, status, now)?;
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0) + 1))
}
