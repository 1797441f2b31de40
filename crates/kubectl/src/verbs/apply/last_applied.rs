//! `apply view-last-applied`, `set-last-applied`, `edit-last-applied`: the manifest that `apply` keeps in an annotation.

use super::{LAST_APPLIED, annotated};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, text, value};
use crate::print::{to_json, to_yaml};
use crate::select::{self, Found};
use crate::session::Session;
use crate::verbs::common::{DryRun, Report};
use crate::verbs::edit::{Edited, edit_text};
use clap::{ArgMatches, Command};
use client::http::url::Url;
use futures::future::BoxFuture;
use http::Method;
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";

pub(super) fn commands() -> Vec<Command> {
    let selecting =
        |command: Command| command.arg(flags::selector()).arg(flags::args("TYPE NAME | TYPE/NAME"));
    vec![
        selecting(Command::new("view-last-applied").about("Show the manifest that was applied last"))
            .args(flags::files())
            .arg(value("output", "FORMAT", "yaml or json").short('o'))
            .arg(flag("all", "All objects of the type")),
        Command::new("set-last-applied")
            .about("Take manifests for the ones that were applied last, without changing anything else")
            .args(flags::files())
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flag("create-annotation", "Also where nothing was applied before"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields")),
        selecting(Command::new("edit-last-applied").about("Edit the manifest that was applied last"))
            .args(flags::files())
            .arg(value("output", "FORMAT", "yaml or json").short('o'))
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-client-side-apply")),
    ]
}

pub(super) async fn run(session: &Session, verb: &str, matches: &ArgMatches) -> Result<()> {
    match verb {
        "view-last-applied" => view(session, matches).await,
        "set-last-applied" => set(session, matches).await,
        _ => edit(session, matches).await,
    }
}

/// The manifest in the annotation.
fn manifest(found: &Found) -> Result<Value> {
    let Some(manifest) = found.value["metadata"]["annotations"][LAST_APPLIED].as_str() else {
        return fail(format!("no last-applied-configuration annotation found on resource: {}", found.name));
    };
    Ok(serde_json::from_str(manifest)?)
}

/// JSON indented by two, as upstream prints only this.
fn indented(value: &Value) -> String {
    let halved = |line: &str| {
        let margin = line.len() - line.trim_start_matches(' ').len();
        format!("{}\n", &line[margin / 2..])
    };
    to_json(value).lines().map(halved).collect()
}

async fn view(session: &Session, matches: &ArgMatches) -> Result<()> {
    for found in select::live_of(session, matches).await? {
        let manifest = manifest(&found)?;
        match text(matches, "output").unwrap_or("yaml") {
            "json" => session.out(indented(&manifest))?,
            "yaml" => session.out(to_yaml(&manifest)?)?,
            other => {
                return fail(format!(
                    "unexpected -o output mode: {other}, the flag 'output' must be one of yaml|json"
                ));
            }
        }
    }
    Ok(())
}

async fn set(session: &Session, matches: &ArgMatches) -> Result<()> {
    let report = Report::of(matches)?;
    let files = select::manifests(session, matches).await?;
    if files.is_empty() {
        return fail("must specify one of -f and -k");
    }
    let mut errors = Vec::new();
    for file in files {
        errors.extend(set_one(session, matches, &report, &file).await.err());
    }
    Error::all(errors)
}

async fn set_one(session: &Session, matches: &ArgMatches, report: &Report, file: &Found) -> Result<()> {
    let rest = session.rest().await?;
    let live = rest
        .get(&file.path())
        .await
        .map_err(|error| error.during("retrieving current configuration of", &file.source))?;
    let old = &live["metadata"]["annotations"][LAST_APPLIED];
    if old.is_null() && !is_set(matches, "create-annotation") {
        return fail(format!(
            "no last-applied-configuration annotation found on resource: {}, to create the annotation, run the command with \
             --create-annotation",
            file.name
        ));
    }
    let new = annotated(&file.value)["metadata"]["annotations"][LAST_APPLIED].clone();
    if *old == new {
        return report.tell(session, &file.display(), "configured", &live);
    }
    let body = json!({"metadata": {"annotations": {LAST_APPLIED: new}}});
    let value = if report.dry_run == DryRun::Client {
        live
    } else {
        let url = report.dry_run.url(Url::new(file.path())).into_string();
        rest.send(Method::PATCH, &url, MERGE, &body).await?
    };
    report.tell(session, &file.display(), "configured", &value)
}

async fn edit(session: &Session, matches: &ArgMatches) -> Result<()> {
    let json = text(matches, "output") == Some("json");
    let mut errors = Vec::new();
    for found in select::live_of(session, matches).await? {
        let shown = manifest(&found)?;
        let manager = text(matches, "field-manager").unwrap_or_default();
        let found = &found;
        let take = |edited: Value| -> BoxFuture<'_, Result<()>> {
            Box::pin(async move {
                let new = annotated(&edited)["metadata"]["annotations"][LAST_APPLIED].clone();
                let body = json!({"metadata": {"annotations": {LAST_APPLIED: new}}});
                let url = Url::new(found.path()).with("fieldManager", Some(manager)).into_string();
                session.rest().await?.send(Method::PATCH, &url, MERGE, &body).await.map(|_| ())
            })
        };
        let outcome = edit_text(session, &shown, json, take).await;
        match outcome {
            Ok(Edited::Done) => session.line(format!("{} edited", found.display()))?,
            Ok(Edited::Cancelled) => {}
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}
