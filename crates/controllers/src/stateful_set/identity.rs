//! What makes a pod of a StatefulSet itself: its name, host name, labels and claims.

use crate::common::{pods, revisions};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use std::collections::BTreeMap;

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

fn set_name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or("")
}

/// The name of the pod with an ordinal.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set_name(set))
}

/// The ordinal of a pod of this set.
pub(super) fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    let digits = name.strip_prefix(set_name(set))?.strip_prefix('-')?;
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

/// The revision that a pod was made from.
pub(super) fn revision_of(pod: &Pod) -> &str {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(revisions::HASH_LABEL))
        .map_or("", String::as_str)
}

/// The name of the claim that a pod has for a claim template.
fn claim_name(set: &StatefulSet, template: &str, ordinal: i32) -> String {
    format!("{template}-{}-{ordinal}", set_name(set))
}

/// The claims of the pod with an ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let make = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        let name = claim_name(set, template.metadata.name.as_deref().unwrap_or(""), ordinal);
        claim.metadata.name = Some(name);
        claim.metadata.namespace = set.metadata.namespace.clone();
        // Users find the claims of a set by its selector.
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        claim
    };
    spec.volume_claim_templates.iter().flatten().map(make).collect()
}

fn labels_of(set: &StatefulSet, ordinal: i32) -> BTreeMap<String, String> {
    [(NAME_LABEL.to_owned(), pod_name(set, ordinal)), (INDEX_LABEL.to_owned(), ordinal.to_string())].into()
}

/// The volumes of the pod: those of the template, except that claims take the place of equal names.
fn volumes(set: &StatefulSet, ordinal: i32, own: Vec<Volume>) -> Vec<Volume> {
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    let mut all: Vec<Volume> = templates
        .map(|template| {
            let name = template.metadata.name.clone().unwrap_or_default();
            let claim_name = claim_name(set, &name, ordinal);
            let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
            Volume { name, persistent_volume_claim: Some(source), ..Volume::default() }
        })
        .collect();
    let names: Vec<String> = all.iter().map(|volume| volume.name.clone()).collect();
    all.extend(own.into_iter().filter(|volume| !names.contains(&volume.name)));
    all
}

/// The pod with an ordinal from a template of a revision.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = pods::from_template(template);
    let name = pod_name(set, ordinal);
    pod.metadata.name = Some(name.clone());
    pod.metadata.namespace = set.metadata.namespace.clone();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.extend(labels_of(set, ordinal));
    labels.insert(revisions::HASH_LABEL.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    spec.volumes = Some(volumes(set, ordinal, spec.volumes.take().unwrap_or_default()));
    pod
}

/// Whether a pod still has the labels of its identity.
pub(super) fn labels_match(set: &StatefulSet, ordinal: i32, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels_of(set, ordinal)
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Gives a pod the labels of its identity back.
pub(super) fn restore(set: &StatefulSet, ordinal: i32, pod: &mut Pod) {
    pod.metadata.labels.get_or_insert_default().extend(labels_of(set, ordinal));
}
