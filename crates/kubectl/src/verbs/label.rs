//! `label` and `annotate`: sets and removes labels and annotations.

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, positional, text, value};
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use client::http::url::Url;
use http::Method;
use serde_json::{Map, Value, json};

pub(crate) const LABEL: Verb = Verb {
    name: "label",
    group: Group::Settings,
    about: "Set and remove labels",
    examples: "kubectl label pod web tier=front
        kubectl label --overwrite pods -l app=web tier=back
        kubectl label node n1 disk-",
    arguments,
    run: |session, matches| Box::pin(run(session, matches, "labels")),
};

pub(crate) const ANNOTATE: Verb = Verb {
    name: "annotate",
    group: Group::Settings,
    about: "Set and remove annotations",
    examples: "kubectl annotate pod web note='checked by hand'
        kubectl annotate deployment/web kubernetes.io/change-cause='new image'
        kubectl annotate pod web note-",
    arguments,
    run: |session, matches| Box::pin(run(session, matches, "annotations")),
};

fn arguments(command: Command) -> Command {
    command
        .args(flags::files())
        .arg(flags::selector())
        .arg(flags::field_selector())
        .arg(flags::all_namespaces())
        .args(flags::output())
        .arg(flags::dry_run())
        .arg(flags::field_manager("kubectl-label"))
        .arg(flag("all", "All objects of the type"))
        .arg(flag("overwrite", "Overwrite what is there"))
        .arg(flag("list", "Show what is set"))
        .arg(flag("local", "Not supported").hide(true))
        .arg(value("resource-version", "VERSION", "Only if the object has this version"))
        .arg(flags::args("TYPE NAME | TYPE/NAME  KEY=VALUE | KEY-"))
}

/// What to set, and what to remove.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    set: Vec<(String, String)>,
    remove: Vec<String>,
}

/// Splits arguments into what names objects and what changes them.
fn changes(args: &[String]) -> Result<(Vec<String>, Changes)> {
    let is_change = |arg: &String| arg.contains('=') || arg.ends_with('-');
    let first = args.iter().position(is_change).unwrap_or(args.len());
    let (objects, rest) = args.split_at(first);
    let mut changes = Changes::default();
    for arg in rest {
        if let Some((key, value)) = arg.split_once('=').filter(|(key, _)| !key.is_empty()) {
            changes.set.push((key.to_owned(), value.to_owned()));
        } else if let Some(key) = arg.strip_suffix('-').filter(|key| !key.is_empty() && !key.contains('=')) {
            changes.remove.push(key.to_owned());
        } else {
            return fail("all resources must be specified before the changes");
        }
    }
    if let Some((key, _)) = changes.set.iter().find(|(key, _)| changes.remove.contains(key)) {
        return fail(format!("can not both modify and remove a value in the same command: {key}"));
    }
    Ok((objects.to_vec(), changes))
}

async fn run(session: &Session, matches: &ArgMatches, field: &str) -> Result<()> {
    let (objects, changes) = changes(&positional(matches))?;
    let listing = is_set(matches, "list");
    if changes.set.is_empty() && changes.remove.is_empty() && !listing {
        return fail(format!("at least one {} update is required", field.trim_end_matches('s')));
    }
    let report = Report::of(matches)?;
    let mut errors = Vec::new();
    for object in select::live(session, matches, &objects).await? {
        if listing {
            show(session, &object, field)?;
            continue;
        }
        match change(session, matches, &report, &object, field, &changes).await {
            Ok(()) => {}
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}

fn show(session: &Session, object: &Found, field: &str) -> Result<()> {
    session.line(format!(
        "Listing {field} for {}.{}/{}:",
        object.resource.kind, object.resource.group, object.name
    ))?;
    let mut entries: Vec<_> = object.value["metadata"][field].as_object().into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        session.line(format!(" {key}={}", value.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

async fn change(
    session: &Session,
    matches: &ArgMatches,
    report: &Report,
    object: &Found,
    field: &str,
    changes: &Changes,
) -> Result<()> {
    let now = &object.value["metadata"][field];
    let singular = field.trim_end_matches('s');
    if !is_set(matches, "overwrite") {
        let taken = changes.set.iter().find(|(key, value)| now[key].as_str().is_some_and(|old| old != value));
        if let Some((key, _)) = taken {
            let old = now[key].as_str().unwrap_or_default();
            return fail(if field == "labels" {
                format!("'{key}' already has a value ({old}), and --overwrite is false")
            } else {
                format!(
                    "--overwrite is false but found the following declared {singular}(s): '{key}' already has a value ({old})"
                )
            });
        }
    }
    let mut patch = Map::new();
    let mut same = true;
    for (key, value) in &changes.set {
        same &= now[key] == value.as_str();
        patch.insert(key.clone(), value.clone().into());
    }
    for key in &changes.remove {
        if now[key].is_null() {
            session.line(format!("{singular} {key:?} not found."))?;
        } else {
            same = false;
            patch.insert(key.clone(), Value::Null);
        }
    }
    let mut body = json!({"metadata": {field: patch}});
    if let Some(version) = text(matches, "resource-version") {
        body["metadata"]["resourceVersion"] = version.into();
    }
    let value = if report.dry_run.is_client() || (same && field == "labels") {
        object.value.clone()
    } else {
        let manager = if field == "labels" { "kubectl-label" } else { "kubectl-annotate" };
        let url =
            report.dry_run.url(Url::new(object.path()).with("fieldManager", Some(manager))).into_string();
        session.rest().await?.send(Method::PATCH, &url, "application/merge-patch+json", &body).await?
    };
    let done = match (field, same) {
        ("labels", true) => "not labeled",
        ("labels", false) if changes.set.is_empty() => "unlabeled",
        ("labels", false) => "labeled",
        _ => "annotated",
    };
    report.tell(session, &object.display(), done, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (objects, all) = changes(&words("pods web a=b c- d=")).unwrap();
        assert_eq!(objects, ["pods", "web"]);
        assert_eq!(all.set, [("a".to_owned(), "b".to_owned()), ("d".to_owned(), String::new())]);
        assert_eq!(all.remove, ["c"]);
        assert!(changes(&words("pods web a=b a-")).is_err());
        assert!(changes(&words("pods a=b web")).is_err());
    }
}
