//! The APIServices of what this server serves itself: built-in groups at the start, groups of custom resources as they
//! come and go, with upstream's priorities.
//!
//! Deliberately absent: correcting APIServices that someone else wrote; without the label they are left alone.

use super::target;
use crate::contract::Context;
use api::ResourceTable;
use api::common::text;
use api::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use api::transport::{DeleteOptions, Target, WriteOptions};
use futures::{StreamExt, stream};
use machinery::Status;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const OWN_GROUP: &str = "apiregistration.k8s.io";
const PARALLEL: usize = 32;

/// Group, group priority; `.k8s.io` of the group is left out.
const GROUPS: &[(&str, i32)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events", 17_750),
    ("authentication", 17_700),
    ("authorization", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates", 17_300),
    ("networking", 17_200),
    ("policy", 17_100),
    ("rbac.authorization", 17_000),
    ("storage", 16_800),
    ("apiextensions", 16_700),
    ("admissionregistration", 16_700),
    ("scheduling", 16_600),
    ("coordination", 16_500),
    ("node", 16_300),
    ("discovery", 16_200),
    ("flowcontrol.apiserver", 16_100),
    ("internal.apiserver", 16_000),
    ("resource", 15_900),
    ("storagemigration", 15_800),
];

/// Priority of a built-in group, and of one of its versions.
pub(super) fn priorities(group: &str, version: &str) -> (i32, i32) {
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let of_group = GROUPS.iter().find(|(name, _)| *name == short).map_or(15_000, |(_, priority)| *priority);
    let of_version = match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", "v1") => 21,
        ("resource.k8s.io", "v1") => 20,
        (_, version) if version.contains("alpha") => 1,
        (_, version) if version.contains("beta") => 9,
        _ => 15,
    };
    (of_group, of_version)
}

/// Priorities of every group and version of custom resources.
pub(super) const CUSTOM: (i32, i32) = (1000, 100);

/// Writes what is missing, and takes away what custom resources left behind.
pub(super) async fn local(
    context: &Context,
    table: &ResourceTable,
    known: &BTreeMap<String, Arc<APIService>>,
) -> Result<(), Status> {
    let built_in = versions(ResourceTable::shared());
    let served = versions(table);
    let mut missing = Vec::new();
    let mut names = BTreeSet::new();
    for gv @ (group, version) in &served {
        let name = format!("{version}.{group}");
        if !known.contains_key(&name) {
            let own = built_in.contains(gv);
            let (of_group, of_version) = if own { priorities(group, version) } else { CUSTOM };
            let mut spec =
                json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
            if !group.is_empty() {
                spec["group"] = json!(group);
            }
            missing.push(json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": {"name": name, "labels": {MANAGED: if own { "onstart" } else { "true" }}}, "spec": spec}));
        }
        names.insert(name);
    }
    let creations = missing.into_iter().map(|body| async move {
        let all = Target::all(super::resource());
        match context.loopback.create(&all, body.to_string().into(), &WriteOptions::default()).await {
            Err(error) if error.is_already_exists() => Ok(()),
            result => result.map(drop),
        }
    });
    // One that fails holds up no other.
    let results: Vec<Result<(), Status>> = stream::iter(creations).buffer_unordered(PARALLEL).collect().await;
    results.into_iter().collect::<Result<(), Status>>()?;
    for (name, service) in known {
        let label = service.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED));
        if label.map(String::as_str) != Some("true") || names.contains(name) {
            continue;
        }
        let options = DeleteOptions { uid: service.metadata.uid.clone(), ..DeleteOptions::default() };
        match context.loopback.delete(&target(text(&service.metadata.name)), &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn versions(table: &ResourceTable) -> BTreeSet<(String, String)> {
    let rows = table.rows().iter().filter(|row| row.gvk.group != OWN_GROUP);
    let mut all = BTreeSet::new();
    for row in rows {
        if !all.contains(&(row.gvk.group.to_string(), row.gvk.version.to_string())) {
            all.insert((row.gvk.group.to_string(), row.gvk.version.to_string()));
        }
    }
    all
}
