//! Writing conditions, which most kinds carry in slightly different types.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition};
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::{
    NamespaceCondition, NodeCondition, PodCondition, ReplicationControllerCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A condition whose parts can be set.
pub(crate) trait Settable: Default + Clone + PartialEq {
    fn parts(&mut self) -> Parts<'_>;
    fn kind(&self) -> &str;
    fn status(&self) -> &str;
}

pub(crate) struct Parts<'a> {
    pub(crate) kind: &'a mut String,
    pub(crate) status: &'a mut String,
    pub(crate) reason: &'a mut Option<String>,
    pub(crate) message: &'a mut Option<String>,
    pub(crate) transition: &'a mut Option<Time>,
}

macro_rules! settable {
    ($($t:ty),+) => { $(impl Settable for $t {
        fn parts(&mut self) -> Parts<'_> {
            Parts {
                kind: &mut self.type_,
                status: &mut self.status,
                reason: &mut self.reason,
                message: &mut self.message,
                transition: &mut self.last_transition_time,
            }
        }
        fn kind(&self) -> &str {
            &self.type_
        }
        fn status(&self) -> &str {
            &self.status
        }
    })+ };
}
settable!(
    DeploymentCondition,
    JobCondition,
    NamespaceCondition,
    NodeCondition,
    PodCondition,
    ReplicaSetCondition,
    ReplicationControllerCondition
);

/// A condition that changed at `now`.
pub(crate) fn new<C: Settable>(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> C {
    let mut condition = C::default();
    let parts = condition.parts();
    *parts.kind = kind.to_owned();
    *parts.status = status.to_owned();
    *parts.reason = Some(reason.to_owned());
    *parts.message = Some(message.to_owned());
    *parts.transition = Some(client::time::seconds(now));
    condition
}

/// Puts a condition in place of the one of its type. The transition time stays when the status does. Returns whether
/// anything but times changed.
pub(crate) fn set<C: Settable>(conditions: &mut Option<Vec<C>>, mut condition: C) -> bool {
    let all = conditions.get_or_insert_default();
    let Some(at) = all.iter().position(|known| known.kind() == condition.kind()) else {
        all.push(condition);
        return true;
    };
    let old = &mut all[at];
    let same_status = old.status() == condition.status();
    let changed = {
        let (old, new) = (old.parts(), condition.parts());
        if same_status {
            *new.transition = old.transition.clone();
        }
        *old.status != *new.status || *old.reason != *new.reason || *old.message != *new.message
    };
    if changed {
        *old = condition;
    }
    changed
}

/// Removes the condition of a type.
pub(crate) fn remove<C: Settable>(conditions: &mut Option<Vec<C>>, kind: &str) {
    if let Some(all) = conditions {
        all.retain(|condition| condition.kind() != kind);
        if all.is_empty() {
            *conditions = None;
        }
    }
}

/// The condition of a type.
pub(crate) fn find<'a, C: Settable>(conditions: &'a Option<Vec<C>>, kind: &str) -> Option<&'a C> {
    conditions.iter().flatten().find(|condition| condition.kind() == kind)
}

/// Whether the condition of a type is `True`.
pub(crate) fn is_true<C: Settable>(conditions: &Option<Vec<C>>, kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status() == "True")
}
