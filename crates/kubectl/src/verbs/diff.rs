//! `diff`: what `apply` would change, shown by a program for differences (`diff -u -N`, or `KUBECTL_EXTERNAL_DIFF`).
//! Ends with 0 for no difference, 1 for some, more for a failure.

use super::apply::Apply;
use super::common::DryRun;
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, is_set, number, text, value, words};
use crate::print::{to_yaml, without_managed_fields};
use crate::select::{self, Found};
use crate::session::Session;
use clap::ArgMatches;
use serde_json::Value;
use std::path::Path;

pub(crate) const VERB: Verb = Verb {
    name: "diff",
    group: Group::Advanced,
    about: "Show what apply would change",
    examples: "kubectl diff -f web.yaml
        cat web.yaml | kubectl diff -f -
        KUBECTL_EXTERNAL_DIFF='diff -u -N --color=always' kubectl diff -f web.yaml",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .arg(value("field-manager", "NAME", "Who would own the fields"))
            .arg(flag("server-side", "As apply --server-side would"))
            .arg(flag("force-conflicts", "With --server-side: take over conflicting fields"))
            .arg(flag("show-managed-fields", "Show who owns which fields"))
            .arg(number("concurrency", "1", "Accepted; objects are looked at one after the other").hide(true))
            .args(super::apply::prune::flags())
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    match compare(session, matches).await {
        // 1 means that there are differences.
        Err(error) if !matches!(error, Error::Exit(_)) => {
            session.streams.warn(&error.text());
            Err(Error::Exit(2))
        }
        outcome => outcome,
    }
}

async fn compare(session: &Session, matches: &ArgMatches) -> Result<()> {
    if words(matches, "filename").is_empty() && text(matches, "kustomize").is_none() {
        return fail("must specify one of -f and -k");
    }
    let server_side = is_set(matches, "server-side");
    if is_set(matches, "force-conflicts") && !server_side {
        return fail("--force-conflicts only works with --server-side");
    }
    let mut found = select::manifests(session, matches).await?;
    super::apply::retain_selected(matches, &mut found)?;
    let default = if server_side { "kubectl" } else { "kubectl-client-side-apply" };
    let rest = session.rest().await?;
    let apply = Apply {
        session,
        rest,
        dry_run: DryRun::Server,
        validation: "Ignore",
        manager: text(matches, "field-manager").unwrap_or(default).to_owned(),
        force: false,
        force_conflicts: is_set(matches, "force-conflicts"),
        overwrite: true,
        annotate: false,
    };
    let before = tempfile::Builder::new().prefix("LIVE-").tempdir()?;
    let after = tempfile::Builder::new().prefix("MERGED-").tempdir()?;
    let keep = is_set(matches, "show-managed-fields");
    for file in &found {
        let live = rest.get_opt(&file.path()).await?;
        let merged =
            if server_side { apply.server_side(file).await? } else { apply.client_side(file).await? };
        write_pair(file, live, Some(merged.0), keep, before.path(), after.path())?;
    }
    if is_set(matches, "prune") {
        for gone in super::apply::prune::candidates(session, matches, &found).await? {
            let live = gone.value.clone();
            write_pair(&gone, Some(live), None, keep, before.path(), after.path())?;
        }
    }
    show(session, before.path(), after.path()).await
}

/// `apps.v1.Deployment.default.web`.
fn file_name(file: &Found) -> String {
    let group =
        if file.resource.group.is_empty() { String::new() } else { format!("{}.", file.resource.group) };
    let (version, kind) = (&file.resource.version, &file.resource.kind);
    let name =
        format!("{group}{version}.{kind}.{}.{}", file.namespace.as_deref().unwrap_or_default(), file.name);
    // Names are path segments already; a manifest's may not be.
    name.replace('/', "_")
}

fn write_pair(
    file: &Found,
    mut live: Option<Value>,
    mut merged: Option<Value>,
    keep: bool,
    before: &Path,
    after: &Path,
) -> Result<()> {
    let is_secret = file.resource.kind == "Secret" && file.resource.group.is_empty();
    if is_secret {
        mask(&mut live, &mut merged);
    }
    let name = file_name(file);
    for (directory, value) in [(before, &mut live), (after, &mut merged)] {
        match value {
            Some(value) => {
                if !keep {
                    without_managed_fields(value);
                }
                std::fs::write(directory.join(&name), to_yaml(value)?)?;
            }
            // Upstream masks the absent side of a secret into a null.
            None if is_secret => std::fs::write(directory.join(&name), "null\n")?,
            None => {}
        }
    }
    Ok(())
}

/// Hides the values of secrets; ones that differ are told apart.
fn mask(before: &mut Option<Value>, after: &mut Option<Value>) {
    let data = |value: &Option<Value>| {
        value.as_ref().and_then(|value| value["data"].as_object().cloned()).unwrap_or_default()
    };
    let (old, new) = (data(before), data(after));
    let hide = |value: &mut Option<Value>, other: &serde_json::Map<String, Value>, word: &str| {
        let Some(map) = value.as_mut().and_then(|value| value["data"].as_object_mut()) else { return };
        for (key, value) in map.iter_mut() {
            let differs = other.get(key).is_some_and(|other| other != value);
            *value = if differs { format!("*** ({word})") } else { "***".to_owned() }.into();
        }
    };
    hide(before, &new, "before");
    hide(after, &old, "after");
}

async fn show(session: &Session, before: &Path, after: &Path) -> Result<()> {
    let wanted = std::env::var("KUBECTL_EXTERNAL_DIFF").ok().filter(|value| !value.trim().is_empty());
    let line = wanted.unwrap_or_else(|| "diff -u -N".to_owned());
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or("diff");
    let run = tokio::process::Command::new(program).args(words).arg(before).arg(after).output().await;
    let done = run.map_err(|error| {
        message(format!(
            "failed to run {program:?}: {error}; install it, or name another in KUBECTL_EXTERNAL_DIFF"
        ))
    })?;
    session.out(&done.stdout)?;
    session.streams.err(&done.stderr);
    match done.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Error::Exit(1)),
        code => Err(Error::Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(2))),
    }
}
