//! Discovery of remote groups: taken from the remote servers, shown among our own, ordered by priority.

use super::Aggregator;
use super::register::{CUSTOM, priorities};
use super::remote::Remote;
use crate::contract::Context;
use api::ResourceTable;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Reads the remote server's resources; what was known stays when it does not answer.
pub(super) async fn refresh(remote: &Remote, context: &Context) {
    let found = match remote.get(context, "/apis", AGGREGATED).await {
        Ok((code, _, body)) if code.is_success() => {
            serde_json::from_slice::<Value>(&body).ok().and_then(|list| entry(&list, remote))
        }
        _ => None,
    };
    let found = match found {
        Some(found) => Some(found),
        None => legacy(remote, context).await,
    };
    if found.is_some() {
        remote.seen.lock().discovery = found;
    }
}

/// The version's entry of an aggregated document.
fn entry(list: &Value, remote: &Remote) -> Option<Value> {
    let groups = list.get("items")?.as_array()?;
    let group =
        groups.iter().find(|g| g.pointer("/metadata/name").and_then(Value::as_str) == Some(&remote.group))?;
    let mut versions = group.get("versions")?.as_array()?.iter();
    versions.find(|v| v.get("version").and_then(Value::as_str) == Some(&remote.version)).cloned()
}

/// The same made of the old form.
async fn legacy(remote: &Remote, context: &Context) -> Option<Value> {
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let (code, _, body) = remote.get(context, &path, "application/json").await.ok()?;
    if !code.is_success() {
        return None;
    }
    let list: Value = serde_json::from_slice(&body).ok()?;
    let listed = list.get("resources")?.as_array()?;
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = |value: &Value| json!({"group": text(value, "group"), "version": text(value, "version"), "kind": text(value, "kind")});
    let verbs = |value: &Value| value.get("verbs").cloned().unwrap_or_else(|| json!([]));
    let mut resources: Vec<Value> = Vec::new();
    for resource in listed.iter().filter(|resource| !text(resource, "name").contains('/')) {
        let name = text(resource, "name");
        let namespaced = resource.get("namespaced").and_then(Value::as_bool) == Some(true);
        let mut entry = json!({"resource": name, "responseKind": kind(resource),
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": text(resource, "singularName"), "verbs": verbs(resource)});
        for key in ["shortNames", "categories"] {
            if let Some(value) = resource.get(key) {
                entry[key] = value.clone();
            }
        }
        let subs: Vec<Value> = listed
            .iter()
            .filter_map(|sub| {
                let full = text(sub, "name");
                let name = full.strip_prefix(&format!("{name}/"))?;
                Some(json!({"subresource": name, "responseKind": kind(sub), "verbs": verbs(sub)}))
            })
            .collect();
        if !subs.is_empty() {
            entry["subresources"] = json!(subs);
        }
        resources.push(entry);
    }
    Some(json!({"version": remote.version, "resources": resources}))
}

impl Remote {
    fn discovery(&self) -> Value {
        let mut entry =
            self.seen.lock().discovery.clone().unwrap_or_else(|| json!({"version": self.version}));
        entry["freshness"] = json!(if self.is_available() { "Current" } else { "Stale" });
        entry
    }
}

/// Priority of a group that this server serves itself.
fn local_priority(group: &str) -> i32 {
    let built_in = ResourceTable::shared().rows().iter().any(|row| row.gvk.group == group);
    match group {
        "" | "apiregistration.k8s.io" => i32::MAX,
        group if built_in => priorities(group, "").0,
        _ => CUSTOM.0,
    }
}

fn name_of(group: &Value) -> &str {
    let at = group.pointer("/metadata/name").or_else(|| group.get("name"));
    at.and_then(Value::as_str).unwrap_or_default()
}

impl Aggregator {
    /// The remote versions of a group, the preferred first.
    fn versions(remotes: &[Arc<Remote>], group: &str) -> Vec<Arc<Remote>> {
        let mut of: Vec<Arc<Remote>> =
            remotes.iter().filter(|remote| remote.group == group).cloned().collect();
        of.sort_by_key(|remote| std::cmp::Reverse(remote.spec.version_priority));
        of
    }

    fn merge(
        remotes: &[Arc<Remote>],
        list: &mut Vec<Value>,
        new: impl Fn(&str) -> Value,
        version: impl Fn(&Remote) -> Value,
    ) {
        let mut groups: Vec<&str> = remotes.iter().map(|remote| remote.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let of = Self::versions(remotes, group);
            let at = list.iter().position(|known| name_of(known) == group).unwrap_or_else(|| {
                let priority = of.iter().map(|remote| remote.spec.group_priority_minimum).max().unwrap_or(0);
                let rank = |known: &Value| {
                    let name = name_of(known);
                    let theirs =
                        remotes.iter().filter(|r| r.group == name).map(|r| r.spec.group_priority_minimum);
                    theirs.max().unwrap_or_else(|| local_priority(name))
                };
                let place = list.iter().position(|known| rank(known) < priority).unwrap_or(list.len());
                list.insert(place, new(group));
                place
            });
            let Some(versions) = list[at].get_mut("versions").and_then(Value::as_array_mut) else { continue };
            for remote in of {
                versions
                    .retain(|known| known.get("version").and_then(Value::as_str) != Some(&remote.version));
                versions.push(version(&remote));
            }
        }
    }

    /// Adds the remote groups to `/apis` in the old form.
    pub(crate) fn add_groups(&self, document: &mut Value) {
        let remotes = self.remotes.load();
        let Some(list) =
            document.get_mut("groups").and_then(Value::as_array_mut).filter(|_| !remotes.is_empty())
        else {
            return;
        };
        let new = |group: &str| json!({"name": group, "versions": []});
        Self::merge(&remotes, list, new, |remote| {
            let text = format!("{}/{}", remote.group, remote.version);
            json!({"groupVersion": text, "version": remote.version})
        });
        for group in
            list.iter_mut().filter(|group| remotes.iter().any(|remote| remote.group == name_of(group)))
        {
            let first = group.pointer("/versions/0").cloned().unwrap_or(Value::Null);
            group["preferredVersion"] = first;
        }
    }

    /// Adds the remote groups to `/apis` in the aggregated form.
    pub(crate) fn add_aggregated(&self, document: &mut Value) {
        let remotes = self.remotes.load();
        let Some(list) =
            document.get_mut("items").and_then(Value::as_array_mut).filter(|_| !remotes.is_empty())
        else {
            return;
        };
        let new =
            |group: &str| json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": []});
        Self::merge(&remotes, list, new, Remote::discovery);
    }

    /// `/apis/<group>` of a group that has remote versions; `local` is what this server has of it.
    pub(crate) fn group(&self, group: &str, local: Option<Value>) -> Option<Value> {
        let remotes = self.remotes.load();
        if !remotes.iter().any(|remote| remote.group == group) {
            return local;
        }
        let mut document = json!({"groups": local.into_iter().collect::<Vec<_>>()});
        drop(remotes);
        self.add_groups(&mut document);
        let found = document.get("groups")?.as_array()?.iter().find(|found| name_of(found) == group)?;
        let mut body = Map::new();
        body.insert("kind".to_owned(), json!("APIGroup"));
        body.insert("apiVersion".to_owned(), json!("v1"));
        body.extend(found.as_object()?.clone());
        Some(Value::Object(body))
    }

    /// Adds the paths of remote groups to `/`.
    pub(crate) fn add_paths(&self, paths: &mut Vec<String>) {
        for remote in self.remotes.load().iter() {
            paths.push(format!("/apis/{}", remote.group));
            paths.push(format!("/apis/{}/{}", remote.group, remote.version));
        }
        paths.sort();
        paths.dedup();
    }
}
