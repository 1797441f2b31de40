//! The history of a workload's pod template, as ControllerRevisions. DaemonSet and StatefulSet share it.

use super::{claim, hash, owners};
use api::{Kind, Object};
use client::{Client, Informer};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use machinery::Status;
use machinery::labels::Selector;
use serde_json::{Value, json};
use std::sync::Arc;

/// The label by which pods name their revision.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// The revisions of a workload, oldest first, with the current template's last.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) old: Vec<Arc<ControllerRevision>>,
    pub(crate) current: Arc<ControllerRevision>,
    /// How many names were taken by accident.
    pub(crate) collisions: Option<i32>,
}

/// The name of a revision.
pub(crate) fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or("")
}

/// The hash of a revision, as DaemonSet pods carry it.
pub(crate) fn hash_of(revision: &ControllerRevision) -> &str {
    revision.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).map_or("", String::as_str)
}

/// What a revision records: the template, as a patch that replaces it.
fn data_of<O: Kind>(owner: &O) -> Value {
    let object: Value = serde_json::from_slice(&Object::to_json(owner)).unwrap_or_default();
    let mut template = object["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// Claims the owner's revisions and makes the current template's the newest. Templates that were there before keep their
/// name and get a higher number.
pub(crate) async fn sync<O: Kind>(
    client: &Client,
    revisions: &Informer<ControllerRevision>,
    owner: &O,
    selector: &Selector,
    collisions: Option<i32>,
) -> Result<History, Status> {
    let meta = owner.meta();
    let namespace = meta.namespace.as_deref().unwrap_or("");
    let candidates = revisions.store().list_in(namespace);
    let claimed = claim::plan(meta, selector, candidates);
    let mut all = claim::execute(client, owner, claimed).await?;
    all.sort_by(|a, b| a.revision.cmp(&b.revision).then_with(|| a.metadata.name.cmp(&b.metadata.name)));
    let data = data_of(owner);
    let next = all.last().map_or(0, |last| last.revision) + 1;
    let api = client.namespaced::<ControllerRevision>(namespace);
    let same =
        |revision: &Arc<ControllerRevision>| revision.data.as_ref().is_some_and(|known| known.0 == data);
    if let Some(at) = all.iter().rposition(same) {
        let found = all.remove(at);
        if at == all.len() {
            return Ok(History { old: all, current: found, collisions });
        }
        let mut newest = ControllerRevision::clone(&found);
        newest.revision = next;
        let current = api.update(&newest).await?;
        return Ok(History { old: all, current, collisions });
    }
    let (current, collisions) = create(client, owner, data, next, collisions).await?;
    Ok(History { old: all, current, collisions })
}

async fn create<O: Kind>(
    client: &Client,
    owner: &O,
    data: Value,
    number: i64,
    mut collisions: Option<i32>,
) -> Result<(Arc<ControllerRevision>, Option<i32>), Status> {
    let meta = owner.meta();
    let namespace = meta.namespace.as_deref().unwrap_or("");
    let api = client.namespaced::<ControllerRevision>(namespace);
    let object: Value = serde_json::from_slice(&Object::to_json(owner)).unwrap_or_default();
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    loop {
        let hash = hash::of(&data, collisions);
        let mut revision = ControllerRevision {
            data: Some(RawExtension(data.clone())),
            revision: number,
            ..Default::default()
        };
        revision.metadata.name = Some(format!("{}-{hash}", meta.name.as_deref().unwrap_or("")));
        revision.metadata.namespace = Some(namespace.to_owned());
        revision.metadata.owner_references = Some(vec![owners::controller_reference(owner)]);
        let own = labels.as_object().into_iter().flatten();
        let own = own.map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned()));
        let mut all: std::collections::BTreeMap<_, _> = own.collect();
        all.insert(HASH_LABEL.to_owned(), hash);
        revision.metadata.labels = Some(all);
        match api.create(&revision).await {
            Ok(created) => return Ok((created, collisions)),
            Err(status) if status.is_already_exists() => {
                let existing = api.get(name(&revision)).await?;
                if existing.data == revision.data && owners::is_controlled_by(&existing.metadata, meta) {
                    return Ok((existing, collisions));
                }
                collisions = Some(collisions.unwrap_or(0) + 1);
            }
            Err(status) => return Err(status),
        }
    }
}

/// Deletes the oldest revisions beyond `limit` that no pod uses.
pub(crate) async fn truncate(
    client: &Client,
    history: &History,
    limit: i32,
    is_used: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), Status> {
    let unused: Vec<_> = history.old.iter().filter(|revision| !is_used(revision)).collect();
    let excess = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    for revision in &unused[..excess] {
        let api =
            client.namespaced::<ControllerRevision>(revision.metadata.namespace.as_deref().unwrap_or(""));
        match api.delete(name(revision)).await {
            Err(status) if !status.is_not_found() => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
