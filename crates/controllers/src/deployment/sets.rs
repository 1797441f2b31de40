//! [`Sets`]: a deployment's ReplicaSets as a plan changes them: which is new, which are old, and the annotations by which
//! revisions and scaling are remembered.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH_LABEL: &str = "pod-template-hash";
/// Annotations that ReplicaSets do not take from their deployment.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// How long the history of revisions may become, in bytes.
const HISTORY_LIMIT: usize = 2000;

/// A ReplicaSet and what it shall become.
#[derive(Clone, Debug)]
pub(super) struct Working {
    /// As it is; `None` for one to be made.
    pub(super) original: Option<Arc<ReplicaSet>>,
    /// As it shall be.
    pub(super) set: ReplicaSet,
}

impl Working {
    pub(super) fn of(set: &Arc<ReplicaSet>) -> Self {
        Self { original: Some(set.clone()), set: ReplicaSet::clone(set) }
    }

    pub(super) fn name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or("")
    }

    /// Wanted replicas.
    pub(super) fn size(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// Wanted replicas before the plan.
    pub(super) fn original_size(&self) -> i32 {
        self.original.as_ref().and_then(|set| set.spec.as_ref()?.replicas).unwrap_or(0)
    }

    pub(super) fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    pub(super) fn observed(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn revision(&self) -> i64 {
        self.annotation(REVISION).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The size that the deployment had when this set was last scaled.
    pub(super) fn desired(&self) -> Option<i32> {
        self.annotation(DESIRED)?.parse().ok()
    }

    pub(super) fn max(&self) -> Option<i32> {
        self.annotation(MAX)?.parse().ok()
    }

    fn annotate(&mut self, key: &str, value: String) {
        self.set.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value);
    }

    /// Remembers the sizes by which a later change of the deployment's size is seen.
    pub(super) fn remember(&mut self, desired: i32, max: i32) {
        self.annotate(DESIRED, desired.to_string());
        self.annotate(MAX, max.to_string());
    }

    /// Wants `size` replicas.
    pub(super) fn scale(&mut self, size: i32, desired: i32, max: i32) {
        if let Some(spec) = &mut self.set.spec {
            spec.replicas = Some(size);
        }
        self.remember(desired, max);
    }

    pub(super) fn is_changed(&self) -> bool {
        self.original.as_deref() != Some(&self.set)
    }

    fn created(&self) -> (i64, &str) {
        let created =
            self.set.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
        (created, self.name())
    }
}

/// New and old ReplicaSets; the old ones by age, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    pub(super) new: Option<Working>,
    pub(super) old: Vec<Working>,
}

impl Sets {
    /// Sorts out which set has the deployment's template: the oldest, if there are several.
    pub(super) fn of(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Self {
        let mut all: Vec<_> = sets.iter().map(Working::of).collect();
        all.sort_by(|a, b| a.created().cmp(&b.created()));
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let at = all.iter().position(|working| same_template(template, template_of(&working.set)));
        let new = at.map(|at| all.remove(at));
        Self { new, old: all }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Working> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Working> {
        self.old.iter_mut().chain(&mut self.new)
    }

    /// Wanted replicas of all.
    pub(super) fn total(&self) -> i32 {
        self.all().map(Working::size).sum()
    }

    /// The revision that the new set gets.
    pub(super) fn next_revision(&self) -> i64 {
        self.old.iter().map(Working::revision).max().unwrap_or(0) + 1
    }
}

fn template_of(set: &ReplicaSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref()?.template.as_ref()
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
    }
    template
}

/// Whether two templates are equal, not counting the hash label.
pub(super) fn same_template(one: Option<&PodTemplateSpec>, other: Option<&PodTemplateSpec>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => without_hash(one) == without_hash(other),
        _ => false,
    }
}

/// The ReplicaSet for the deployment's template, without replicas.
pub(super) fn make(deployment: &Deployment, revision: i64) -> Working {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let mut carrier = Deployment::default();
    carrier.spec.get_or_insert_default().template = without_hash(&spec.template);
    let json: serde_json::Value = serde_json::from_slice(&api::Object::to_json(&carrier)).unwrap_or_default();
    let hash = crate::common::hash::of(&json["spec"]["template"], collisions);
    let label = |labels: &mut Option<BTreeMap<String, String>>| {
        labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    };
    let mut template = spec.template.clone();
    label(&mut template.metadata.get_or_insert_default().labels);
    let mut selector = spec.selector.clone();
    label(&mut selector.match_labels);
    let mut set = ReplicaSet::default();
    let meta = &deployment.metadata;
    set.metadata.name = Some(format!("{}-{hash}", meta.name.as_deref().unwrap_or("")));
    set.metadata.namespace = meta.namespace.clone();
    set.metadata.labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    set.metadata.owner_references = Some(vec![crate::common::owners::controller_reference(deployment)]);
    set.spec = Some(ReplicaSetSpec {
        replicas: Some(0),
        min_ready_seconds: spec.min_ready_seconds,
        selector,
        template: Some(template),
    });
    let mut working = Working { original: None, set };
    describe(&mut working, deployment, revision);
    working
}

/// Brings annotations and `minReadySeconds` of the new set up to date.
pub(super) fn describe(working: &mut Working, deployment: &Deployment, revision: i64) {
    let exists = working.original.is_some();
    let annotations = working.set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned().unwrap_or_default();
    if old.parse().unwrap_or(0) < revision {
        annotations.insert(REVISION.to_owned(), revision.to_string());
        if exists && !old.is_empty() {
            let mut history: Vec<String> = annotations
                .get(HISTORY)
                .map(|all| all.split(',').map(str::to_owned).collect())
                .unwrap_or_default();
            history.retain(|entry| !entry.is_empty());
            history.push(old);
            while history.iter().map(|entry| entry.len() + 1).sum::<usize>() > HISTORY_LIMIT {
                history.remove(0);
            }
            annotations.insert(HISTORY.to_owned(), history.join(","));
        }
    }
    let min_ready = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    if let Some(spec) = &mut working.set.spec
        && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0)
    {
        spec.min_ready_seconds = min_ready;
    }
}
