//! `create role`, `rolebinding`, `clusterrole`, `clusterrolebinding`.

use super::{Build, Kind, name};
use crate::discovery::Discovery;
use crate::error::{Result, fail};
use crate::flags::{self, list, split, text, value, words};
use crate::session::Session;
use clap::ArgMatches;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) const ROLE: Kind = Kind {
    name: "role",
    alias: "",
    about: "Create a role",
    arguments: |command| rule_flags(command).arg(flags::args("NAME")),
    build: Build::Look(|session, matches| Box::pin(role(session, matches, "Role"))),
    below: &[],
};

pub(super) const CLUSTER_ROLE: Kind = Kind {
    name: "clusterrole",
    alias: "",
    about: "Create a cluster role",
    arguments: |command| {
        rule_flags(command)
            .arg(list("non-resource-url", "PATH", "Paths that are no resources"))
            .arg(list("aggregation-rule", "KEY=VALUE", "Labels of the roles to gather"))
            .arg(flags::args("NAME"))
    },
    build: Build::Look(|session, matches| Box::pin(role(session, matches, "ClusterRole"))),
    below: &[],
};

pub(super) const ROLE_BINDING: Kind = Kind {
    name: "rolebinding",
    alias: "",
    about: "Bind a role in a namespace",
    arguments: |command| {
        subject_flags(command).arg(value("role", "NAME", "The role")).arg(flags::args("NAME"))
    },
    build: Build::Look(|session, matches| Box::pin(binding(session, matches, "RoleBinding"))),
    below: &[],
};

pub(super) const CLUSTER_ROLE_BINDING: Kind = Kind {
    name: "clusterrolebinding",
    alias: "",
    about: "Bind a cluster role everywhere",
    arguments: |command| subject_flags(command).arg(flags::args("NAME")),
    build: Build::Look(|session, matches| Box::pin(binding(session, matches, "ClusterRoleBinding"))),
    below: &[],
};

fn rule_flags(command: clap::Command) -> clap::Command {
    command
        .arg(list("verb", "VERB", "What may be done; comma-separated or repeated"))
        .arg(list("resource", "TYPE[.GROUP][/SUB]", "With what; comma-separated or repeated"))
        .arg(list("resource-name", "NAME", "With which objects only"))
}

fn subject_flags(command: clap::Command) -> clap::Command {
    command
        .arg(value("clusterrole", "NAME", "The cluster role"))
        .arg(list("user", "NAME", "A user; may be repeated"))
        .arg(list("group", "NAME", "A group; may be repeated"))
        .arg(list("serviceaccount", "NAMESPACE:NAME", "A service account; may be repeated"))
}

/// Group and plural of a resource, with its subresource.
fn resource(discovery: &Discovery, text: &str) -> Result<(String, String)> {
    let (name, sub) = text.split_once('/').map_or((text, None), |(name, sub)| (name, Some(sub)));
    if name == "*" {
        return Ok((String::new(), "*".to_owned()));
    }
    let found = discovery.find(name)?;
    let plural = sub.map_or_else(|| found.plural.clone(), |sub| format!("{}/{sub}", found.plural));
    Ok((found.group.clone(), plural))
}

async fn role(session: &Session, matches: &ArgMatches, kind: &str) -> Result<Value> {
    let metadata = json!({"name": name(matches)?});
    let head = |rules: Value| json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata, "rules": rules});
    let gathered = split(matches, "aggregation-rule");
    if !gathered.is_empty() {
        let labels: serde_json::Map<String, Value> = gathered
            .iter()
            .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.into())))
            .collect();
        let mut role = head(Value::Null);
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        return Ok(role);
    }
    let verbs = split(matches, "verb");
    if verbs.is_empty() {
        return fail("at least one verb must be specified");
    }
    let urls = split(matches, "non-resource-url");
    let resources = split(matches, "resource");
    if resources.is_empty() && urls.is_empty() {
        return fail("at least one resource must be specified");
    }
    let discovery = session.discovery().await?;
    let mut rules: Vec<Value> = Vec::new();
    for text in resources {
        let (group, plural) = resource(discovery, &text)?;
        let known = rules.iter_mut().find(|rule| rule["apiGroups"] == json!([group]));
        match known.and_then(|rule| rule["resources"].as_array_mut()) {
            Some(list) => list.push(plural.into()),
            None => rules.push(json!({"apiGroups": [group], "resources": [plural], "verbs": verbs})),
        }
    }
    let names = split(matches, "resource-name");
    if !names.is_empty() {
        rules.iter_mut().for_each(|rule| rule["resourceNames"] = json!(names));
    }
    if !urls.is_empty() {
        rules.push(json!({"nonResourceURLs": urls, "verbs": verbs}));
    }
    Ok(head(rules.into()))
}

async fn binding(session: &Session, matches: &ArgMatches, kind: &str) -> Result<Value> {
    let (role_kind, role) = match (text(matches, "clusterrole"), text(matches, "role")) {
        (Some(role), None) => ("ClusterRole", role),
        (None, Some(role)) => ("Role", role),
        _ if kind == "ClusterRoleBinding" => return fail("clusterrole must be specified"),
        _ => return fail("exactly one of clusterrole or role must be specified"),
    };
    let mut subjects = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        let named = words(matches, flag);
        subjects.extend(named.iter().map(|name| json!({"apiGroup": GROUP, "kind": kind, "name": name})));
    }
    for account in words(matches, "serviceaccount") {
        let Some((namespace, name)) = account.split_once(':').filter(|(a, b)| !a.is_empty() && !b.is_empty())
        else {
            return fail("serviceaccount must be <namespace>:<name>");
        };
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    }
    let mut metadata = json!({"name": name(matches)?});
    if kind == "RoleBinding" {
        metadata["namespace"] = session.namespace().await?.into();
    }
    Ok(json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role}, "subjects": subjects,
    }))
}
