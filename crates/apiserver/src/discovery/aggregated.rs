//! Aggregated discovery: every group in one document (KEP-3352, `apidiscovery.k8s.io/v2`).

use super::legacy::group_versions;
use api::{ResourceDef, ResourceTable, Subresource, Verb};
use machinery::GroupVersionKind;
use serde_json::{Value, json};

/// The kind of an answer; group and version are empty where they are the resource's own.
fn kind(row: &ResourceDef, gvk: &GroupVersionKind) -> Value {
    if (&gvk.group, &gvk.version) == (&row.gvk.group, &row.gvk.version) {
        return json!({"group": "", "version": "", "kind": gvk.kind});
    }
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

fn names(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.as_str()).collect()
}

fn sub_entry(row: &ResourceDef, sub: &Subresource) -> Value {
    json!({
        "subresource": sub.name,
        "responseKind": kind(row, sub.gvk.as_ref().unwrap_or(&row.gvk)),
        "verbs": names(&sub.verbs),
    })
}

fn entry(row: &ResourceDef) -> Value {
    let mut entry = json!({
        "resource": row.plural,
        "responseKind": kind(row, &row.gvk),
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": names(&row.verbs),
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let mut subs: Vec<_> = row.subresources.iter().collect();
        subs.sort_by(|a, b| a.name.cmp(&b.name));
        entry["subresources"] = subs.into_iter().map(|sub| sub_entry(row, sub)).collect();
    }
    entry
}

fn document(table: &ResourceTable, wanted: impl Fn(&str) -> bool) -> Value {
    let groups: Vec<Value> = group_versions(table)
        .into_iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let mut rows: Vec<_> = table
                        .rows()
                        .iter()
                        .filter(|row| row.gvk.group == group && row.gvk.version == version)
                        .collect();
                    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
                    let resources: Vec<Value> = rows.into_iter().map(|row| entry(row)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups})
}

/// `/api`.
pub(super) fn core(table: &ResourceTable) -> Value {
    document(table, str::is_empty)
}

/// `/apis`.
pub(super) fn groups(table: &ResourceTable) -> Value {
    document(table, |group| !group.is_empty())
}
