//! When an object may go: grace periods, finalizers, propagation.
//!
//! Source: API conventions, "Metadata" (deletionTimestamp, finalizers); documentation, "Garbage Collection",
//! "Pod Lifecycle: Termination of Pods".

use super::policy;
use api::transport::{DeleteOptions, Propagation};
use api::{Object, ResourceDef};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Grace of pods that say nothing.
const POD_GRACE: i64 = 30;

/// Whether something still has to happen before the object may go.
fn is_held(object: &dyn Object) -> bool {
    let finalizers = object.meta().finalizers.as_ref().is_some_and(|f| !f.is_empty());
    let namespace = object
        .downcast_ref::<Namespace>()
        .and_then(|namespace| namespace.spec.as_ref()?.finalizers.as_ref())
        .is_some_and(|finalizers| !finalizers.is_empty());
    finalizers || namespace
}

/// Whether a deletion that was waiting for finalizers is complete.
pub(super) fn is_finished(_def: &ResourceDef, object: &dyn Object) -> bool {
    let meta = object.meta();
    meta.deletion_timestamp.is_some()
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !is_held(object)
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes at once.
    Remove,
    /// It was changed and stays for now.
    Mark,
    /// It is being deleted already; nothing changes.
    Nothing,
}

/// The seconds that the object gets to stop by itself; `None` for kinds that do not stop.
fn grace(object: &dyn Object, options: &DeleteOptions) -> Option<i64> {
    let pod = object.downcast_ref::<Pod>()?;
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let unscheduled = spec.is_none_or(|spec| spec.node_name.as_deref().unwrap_or_default().is_empty());
    if unscheduled || matches!(phase, "Succeeded" | "Failed") {
        return Some(0);
    }
    let own = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(POD_GRACE);
    // A negative grace, once stored, means one second.
    Some(match options.grace_period_seconds.unwrap_or(own) {
        negative if negative < 0 => 1,
        seconds => seconds,
    })
}

/// Sets the finalizers that the propagation policy asks for. Returns whether they changed.
fn set_finalizers(def: &ResourceDef, object: &mut dyn Object, options: &DeleteOptions) -> bool {
    let old = object.meta().finalizers.clone().unwrap_or_default();
    let has = |name: &str| old.iter().any(|f| f == name);
    let (orphan, foreground) = match options.propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        // Without a policy, what an earlier request left decides, then the kind.
        None if has(FOREGROUND) => (false, true),
        None if has(ORPHAN) => (true, false),
        None => (policy::default_propagation(def) == Propagation::Orphan, false),
    };
    let mut new: Vec<String> = old.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        new.push(ORPHAN.to_owned());
    }
    if foreground {
        new.push(FOREGROUND.to_owned());
    }
    let mut sorted = (old, new.clone());
    sorted.0.sort();
    sorted.1.sort();
    if sorted.0 == sorted.1 {
        return false;
    }
    object.meta_mut().finalizers = (!new.is_empty()).then_some(new);
    true
}

/// Changes `object` as a deletion at `now` does and says what has to follow.
pub(super) fn delete(
    def: &ResourceDef,
    object: &mut dyn Object,
    options: &DeleteOptions,
    now: Timestamp,
) -> Outcome {
    let grace = grace(object, options);
    let changed = set_finalizers(def, object, options);
    let held = is_held(object);
    let deleting = object.meta().deletion_timestamp.clone();
    match (deleting, grace) {
        (Some(_), Some(seconds)) => {
            let left = object.meta().deletion_grace_period_seconds.unwrap_or(0);
            // A running deletion can only be made faster. Without finalizers a grace of 0 ends it.
            if seconds == 0 && !held {
                return Outcome::Remove;
            }
            let asked = options.grace_period_seconds.is_some() || seconds == 0;
            if asked && seconds < left {
                mark(object, now, seconds);
                return Outcome::Mark;
            }
            if changed { Outcome::Mark } else { Outcome::Nothing }
        }
        (Some(_), None) if !held => Outcome::Remove,
        (Some(_), None) => {
            if changed {
                Outcome::Mark
            } else {
                Outcome::Nothing
            }
        }
        (None, Some(seconds)) if seconds > 0 => {
            mark(object, now, seconds);
            bump(object);
            Outcome::Mark
        }
        (None, _) if !held => Outcome::Remove,
        (None, _) => {
            mark(object, now, 0);
            bump(object);
            if let Some(namespace) = object.downcast_mut::<Namespace>() {
                namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
            }
            Outcome::Mark
        }
    }
}

fn mark(object: &mut dyn Object, now: Timestamp, seconds: i64) {
    let meta = object.meta_mut();
    let started = match (&meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
        // Counted from the first request, as upstream does.
        (Some(at), Some(grace)) => at.0.checked_sub(SignedDuration::from_secs(grace)).unwrap_or(now),
        _ => now,
    };
    let at = started.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(started);
    meta.deletion_timestamp = Some(Time(at));
    meta.deletion_grace_period_seconds = Some(seconds);
}

/// A deletion is a change of the desired state, for kinds that count those.
fn bump(object: &mut dyn Object) {
    let meta = object.meta_mut();
    if let Some(generation) = meta.generation.filter(|generation| *generation > 0) {
        meta.generation = Some(generation + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};

    fn def(plural: &str) -> std::sync::Arc<ResourceDef> {
        api::ResourceTable::shared().find("", "v1", plural).unwrap().clone()
    }

    #[test]
    fn a_scheduled_pod_gets_its_grace_and_can_only_go_faster() {
        let pods = def("pods");
        let spec = PodSpec { node_name: Some("n".into()), ..PodSpec::default() };
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        let now = Timestamp::UNIX_EPOCH;
        let options = DeleteOptions::default();
        assert_eq!(delete(&pods, &mut pod, &options, now), Outcome::Mark);
        assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(30));
        assert_eq!(pod.metadata.deletion_timestamp.as_ref().unwrap().0.as_second(), 30);
        assert_eq!(delete(&pods, &mut pod, &options, now), Outcome::Nothing);
        let longer = DeleteOptions { grace_period_seconds: Some(60), ..options.clone() };
        assert_eq!(delete(&pods, &mut pod, &longer, now), Outcome::Nothing);
        let shorter = DeleteOptions { grace_period_seconds: Some(5), ..options.clone() };
        assert_eq!(delete(&pods, &mut pod, &shorter, now), Outcome::Mark);
        assert_eq!(pod.metadata.deletion_timestamp.as_ref().unwrap().0.as_second(), 5);
        let force = DeleteOptions { grace_period_seconds: Some(0), ..options };
        assert_eq!(delete(&pods, &mut pod, &force, now), Outcome::Remove);
    }

    #[test]
    fn finalizers_hold_and_policies_set_them() {
        let maps = def("configmaps");
        let now = Timestamp::UNIX_EPOCH;
        let foreground =
            DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        let mut map = ConfigMap::default();
        assert_eq!(delete(&maps, &mut map, &foreground, now), Outcome::Mark);
        assert_eq!(map.metadata.finalizers, Some(vec!["foregroundDeletion".to_owned()]));
        assert!(!is_finished(&maps, &map));
        map.metadata.finalizers = None;
        assert!(is_finished(&maps, &map));
        assert_eq!(delete(&maps, &mut ConfigMap::default(), &DeleteOptions::default(), now), Outcome::Remove);
    }
}
