//! `delete`: removes objects and waits until they are gone.

use super::common::DryRun;
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, given, int, is_set, number, optional, positional, switch, text};
use crate::rest::{JSON, Lines, Rest};
use crate::select::{self, Found, Selectors, Target};
use crate::session::{Session, duration};
use clap::ArgMatches;
use client::http::url::Url;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const VERB: Verb = Verb {
    name: "delete",
    group: Group::Basic,
    about: "Delete objects by file, name, or label",
    examples: "kubectl delete -f web.yaml
        kubectl delete pod web
        kubectl delete deployments,services -l app=web
        kubectl delete pod web --grace-period=0 --force",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .arg(flags::field_selector())
            .arg(flags::all_namespaces())
            .arg(flags::dry_run())
            .args(flags::output())
            .arg(flag("all", "All objects of the type in the namespace"))
            .arg(switch("wait", true, "Wait until the objects are gone"))
            .arg(flag("now", "Tell the object's processes to stop at once (one second of grace)"))
            .arg(flag("force", "Do not wait for the node to confirm; dangerous"))
            .arg(flag("ignore-not-found", "What is not there is no failure"))
            .arg(flag("interactive", "Ask before deleting").short('i'))
            .arg(number(
                "grace-period",
                "-1",
                "Seconds for an orderly end; -1 for the object's own, 0 only with --force",
            ))
            .arg(optional(
                "cascade",
                "background",
                "background",
                "background, foreground or orphan: what happens to dependents",
            ))
            .arg(flags::timeout("0s", "Give up waiting after this time; 0 for the grace period and a margin"))
            .arg(flags::args("TYPE NAME | TYPE/NAME | TYPE"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

struct Options {
    body: Value,
    dry_run: DryRun,
    forced: bool,
    wait: bool,
    timeout: Option<Duration>,
    ignore_missing: bool,
    names_only: bool,
}

fn options(session: &Session, matches: &ArgMatches) -> Result<Options> {
    let mut grace = int(matches, "grace-period");
    let force = is_set(matches, "force");
    if is_set(matches, "now") {
        if grace != -1 {
            return fail("--now and --grace-period cannot be specified together");
        }
        grace = 1;
    }
    if force && grace > 0 {
        return fail("--force and --grace-period greater than 0 cannot be specified together");
    }
    let mut wait = is_set(matches, "wait");
    if grace == 0 && !force {
        // Zero would leave processes behind that nobody knows of; one second is as good as none.
        grace = 1;
        wait = true;
    }
    if force {
        session.streams.warn(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. \
             The resource may continue to run on the cluster indefinitely.",
        );
        grace = 0;
        wait = wait && given(matches, "wait");
    }
    let propagation = match text(matches, "cascade").unwrap_or("background") {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return fail(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            ));
        }
    };
    let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation});
    if grace >= 0 {
        body["gracePeriodSeconds"] = grace.into();
    }
    let dry_run = DryRun::of(matches)?;
    if dry_run == DryRun::Server {
        body["dryRun"] = json!(["All"]);
    }
    let names_only = match text(matches, "output") {
        None => false,
        Some("name") => true,
        Some(other) => return fail(format!("unexpected -o output mode: {other}. We only support '-o name'")),
    };
    let timeout = duration(text(matches, "timeout").unwrap_or("0s"))?;
    Ok(Options {
        body,
        dry_run,
        forced: force,
        wait: wait && dry_run == DryRun::None,
        timeout: (!timeout.is_zero()).then_some(timeout),
        ignore_missing: is_set(matches, "ignore-not-found"),
        names_only,
    })
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    if is_set(matches, "interactive") {
        return fail("--interactive is not supported by this version of Windlass; look with get first");
    }
    let mut options = options(session, matches)?;
    let rest = session.rest().await?;
    let (found, mut errors) = if !select::from_files(matches) {
        let args = positional(matches);
        let selectors = Selectors::of(matches);
        let all = is_set(matches, "all");
        options.ignore_missing |= all || !selectors.is_empty();
        by_arguments(session, rest, matches, &args, &selectors, all).await?
    } else {
        (select::manifests(session, matches).await?, Vec::new())
    };
    errors.retain(|error| !(options.ignore_missing && error.is_not_found()));
    let nothing = found.is_empty() && errors.is_empty();
    let mut pending = Vec::new();
    for object in found {
        match delete(session, rest, &options, &object).await {
            Ok(uid) => pending.push((object, uid)),
            Err(error) if error.is_not_found() && options.ignore_missing => {}
            Err(error) => errors.push(if object.source.is_empty() {
                error
            } else {
                error.during("deleting", &object.source)
            }),
        }
    }
    if nothing && !options.names_only {
        session.line("No resources found")?;
    }
    if options.wait {
        for (object, uid) in &pending {
            wait_gone(session, object, uid.as_deref(), options.timeout).await?;
        }
    }
    Error::all(errors)
}

