//! What to do about a deployment: which ReplicaSets to make, scale and delete. One step at a time; each step's events
//! bring the next.

use super::sets::{self, Sets, Working};
use api::common::int_or_percent::scaled;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::sync::Arc;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// ReplicaSets as they shall be.
    pub(super) sets: Sets,
    /// Old ReplicaSets beyond the history limit.
    pub(super) delete: Vec<String>,
    /// Whether the status is computed as for a running rollout (not for paused and scaling ones).
    pub(super) rollout: bool,
}

/// The numbers that bound a rollout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) replicas: i32,
    pub(super) surge: i32,
    pub(super) unavailable: i32,
    pub(super) rolling: bool,
}

impl Bounds {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Self { replicas, surge: 0, unavailable: 0, rolling: false };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let amount = |value: Option<&_>, up| value.and_then(|value| scaled(value, replicas, up)).unwrap_or(0);
        let surge = amount(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
        let mut unavailable = amount(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), false);
        if surge == 0 && unavailable == 0 {
            // Percentages may both come out as zero; then nothing could ever move.
            unavailable = 1;
        }
        Self { replicas, surge, unavailable: unavailable.min(replicas), rolling: true }
    }

    pub(super) fn max(&self) -> i32 {
        self.replicas + self.surge
    }

    fn min_available(&self) -> i32 {
        self.replicas - self.unavailable
    }
}

/// Decides. `old_pods_run` says whether a pod of an old ReplicaSet is still there (Recreate waits for that).
pub(super) fn plan(deployment: &Deployment, owned: &[Arc<ReplicaSet>], old_pods_run: bool) -> Plan {
    let bounds = Bounds::of(deployment);
    let mut sets = Sets::of(deployment, owned);
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    if deployment.metadata.deletion_timestamp.is_some() {
        return Plan { sets, ..Plan::default() };
    }
    let revision = sets.next_revision();
    if let Some(new) = &mut sets.new {
        sets::describe(new, deployment, revision);
    }
    if paused || is_scaling(&sets, bounds) {
        scale(deployment, &mut sets, bounds);
        let delete = if paused { clean_up(deployment, &sets) } else { Vec::new() };
        return Plan { sets, delete, rollout: false };
    }
    let delete = if bounds.rolling {
        roll(deployment, &mut sets, bounds, revision);
        clean_up_when_complete(deployment, &sets, bounds)
    } else {
        recreate(deployment, &mut sets, bounds, revision, old_pods_run);
        clean_up_when_complete(deployment, &sets, bounds)
    };
    Plan { sets, delete, rollout: true }
}

/// Whether the deployment's size changed since its sets were last scaled.
fn is_scaling(sets: &Sets, bounds: Bounds) -> bool {
    let mut active = sets.all().filter(|set| set.size() > 0);
    active.any(|set| set.desired().is_some_and(|desired| desired != bounds.replicas))
}

fn roll(deployment: &Deployment, sets: &mut Sets, bounds: Bounds, revision: i64) {
    let total = sets.total();
    let new = sets.new.get_or_insert_with(|| sets::make(deployment, revision));
    let size = new.size();
    let wanted = if size >= bounds.replicas {
        bounds.replicas
    } else {
        // Scale up as far as the surge allows.
        size + (bounds.max() - total).clamp(0, bounds.replicas - size)
    };
    if new.original.is_none() || wanted != size {
        new.scale(wanted, bounds.replicas, bounds.max());
        return;
    }
    scale_down_old(sets, bounds);
}

fn scale_down_old(sets: &mut Sets, bounds: Bounds) {
    let old_total: i32 = sets.old.iter().map(Working::size).sum();
    let Some(new) = &sets.new else { return };
    if old_total == 0 {
        return;
    }
    // What the new set lacks must come from the old ones, so only the rest may go.
    let new_unavailable = new.size() - new.available();
    let mut may_go = sets.total() - bounds.min_available() - new_unavailable;
    if may_go <= 0 {
        return;
    }
    let down = |set: &mut Working, by: i32| set.scale(set.size() - by, bounds.replicas, bounds.max());
    // First the replicas that serve nobody.
    for set in sets.old.iter_mut().filter(|set| set.size() > 0) {
        let by = (set.size() - set.available()).min(may_go);
        if by > 0 {
            down(set, by);
            may_go -= by;
        }
    }
    let available: i32 = sets.all().map(Working::available).sum();
    let mut excess = available - bounds.min_available();
    for set in sets.old.iter_mut().filter(|set| set.size() > 0) {
        let by = set.size().min(excess);
        if by > 0 {
            down(set, by);
            excess -= by;
        }
    }
}

