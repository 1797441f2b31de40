//! `set selector` of services, and `set subject` of role bindings.

use super::Thing;
use crate::error::{Result, fail};
use crate::flags::{list, value, words};
use crate::select::Found;
use clap::ArgMatches;
use serde_json::{Map, Value, json};

pub(super) const SELECTOR: Thing = Thing {
    name: "selector",
    alias: "",
    about: "Change which pods a service selects",
    words: "TYPE NAME | TYPE/NAME  LABELS",
    arguments: |command| {
        command.arg(value("resource-version", "VERSION", "Only if the object has this version"))
    },
    done: "selector updated",
    is_change: |_| false,
    last: 1,
    change: |_, _, changes, object| Box::pin(async move { selector(changes, object) }),
};

pub(super) const SUBJECT: Thing = Thing {
    name: "subject",
    alias: "",
    about: "Add subjects to role bindings",
    words: "TYPE NAME | TYPE/NAME",
    arguments: |command| {
        command
            .arg(list("user", "NAME", "A user; may be repeated"))
            .arg(list("group", "NAME", "A group; may be repeated"))
            .arg(list("serviceaccount", "NAMESPACE:NAME", "A service account; may be repeated"))
    },
    done: "subjects updated",
    is_change: |_| false,
    last: 0,
    change: |_, matches, _, object| Box::pin(async move { subjects(matches, object) }),
};

fn selector(changes: &[String], object: &mut Found) -> Result<bool> {
    if object.resource.kind != "Service" || !object.resource.group.is_empty() {
        return fail("setting a selector is only supported for Services");
    }
    let mut labels = Map::new();
    for pair in changes.iter().flat_map(|all| all.split(',')).filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.ends_with('!')) else {
            return fail(format!("invalid selector {pair:?}: write KEY=VALUE,KEY=VALUE"));
        };
        labels.insert(key.trim().to_owned(), value.trim_start_matches('=').trim().into());
    }
    object.value["spec"]["selector"] = Value::Object(labels);
    Ok(true)
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn subjects(matches: &ArgMatches, object: &mut Found) -> Result<bool> {
    let mut new = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        let named = words(matches, flag);
        new.extend(named.iter().map(|name| json!({"apiGroup": GROUP, "kind": kind, "name": name})));
    }
    for account in words(matches, "serviceaccount") {
        let Some((namespace, name)) = account.split_once(':').filter(|(a, b)| !a.is_empty() && !b.is_empty())
        else {
            return fail("serviceaccount must be <namespace>:<name>");
        };
        new.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    if new.is_empty() {
        return fail("you must specify at least one value of user, group or serviceaccount");
    }
    if !["RoleBinding", "ClusterRoleBinding"].contains(&object.resource.kind.as_str()) {
        return fail(format!(
            "{}/{} setting subjects is only supported for RoleBinding/ClusterRoleBinding",
            object.resource.plural, object.name
        ));
    }
    let mut all = object.value["subjects"].as_array().cloned().unwrap_or_default();
    for subject in new {
        let same = |other: &Value| {
            ["kind", "name", "namespace"].iter().all(|field| other[*field] == subject[*field])
        };
        if !all.iter().any(same) {
            all.push(subject);
        }
    }
    let changed = object.value["subjects"].as_array() != Some(&all);
    object.value["subjects"] = all.into();
    Ok(changed)
}
