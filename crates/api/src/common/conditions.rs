//! Reading conditions, which most kinds carry in slightly different types.

use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition, StatefulSetCondition};
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::{NamespaceCondition, NodeCondition, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// A condition: a type and a status of `True`, `False` or `Unknown`.
pub trait Conditional {
    /// Its type.
    fn kind(&self) -> &str;
    /// Its status.
    fn status(&self) -> &str;
}

macro_rules! conditional {
    ($($t:ty),+) => { $(impl Conditional for $t {
        fn kind(&self) -> &str {
            &self.type_
        }
        fn status(&self) -> &str {
            &self.status
        }
    })+ };
}
conditional!(
    Condition,
    DeploymentCondition,
    JobCondition,
    NamespaceCondition,
    NodeCondition,
    PodCondition,
    ReplicaSetCondition,
    StatefulSetCondition
);

/// The condition of a type.
pub fn find<'a, C: Conditional>(conditions: &'a Option<Vec<C>>, kind: &str) -> Option<&'a C> {
    conditions.iter().flatten().find(|condition| condition.kind() == kind)
}

/// Whether the condition of a type is `True`.
pub fn is_true<C: Conditional>(conditions: &Option<Vec<C>>, kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status() == "True")
}
