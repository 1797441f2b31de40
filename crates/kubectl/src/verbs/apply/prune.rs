//! `--prune`: deletes what was applied before and is in no manifest any more.

use super::LAST_APPLIED;
use crate::discovery::Resource;
use crate::error::{Result, fail, message};
use crate::flags::{flag, is_set, list, text, words};
use crate::rest::JSON;
use crate::select::{self, Found, Selectors, Target};
use crate::session::Session;
use crate::verbs::common::{DryRun, Report};
use clap::{Arg, ArgMatches};
use http::Method;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kinds that are looked through unless told otherwise, as upstream.
const KINDS: &[(&str, &str)] = &[
    ("v1", "ConfigMap"),
    ("v1", "Endpoints"),
    ("v1", "Namespace"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "PersistentVolume"),
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("networking.k8s.io/v1", "Ingress"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
];

pub(crate) fn flags() -> [Arg; 2] {
    [
        flag("prune", "Delete what was applied before and is in no manifest any more; needs -l or --all"),
        list(
            "prune-allowlist",
            "GROUP/VERSION/KIND",
            "With --prune: look through these kinds only; may be repeated",
        ),
    ]
}

/// What must be given along with `--prune`.
pub(super) fn check(matches: &ArgMatches) -> Result<()> {
    if !is_set(matches, "prune") {
        return Ok(());
    }
    let all = is_set(matches, "all");
    if all && text(matches, "selector").is_some() {
        return fail("cannot set --all and --selector at the same time");
    }
    if !all && text(matches, "selector").is_none() {
        return fail(
            "all resources selected for prune without explicitly passing --all. To prune all resources, pass the --all flag. If you did not mean to prune all resources, specify a label selector",
        );
    }
    Ok(())
}

async fn kinds(session: &Session, matches: &ArgMatches) -> Result<Vec<Arc<Resource>>> {
    let discovery = session.discovery().await?;
    let asked = words(matches, "prune-allowlist");
    if asked.is_empty() {
        // A kind that this server does not have holds nothing to prune.
        return Ok(KINDS
            .iter()
            .filter_map(|(version, kind)| discovery.of_kind(version, kind).ok())
            .collect());
    }
    let mut out = Vec::new();
    for name in asked {
        let parts: Vec<&str> = name.split('/').collect();
        let [group, version, kind] = parts.as_slice() else {
            return fail(format!(
                "invalid GroupVersionKind format: {name}, please follow <group/version/kind>"
            ));
        };
        let version = if *group == "core" { (*version).to_owned() } else { format!("{group}/{version}") };
        out.push(discovery.of_kind(&version, kind)?);
    }
    Ok(out)
}

/// What would be deleted: applied before, selected, and not among the manifests.
pub(crate) async fn candidates(
    session: &Session,
    matches: &ArgMatches,
    files: &[Found],
) -> Result<Vec<Found>> {
    let rest = session.rest().await?;
    let namespaces: BTreeSet<&str> = files.iter().filter_map(|file| file.namespace.as_deref()).collect();
    let selectors = Selectors { labels: text(matches, "selector").map(str::to_owned), fields: None };
    let mut out = Vec::new();
    for resource in kinds(session, matches).await? {
        let places: Vec<Option<String>> = if resource.namespaced {
            namespaces.iter().map(|name| Some((*name).to_owned())).collect()
        } else {
            vec![None]
        };
        for namespace in places {
            let target = Target { resource: resource.clone(), namespace, name: None };
            let (found, errors) = select::read(rest, &[target], &selectors).await?;
            if let Some(error) = errors.into_iter().next() {
                return Err(message(format!("error pruning {}: {error}", resource.full_plural())));
            }
            let known = |live: &Found| {
                files.iter().any(|file| {
                    file.name == live.name
                        && file.namespace == live.namespace
                        && file.resource.kind == live.resource.kind
                        && file.resource.group == live.resource.group
                })
            };
            out.extend(found.into_iter().filter(|live| {
                live.value["metadata"]["annotations"][LAST_APPLIED].is_string() && !known(live)
            }));
        }
    }
    Ok(out)
}

/// Deletes them.
pub(super) async fn run(
    session: &Session,
    matches: &ArgMatches,
    files: &[Found],
    report: &Report,
) -> Result<()> {
    let rest = session.rest().await?;
    let gone = candidates(session, matches, files).await?;
    for object in &gone {
        if report.dry_run != DryRun::Client {
            let mut body =
                json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
            if report.dry_run == DryRun::Server {
                body["dryRun"] = json!(["All"]);
            }
            match rest.send(Method::DELETE, &object.path(), JSON, &body).await {
                Err(error) if error.is_not_found() => continue,
                outcome => outcome?,
            };
        }
        if !report.prints_objects() {
            report.tell(session, &object.display(), "pruned", &object.value)?;
        }
    }
    if is_set(matches, "wait") && report.dry_run == DryRun::None {
        for object in &gone {
            let uid = object.value["metadata"]["uid"].as_str();
            crate::verbs::delete::wait_gone(session, object, uid, None).await?;
        }
    }
    Ok(())
}
