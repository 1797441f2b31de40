//! `cordon`, `uncordon`, `drain`: take nodes out of service and back.

use super::common::DryRun;
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, int, is_set, number, positional, text, value};
use crate::rest::JSON;
use crate::select::{self, Found, Selectors, Target};
use crate::session::{Session, duration};
use clap::{ArgMatches, Command};
use client::http::url::Url;
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const CORDON: Verb = Verb {
    name: "cordon",
    group: Group::Cluster,
    about: "Place no more pods on a node",
    examples: "kubectl cordon n1",
    arguments,
    run: |session, matches| Box::pin(cordon(session, matches, true)),
};

pub(crate) const UNCORDON: Verb = Verb {
    name: "uncordon",
    group: Group::Cluster,
    about: "Place pods on a node again",
    examples: "kubectl uncordon n1",
    arguments,
    run: |session, matches| Box::pin(cordon(session, matches, false)),
};

pub(crate) const DRAIN: Verb = Verb {
    name: "drain",
    group: Group::Cluster,
    about: "Move the pods of a node elsewhere, for maintenance",
    examples: "kubectl drain n1 --ignore-daemonsets
        kubectl drain n1 --ignore-daemonsets --delete-emptydir-data --grace-period=60",
    arguments: |command| {
        arguments(command)
            .arg(flag("ignore-daemonsets", "Leave pods of daemon sets"))
            .arg(flag("delete-emptydir-data", "Move also pods that would lose local data"))
            .arg(flag("delete-local-data", "The old name of --delete-emptydir-data").hide(true))
            .arg(flag("force", "Delete also pods that nothing will make again"))
            .arg(flag("disable-eviction", "Delete instead of evicting; ignores disruption budgets"))
            .arg(number("grace-period", "-1", "Seconds for an orderly end; -1 for the pod's own"))
            .arg(value("pod-selector", "LABELS", "Only these pods"))
            .arg(value("chunk-size", "N", "Accepted").hide(true))
            .arg(number(
                "skip-wait-for-delete-timeout",
                "0",
                "Do not wait for pods that have been ending for so many seconds",
            ))
            .arg(flags::timeout("0s", "Give up after this time; 0 for never"))
    },
    run: |session, matches| Box::pin(drain(session, matches)),
};

fn arguments(command: Command) -> Command {
    command.arg(flags::selector()).arg(flags::dry_run()).arg(flags::args("NODE"))
}

async fn nodes(session: &Session, matches: &ArgMatches) -> Result<Vec<Found>> {
    let mut args = positional(matches);
    if args.is_empty() && text(matches, "selector").is_none() {
        return fail("one or more nodes must be specified as <node> or with --selector <selector>");
    }
    args.retain(|arg| arg != "nodes" && arg != "node");
    let names: Vec<String> = args.iter().map(|arg| arg.trim_start_matches("node/").to_owned()).collect();
    let mut line = vec!["nodes".to_owned()];
    line.extend(names);
    let targets = select::resolve(session, &line, false).await?;
    let (found, errors) = select::read(session.rest().await?, &targets, &Selectors::of(matches)).await?;
    Error::all(errors)?;
    Ok(found)
}

async fn cordon(session: &Session, matches: &ArgMatches, on: bool) -> Result<()> {
    let dry_run = DryRun::of(matches)?;
    for node in nodes(session, matches).await? {
        set(session, &node, on, dry_run).await?;
    }
    Ok(())
}

async fn set(session: &Session, node: &Found, on: bool, dry_run: DryRun) -> Result<()> {
    let word = if on { "cordoned" } else { "uncordoned" };
    if (node.value["spec"]["unschedulable"] == true) == on {
        return session.line(format!("node/{} already {word}{}", node.name, dry_run.suffix()));
    }
    if !dry_run.is_client() {
        let value = if on { json!(true) } else { Value::Null };
        let url = dry_run.url(Url::new(node.path())).into_string();
        let body = json!({"spec": {"unschedulable": value}});
        session.rest().await?.send(Method::PATCH, &url, "application/merge-patch+json", &body).await?;
    }
    session.line(format!("node/{} {word}{}", node.name, dry_run.suffix()))
}

async fn drain(session: &Session, matches: &ArgMatches) -> Result<()> {
    let dry_run = DryRun::of(matches)?;
    let limit = duration(text(matches, "timeout").unwrap_or("0s"))?;
    let nodes = nodes(session, matches).await?;
    for node in &nodes {
        set(session, node, true, dry_run).await?;
    }
    let mut errors = Vec::new();
    for node in &nodes {
        let work = drain_one(session, matches, node, dry_run);
        let done = if limit.is_zero() {
            work.await
        } else {
            tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err(message(format!(
                    "error when draining node {:?}: global timeout reached: {limit:?}",
                    node.name
                )))
            })
        };
        match done {
            Ok(()) => session.line(format!("node/{} drained{}", node.name, dry_run.suffix()))?,
            Err(error) => {
                session.streams.warn(&format!("There are pending nodes to be drained:\n {}", node.name));
                errors.push(error);
            }
        }
    }
    Error::all(errors)
}

