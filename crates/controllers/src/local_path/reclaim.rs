//! What becomes of a volume that nobody claims any more: its directory is removed, then the object.

use super::helper::{self, Directory, Helpers, Step, Work};
use super::{FINALIZER, NAME, PROVISIONED_BY, volume};
use crate::common::pods;
use crate::context::Context;
use client::{EventType, Informer, ObjectKey, Requeue};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use machinery::Status;
use std::path::Path;

pub(super) struct Reclaimer {
    pub(super) context: Context,
    pub(super) helpers: Helpers,
    pub(super) claims: Informer<PersistentVolumeClaim>,
    pub(super) volumes: Informer<PersistentVolume>,
    pub(super) nodes: Informer<Node>,
}

/// Whether the volume is this provisioner's.
fn is_ours(volume: &PersistentVolume) -> bool {
    let annotations = volume.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(PROVISIONED_BY)).is_some_and(|by| by == NAME)
}

fn finalizers(volume: &PersistentVolume) -> &[String] {
    volume.metadata.finalizers.as_deref().unwrap_or_default()
}

/// What is to be done about a volume.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is used, or kept for somebody.
    Keep,
    /// It was deleted, and its directory stays.
    LetGo,
    /// Nobody claims it: directory and object go.
    Remove,
}

fn fate(volume: &PersistentVolume) -> Fate {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let deleting = volume.metadata.deletion_timestamp.is_some();
    match policy {
        Some("Delete") if released => Fate::Remove,
        Some("Delete") => Fate::Keep,
        _ if deleting && finalizers(volume).iter().any(|f| f == FINALIZER) => Fate::LetGo,
        _ => Fate::Keep,
    }
}

impl Reclaimer {
    /// Looks after the volume `key`, and after helpers that work for it.
    pub(super) async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, Status> {
        let Some(found) = self.volumes.store().get(key) else { return self.leftovers(&key.name).await };
        if !is_ours(&found) {
            return Ok(Requeue::No);
        }
        // The volume is there, so the helper that made its directory has done its work.
        self.helpers.forget(Work::Make, &key.name).await?;
        match fate(&found) {
            Fate::Keep => {}
            Fate::LetGo => self.let_go(&found).await?,
            Fate::Remove => self.remove(&found).await?,
        }
        Ok(Requeue::No)
    }

    async fn remove(&self, found: &PersistentVolume) -> Result<(), Status> {
        let name = found.metadata.name.as_deref().unwrap_or("");
        let home = volume::home(found).unwrap_or_default();
        let nodes = self.nodes.store().list();
        let node = nodes.iter().find(|node| volume::hostname(node) == home);
        let root = volume::path(found).filter(|path| path.ends_with(name)).and_then(Path::parent);
        // A node that has left took its directories along.
        if let (Some(node), Some(root)) = (node, root) {
            let node = node.metadata.name.as_deref().unwrap_or("");
            let directory = Directory { volume: name, node, claim: String::new(), root };
            match self.helpers.step(Work::Remove, &directory).await? {
                Step::Waiting => return Ok(()),
                Step::Failed(why) => {
                    let text = format!("failed to remove the volume's directory on node {node}: {why}");
                    self.context.recorder.event(found, EventType::Warning, "VolumeFailedDelete", &*text);
                    return Err(Status::internal(text));
                }
                Step::Done => {}
            }
        }
        if found.metadata.deletion_timestamp.is_none() {
            match self.context.client.all::<PersistentVolume>().delete(name).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        self.let_go(found).await
    }

    /// Takes our finalizer away.
    async fn let_go(&self, found: &PersistentVolume) -> Result<(), Status> {
        if !finalizers(found).iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        let api = self.context.client.all::<PersistentVolume>();
        // What others added meanwhile must stay: the newest version counts.
        let newest = api.get_opt(found.metadata.name.as_deref().unwrap_or("")).await?;
        let Some(mut newest) = newest.map(|newest| PersistentVolume::clone(&newest)) else { return Ok(()) };
        newest.metadata.finalizers.get_or_insert_default().retain(|f| f != FINALIZER);
        match api.update(&newest).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }

    /// Without a volume: a helper that removed has done its work; a directory whose claim is gone goes too.
    async fn leftovers(&self, volume: &str) -> Result<Requeue, Status> {
        let Some(made) = self.helpers.find(Work::Make, volume) else {
            if self.helpers.find(Work::Remove, volume).is_some_and(|pod| pods::is_terminal(&pod)) {
                self.helpers.forget(Work::Remove, volume).await?;
            }
            return Ok(Requeue::No);
        };
        let claim = helper::about(&made).map(|(_, claim)| claim).unwrap_or_default();
        let (namespace, name) = claim.split_once('/').unwrap_or_default();
        let wanted = self.claims.store().find(namespace, name);
        if wanted.is_some_and(|claim| volume::name(&claim) == volume) || pods::is_terminating(&made) {
            return Ok(Requeue::No);
        }
        if !pods::is_terminal(&made) {
            // It may be making the directory this very moment.
            return Ok(Requeue::No);
        }
        let root = &self.context.config.local_path_root;
        let directory = Directory { volume, node: pods::node_of(&made), claim: String::new(), root };
        match self.helpers.step(Work::Remove, &directory).await? {
            Step::Waiting => Ok(Requeue::No),
            Step::Failed(why) => Err(Status::internal(format!("failed to remove a directory: {why}"))),
            Step::Done => {
                self.helpers.forget(Work::Make, volume).await?;
                Ok(Requeue::No)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    #[test]
    fn only_released_volumes_with_policy_delete_go() {
        let volume = |policy: &str, phase: &str, deleting: bool| {
            let mut object = serde_json::json!({"apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": "v", "finalizers": [FINALIZER]},
                "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}});
            if deleting {
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            PersistentVolume::from_json(object.to_string().as_bytes()).unwrap()
        };
        for (policy, phase, deleting, expected) in [
            ("Delete", "Bound", false, Fate::Keep),
            ("Delete", "Bound", true, Fate::Keep),
            ("Delete", "Released", false, Fate::Remove),
            ("Delete", "Released", true, Fate::Remove),
            ("Retain", "Released", false, Fate::Keep),
            ("Retain", "Released", true, Fate::LetGo),
        ] {
            assert_eq!(fate(&volume(policy, phase, deleting)), expected, "{policy} {phase} {deleting}");
        }
    }
}