fn recreate(deployment: &Deployment, sets: &mut Sets, bounds: Bounds, revision: i64, old_pods_run: bool) {
    let mut scaled_down = false;
    for set in sets.old.iter_mut().filter(|set| set.size() > 0) {
        set.scale(0, bounds.replicas, bounds.max());
        scaled_down = true;
    }
    if scaled_down || old_pods_run {
        return;
    }
    let new = sets.new.get_or_insert_with(|| sets::make(deployment, revision));
    if new.original.is_none() || new.size() != bounds.replicas {
        new.scale(bounds.replicas, bounds.replicas, bounds.max());
    }
}

/// Follows a change of the deployment's size without moving the rollout: spread in proportion over the active sets.
fn scale(deployment: &Deployment, sets: &mut Sets, bounds: Bounds) {
    let active = sets.all().filter(|set| set.size() > 0).count();
    if active <= 1 {
        let one = match active {
            1 => sets.all_mut().find(|set| set.size() > 0),
            _ if sets.new.is_some() => sets.new.as_mut(),
            _ => sets.old.last_mut(),
        };
        if let Some(one) = one.filter(|one| one.size() != bounds.replicas) {
            one.scale(bounds.replicas, bounds.replicas, bounds.max());
        }
        return;
    }
    let saturated = |new: &Working| {
        new.size() == bounds.replicas
            && new.desired() == Some(bounds.replicas)
            && new.available() == bounds.replicas
    };
    if sets.new.as_ref().is_some_and(saturated) {
        for set in sets.old.iter_mut().filter(|set| set.size() > 0) {
            set.scale(0, bounds.replicas, bounds.max());
        }
        return;
    }
    if bounds.rolling {
        scale_in_proportion(deployment, sets, bounds);
    }
}

fn scale_in_proportion(deployment: &Deployment, sets: &mut Sets, bounds: Bounds) {
    let allowed = if bounds.replicas > 0 { bounds.max() } else { 0 };
    let mut active: Vec<&mut Working> = sets.all_mut().filter(|set| set.size() > 0).collect();
    let to_add = allowed - active.iter().map(|set| set.size()).sum::<i32>();
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    active.reverse();
    if to_add < 0 {
        active.reverse();
    }
    active.sort_by_key(|set| std::cmp::Reverse(set.size()));
    let status_replicas = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let share = if to_add == 0 || to_add == added { 0 } else { share(set, bounds, status_replicas) };
        let left = to_add - added;
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        added += share;
        sizes.push(set.size() + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        set.scale(size, bounds.replicas, bounds.max());
    }
}

/// By how much a set changes when the deployment's size does.
fn share(set: &Working, bounds: Bounds, status_replicas: i32) -> i32 {
    if bounds.replicas == 0 {
        return -set.size();
    }
    let before = set.max().filter(|max| *max > 0).unwrap_or(status_replicas).max(1);
    let size = f64::from(set.size()) * f64::from(bounds.max()) / f64::from(before);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the product of two replica counts over a third is one"
    )]
    let size = size.round() as i32;
    size - set.size()
}

fn clean_up_when_complete(deployment: &Deployment, sets: &Sets, bounds: Bounds) -> Vec<String> {
    let status = deployment.status.clone().unwrap_or_default();
    let is = |count: Option<i32>| count.unwrap_or(0) == bounds.replicas;
    let complete = is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation;
    if complete { clean_up(deployment, sets) } else { Vec::new() }
}

/// Old, empty sets beyond the history limit, the oldest revisions first.
fn clean_up(deployment: &Deployment, sets: &Sets) -> Vec<String> {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(i32::MAX);
    let mut old: Vec<_> =
        sets.old.iter().filter(|set| set.set.metadata.deletion_timestamp.is_none()).collect();
    let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.sort_by_key(|set| set.revision());
    let empty = |set: &&&Working| {
        let observed = set.set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        set.observed() == 0 && set.size() == 0 && set.set.metadata.generation.unwrap_or(0) <= observed
    };
    old.iter().take(excess).filter(empty).map(|set| set.name().to_owned()).collect()
}