/// What speaks against moving a pod, or that it is left.
enum Verdict {
    Move,
    Leave(&'static str),
    Refuse(&'static str),
}

fn verdict(matches: &ArgMatches, pod: &Value) -> Verdict {
    let (meta, spec) = (&pod["metadata"], &pod["spec"]);
    let ended = pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    if meta["annotations"]["kubernetes.io/config.mirror"].is_string() {
        return Verdict::Leave("");
    }
    let mut owners = meta["ownerReferences"].as_array().into_iter().flatten();
    let owner = owners.find(|owner| owner["controller"] == true);
    if owner.is_some_and(|owner| owner["kind"] == "DaemonSet") && !ended {
        if is_set(matches, "ignore-daemonsets") {
            return Verdict::Leave("ignoring DaemonSet-managed Pods");
        }
        return Verdict::Refuse("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)");
    }
    if ended {
        return Verdict::Move;
    }
    if owner.is_none() && !is_set(matches, "force") {
        return Verdict::Refuse("cannot delete Pods that declare no controller (use --force to override)");
    }
    let local = spec["volumes"].as_array().into_iter().flatten().any(|volume| volume["emptyDir"].is_object());
    if local && !is_set(matches, "delete-emptydir-data") && !is_set(matches, "delete-local-data") {
        return Verdict::Refuse(
            "cannot delete Pods with local storage (use --delete-emptydir-data to override)",
        );
    }
    Verdict::Move
}

async fn drain_one(session: &Session, matches: &ArgMatches, node: &Found, dry_run: DryRun) -> Result<()> {
    let resource = session.discovery().await?.find("pods")?;
    let target = Target { resource, namespace: None, name: None };
    let selectors = Selectors {
        labels: text(matches, "pod-selector").map(str::to_owned),
        fields: Some(format!("spec.nodeName={}", node.name)),
    };
    let (pods, errors) = select::read(session.rest().await?, &[target], &selectors).await?;
    Error::all(errors)?;
    let (mut moving, mut refused, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for pod in pods {
        let name = format!("{}/{}", pod.namespace.as_deref().unwrap_or_default(), pod.name);
        match verdict(matches, &pod.value) {
            Verdict::Move => moving.push(pod),
            Verdict::Leave("") => {}
            Verdict::Leave(why) => left.push((why, name)),
            Verdict::Refuse(why) => refused.push(format!("{why}: {name}")),
        }
    }
    if !refused.is_empty() {
        return fail(format!(
            "unable to drain node {:?} due to error: [{}], continuing command...",
            node.name,
            refused.join(", ")
        ));
    }
    if let Some((why, _)) = left.first() {
        let names: Vec<&str> = left.iter().map(|(_, name)| name.as_str()).collect();
        session.streams.warn(&format!("Warning: {why}: {}", names.join(", ")));
    }
    let ends = join_all(moving.iter().map(|pod| evict(session, matches, pod, dry_run))).await;
    Error::all(ends.into_iter().filter_map(Result::err).collect())
}

/// Evicts a pod, again while its budget forbids it, and waits until it is gone.
async fn evict(session: &Session, matches: &ArgMatches, pod: &Found, dry_run: DryRun) -> Result<()> {
    let rest = session.rest().await?;
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let deletes = is_set(matches, "disable-eviction");
    let verb = if deletes { "deleting" } else { "evicting" };
    session.line(format!("{verb} pod {namespace}/{}{}", pod.name, dry_run.suffix()))?;
    if dry_run.is_client() {
        return Ok(());
    }
    let mut options = json!({});
    let grace = int(matches, "grace-period");
    if grace >= 0 {
        options["gracePeriodSeconds"] = grace.into();
    }
    if dry_run == DryRun::Server {
        options["dryRun"] = json!(["All"]);
    }
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name, "namespace": namespace},
        "deleteOptions": options,
    });
    loop {
        let sent = if deletes {
            rest.send(Method::DELETE, &pod.path(), JSON, &options).await
        } else {
            rest.send(Method::POST, &format!("{}/eviction", pod.path()), JSON, &eviction).await
        };
        match sent {
            Ok(_) => break,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.status().is_some_and(|status| status.code == 429) => {
                session.streams.warn(&format!(
                    "error when evicting pods/{:?} -n {namespace:?} (will retry after 5s): {}",
                    pod.name,
                    error.status().map(|status| status.message.clone()).unwrap_or_default()
                ));
                // Budgets are counted by a controller; there is no event that says when one has room.
                session.clock.sleep(Duration::from_secs(5)).await;
            }
            Err(error) => {
                return fail(format!("error when evicting pods/{:?} -n {namespace:?}: {error}", pod.name));
            }
        }
    }
    if dry_run == DryRun::None {
        super::delete::wait_gone(session, pod, pod.value["metadata"]["uid"].as_str(), None).await?;
        session.line(format!("pod/{} {}", pod.name, if deletes { "deleted" } else { "evicted" }))?;
    }
    Ok(())
}
