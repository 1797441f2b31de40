//! The old form of discovery: a document per group and version.

use api::{ResourceDef, ResourceTable, Subresource, Verb};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The groups of a table in its order, each with its versions, the preferred one first.
pub(super) fn group_versions(table: &ResourceTable) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for row in table.rows() {
        let version = row.gvk.version.to_string();
        match groups.iter_mut().find(|(group, _)| *group == row.gvk.group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version),
            None => groups.push((row.gvk.group.to_string(), vec![version])),
        }
    }
    groups
}

/// The paths that are not about groups, but for the single health checks.
const SITE: &[&str] = &[
    "/.well-known/openid-configuration",
    "/configz",
    "/debug/api_priority_and_fairness/dump_priority_levels",
    "/debug/api_priority_and_fairness/dump_queues",
    "/debug/api_priority_and_fairness/dump_requests",
    "/flagz",
    "/healthz",
    "/livez",
    "/logs",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/readyz",
    "/statusz",
    "/version",
];

/// `/`: every path worth knowing.
pub(super) fn paths(table: &ResourceTable) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
    for (group, versions) in group_versions(table).into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(SITE.iter().map(|path| (*path).to_owned()));
    for kind in super::health::KINDS {
        let checks = super::health::checks(kind);
        paths.extend(checks.iter().map(|check| format!("/{kind}/{check}")));
    }
    paths.sort();
    paths
}

/// `/api`.
pub(super) fn versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_body(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

/// `/apis`.
pub(super) fn groups(table: &ResourceTable) -> Value {
    let groups: Vec<Value> = group_versions(table)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_body(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub(super) fn group(table: &ResourceTable, group: &str) -> Option<Value> {
    let groups = group_versions(table);
    let (name, versions) = groups.iter().find(|(name, _)| name == group && !name.is_empty())?;
    let mut body = group_body(name, versions);
    body["kind"] = json!("APIGroup");
    body["apiVersion"] = json!("v1");
    Some(body)
}

fn names(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

/// Identifies the version that objects are stored in: upstream's `storageVersionHash`.
fn storage_hash(row: &ResourceDef) -> String {
    let gvk = row.stored_gvk();
    let digest = Sha256::digest(format!("{}/{}/{}", row.storage.group, gvk.version, gvk.kind).as_bytes());
    STANDARD.encode(&digest[..8])
}

fn main_entry(row: &Arc<ResourceDef>) -> Value {
    let mut entry = json!({
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.gvk.kind,
        "verbs": names(&row.verbs),
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if row.verbs.contains(&Verb::Watch) {
        entry["storageVersionHash"] = json!(storage_hash(row));
    }
    entry
}

fn sub_entry(row: &ResourceDef, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", row.plural, sub.name),
        "singularName": "",
        "namespaced": row.namespaced,
    });
    if let Some(gvk) = &sub.gvk {
        if (&gvk.group, &gvk.version) != (&row.gvk.group, &row.gvk.version) {
            entry["group"] = json!(gvk.group);
            entry["version"] = json!(gvk.version);
        }
        entry["kind"] = json!(gvk.kind);
    } else {
        entry["kind"] = json!(row.gvk.kind);
    }
    entry["verbs"] = json!(names(&sub.verbs));
    entry
}

/// `/api/<version>` and `/apis/<group>/<version>`.
pub(super) fn resources(table: &ResourceTable, group: &str, version: &str) -> Option<Value> {
    let mut rows: Vec<_> =
        table.rows().iter().filter(|row| row.gvk.group == group && row.gvk.version == version).collect();
    if rows.is_empty() {
        return None;
    }
    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
    let mut entries = Vec::new();
    for row in rows {
        entries.push(main_entry(row));
        let mut subs: Vec<_> = row.subresources.iter().collect();
        subs.sort_by(|a, b| a.name.cmp(&b.name));
        entries.extend(subs.into_iter().map(|sub| sub_entry(row, sub)));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": entries});
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    Some(list)
}
