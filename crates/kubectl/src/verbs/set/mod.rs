//! `set`: changes single things of objects: images, environment, resources, service accounts, selectors, subjects. One row
//! per thing in [`THINGS`].

mod env;
mod pods;
mod subject;

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, positional, text};
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use client::http::url::Url;
use futures::future::BoxFuture;
use http::Method;
use serde_json::Value;
#[cfg(test)]
use serde_json::json;

pub(crate) const VERB: Verb = Verb {
    name: "set",
    group: Group::Basic,
    about: "Change images, environment, resources and more of objects",
    examples: "kubectl set image deployment/web nginx=nginx:1.27
        kubectl set image deployments --all '*=busybox'
        kubectl set env deployment/web COLOR=blue DEBUG-
        kubectl set env deployment/web --from=configmap/settings
        kubectl set resources deployment web --limits=cpu=1,memory=1Gi
        kubectl set serviceaccount deployment web builder
        kubectl set subject rolebinding readers --user=alice",
    arguments: |command| {
        let mut command = command.subcommand_required(true).arg_required_else_help(true);
        for thing in THINGS {
            let common = Command::new(thing.name)
                .about(thing.about)
                .args(flags::files())
                .arg(flags::selector())
                .args(flags::output())
                .arg(flags::dry_run())
                .arg(flags::field_manager("kubectl-set"))
                .arg(flag("all", "All objects of the type"))
                .arg(flag("local", "Change the manifests and print them; the server is not asked"))
                .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
                .arg(flags::args(thing.words));
            let common = if thing.alias.is_empty() { common } else { common.visible_alias(thing.alias) };
            command = command.subcommand((thing.arguments)(common));
        }
        command
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// One thing that can be changed.
struct Thing {
    name: &'static str,
    alias: &'static str,
    about: &'static str,
    words: &'static str,
    arguments: fn(Command) -> Command,
    /// What is said when it was changed.
    done: &'static str,
    /// Tells arguments that name objects from those that say what to change.
    is_change: fn(&str) -> bool,
    /// How many of the last arguments are no objects.
    last: usize,
    /// Changes the object; answers whether anything is to be sent.
    change: Change,
}

type Change =
    for<'a> fn(&'a Session, &'a ArgMatches, &'a [String], &'a mut Found) -> BoxFuture<'a, Result<bool>>;

const THINGS: &[Thing] =
    &[env::ENV, pods::IMAGE, pods::RESOURCES, subject::SELECTOR, pods::SERVICE_ACCOUNT, subject::SUBJECT];

/// Where an object keeps the spec of its pods.
fn pod_spec(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => &["spec", "template", "spec"],
    }
}

/// The spec of an object's pods.
fn spec_of(object: &mut Found) -> Result<&mut Value> {
    let mut at = &object.value;
    for step in pod_spec(&object.resource.kind) {
        at = &at[*step];
    }
    if !at["containers"].is_array() {
        return fail(format!(
            "{}/{} the object is not a pod or does not have a pod template: *{}.{}",
            object.resource.plural, object.name, object.resource.version, object.resource.kind
        ));
    }
    let mut at = &mut object.value;
    for step in pod_spec(&object.resource.kind) {
        at = &mut at[*step];
    }
    Ok(at)
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let Some(thing) = THINGS.iter().find(|thing| thing.name == name) else { return Ok(()) };
    let mut args = positional(matches);
    let last = args.split_off(args.len().saturating_sub(thing.last));
    let (mut changes, objects): (Vec<String>, Vec<String>) =
        args.into_iter().partition(|arg| (thing.is_change)(arg));
    changes.extend(last);
    let files = select::from_files(matches);
    if objects.is_empty() && !files {
        return fail(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   \
             '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        );
    }
    if name == "env" {
        // A minus sign alone stands for variables from standard input.
        changes = env::with_input(session, changes).await?;
    }
    let report = Report::of(matches)?;
    let local = is_set(matches, "local");
    let found = match local {
        true if !files => return fail("--local requires -f or -k"),
        true => select::local(session, matches).await?,
        false => select::live(session, matches, &objects).await?,
    };
    let mut errors = Vec::new();
    for mut object in found {
        let before = object.value.clone();
        let changed = (thing.change)(session, matches, &changes, &mut object).await;
        let sends = match changed {
            Ok(sends) => sends,
            Err(error) => {
                errors.push(error);
                // What was found of several changes is made all the same.
                object.value != before
            }
        };
        if !sends {
            continue;
        }
        errors.extend(send(session, matches, &report, &object, &before, thing, local).await.err());
    }
    Error::all(errors)
}

async fn send(
    session: &Session,
    matches: &ArgMatches,
    report: &Report,
    object: &Found,
    before: &Value,
    thing: &Thing,
    local: bool,
) -> Result<()> {
    if local || report.dry_run.is_client() {
        return report.tell(session, &object.display(), thing.done, &object.value);
    }
    // A change that changes nothing is not told, as upstream.
    if object.value == *before && !report.prints_objects() {
        return Ok(());
    }
    let (patch, content_type) = super::edit::difference(&object.resource.gvk(), before, &object.value)?;
    let url = Url::new(object.path()).with("fieldManager", text(matches, "field-manager"));
    let url = report.dry_run.url(url).into_string();
    let sent = session.rest().await?.send(Method::PATCH, &url, content_type, &patch).await;
    let value = sent.map_err(|error| match (error.status(), thing.name) {
        (Some(status), "env" | "image" | "resources") if !error.is_local() => {
            let what = if thing.name == "resources" { "limit" } else { thing.name };
            crate::error::message(format!(
                "failed to patch {what} update to pod template: {}",
                status.message
            ))
        }
        _ => error,
    })?;
    report.tell(session, &object.display(), thing.done, &value)
}

/// The containers that a pattern such as `a` or `*` selects, by list and place.
fn matching(spec: &Value, lists: &[&'static str], pattern: &str) -> Vec<(&'static str, usize)> {
    let mut out = Vec::new();
    for list in lists {
        for (at, container) in spec[*list].as_array().into_iter().flatten().enumerate() {
            if container["name"].as_str().is_some_and(|name| glob(pattern, name)) {
                out.push((*list, at));
            }
        }
    }
    out
}

/// Matches a pattern in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| glob(tail, &rest[at..]))
}

/// An object with only what is needed for tests of changes.
#[cfg(test)]
fn deployment() -> Found {
    let resource = crate::discovery::Resource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        plural: "deployments".to_owned(),
        kind: "Deployment".to_owned(),
        ..Default::default()
    };
    Found {
        resource: std::sync::Arc::new(resource),
        namespace: None,
        name: "web".to_owned(),
        value: json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "a"}, {"name": "side", "image": "b"}]}}}}),
        source: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(glob("*", "web") && glob("w*b", "web") && glob("web", "web") && glob("*e*", "web"));
        assert!(!glob("w", "web") && !glob("*x", "web"));
        let mut object = deployment();
        let spec = spec_of(&mut object).unwrap();
        assert_eq!(matching(spec, &["containers"], "s*"), [("containers", 1)]);
    }
}