async fn by_arguments(
    session: &Session,
    rest: &Rest,
    matches: &ArgMatches,
    args: &[String],
    selectors: &Selectors,
    all: bool,
) -> Result<(Vec<Found>, Vec<Error>)> {
    if args.is_empty() {
        return fail(
            "You must provide one or more resources by argument or filename: TYPE NAME, TYPE/NAME, TYPE with -l or --all, or -f FILE",
        );
    }
    if all && !selectors.is_empty() && selectors.labels.is_some() {
        return fail("cannot set --all and --selector at the same time");
    }
    let targets = select::resolve(session, args, is_set(matches, "all-namespaces")).await?;
    if targets.iter().any(|target| target.name.is_none()) && selectors.is_empty() && !all {
        return fail("resource(s) were provided, but no name was specified");
    }
    let (named, collections): (Vec<Target>, Vec<Target>) =
        targets.into_iter().partition(|target| target.name.is_some());
    if !named.is_empty() && !selectors.is_empty() {
        return fail("name cannot be provided when a selector is specified");
    }
    let (mut found, errors) = select::read(rest, &collections, selectors).await?;
    // Names need no look-up: deleting says itself what is not there.
    found.extend(named.into_iter().map(|target| Found {
        name: target.name.unwrap_or_default(),
        namespace: target.namespace,
        resource: target.resource,
        value: Value::Null,
        source: String::new(),
    }));
    Ok((found, errors))
}

/// Deletes one object; answers the UID to wait for.
async fn delete(session: &Session, rest: &Rest, options: &Options, object: &Found) -> Result<Option<String>> {
    let mut uid = object.value["metadata"]["uid"].as_str().map(str::to_owned);
    if options.dry_run.is_client() {
        rest.get(&object.path()).await?;
    } else {
        let answer = rest.send(Method::DELETE, &object.path(), JSON, &options.body).await?;
        let told = answer["details"]["uid"].as_str().or(answer["metadata"]["uid"].as_str());
        uid = told.map(str::to_owned).or(uid);
    }
    if options.names_only {
        session.line(object.display())?;
        return Ok(uid);
    }
    let done = if options.forced { "force deleted" } else { "deleted" };
    let place = object.namespace.as_deref().map(|name| format!(" from {name} namespace")).unwrap_or_default();
    let suffix = options.dry_run.suffix();
    session.line(format!("{} {:?} {done}{place}{suffix}", object.resource.full_kind(), object.name))?;
    Ok(uid)
}

/// Waits until an object is gone, or another has taken its name.
pub(crate) async fn wait_gone(
    session: &Session,
    object: &Found,
    uid: Option<&str>,
    timeout: Option<Duration>,
) -> Result<()> {
    let gone = until_gone(session.rest().await?, object, uid);
    match timeout {
        None => gone.await,
        Some(timeout) => tokio::time::timeout(timeout, gone).await.unwrap_or_else(|_| {
            Err(message(format!(
                "timed out waiting for the condition on {}/{}",
                object.resource.plural, object.name
            )))
        }),
    }
}

async fn until_gone(rest: &Rest, object: &Found, uid: Option<&str>) -> Result<()> {
    loop {
        let Some((version, mut lines)) = watch_of(rest, object, uid).await? else { return Ok(()) };
        tracing::debug!(version, "waiting for the end of {}", object.name);
        loop {
            match lines.event().await {
                Ok(Some((kind, _))) if kind == "DELETED" => return Ok(()),
                Ok(Some((_, now)))
                    if uid.is_some_and(|uid| {
                        now["metadata"]["uid"].as_str().is_some_and(|other| other != uid)
                    }) =>
                {
                    return Ok(());
                }
                Ok(Some(_)) => {}
                // The watch ended or is too old: look again.
                Ok(None) => break,
                Err(error) if error.status().is_some_and(machinery::Status::is_expired) => break,
                Err(error) => return Err(error),
            }
        }
    }
}

/// A watch of one object from its present state, `None` when it is gone.
async fn watch_of(rest: &Rest, object: &Found, uid: Option<&str>) -> Result<Option<(String, Lines)>> {
    let fields = format!("metadata.name={}", object.name);
    let path = object.resource.path(object.namespace.as_deref(), None);
    let list = rest.get(&Url::new(path.clone()).with("fieldSelector", Some(&fields)).into_string()).await?;
    let Some(item) = list["items"].as_array().and_then(|items| items.first()) else { return Ok(None) };
    if uid.is_some_and(|uid| item["metadata"]["uid"].as_str().is_some_and(|other| other != uid)) {
        return Ok(None);
    }
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let url = Url::new(path)
        .with("fieldSelector", Some(&fields))
        .with("watch", Some("true"))
        .with("resourceVersion", Some(&version));
    Ok(Some((version, rest.lines(&url.into_string(), JSON).await?)))
}
