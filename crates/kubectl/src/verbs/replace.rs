//! `replace`: puts manifests in the place of objects, whole; with `--force` by deleting and creating.

use super::common::{DryRun, Report, validation};
use super::{Group, Verb, delete};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, int, is_set, number, optional, text, value, words};
use crate::rest::JSON;
use crate::select::{self, Found};
use crate::session::{Session, duration};
use clap::ArgMatches;
use client::http::url::Url;
use http::Method;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "replace",
    group: Group::Advanced,
    about: "Replace objects by what manifests say",
    examples: "kubectl replace -f web.yaml
        kubectl get pod web -o yaml | sed 's/old/new/' | kubectl replace -f -
        kubectl replace --force -f web.yaml",
    arguments: |command| {
        command
            .args(flags::files())
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-replace"))
            .arg(flag("save-config", "Keep the manifest in the object, for a later apply"))
            .arg(flag("force", "Delete and create again"))
            .arg(flag("wait", "With --force: accepted; the deletion is always waited for").hide(true))
            .arg(number(
                "grace-period",
                "-1",
                "With --force: seconds for an orderly end; -1 for the object's own",
            ))
            .arg(optional(
                "cascade",
                "background",
                "background",
                "With --force: background, foreground or orphan",
            ))
            .arg(flags::timeout("0s", "With --force: give up waiting after this time; 0 for never"))
            .arg(value("subresource", "NAME", "Replace this subresource, such as status or scale"))
            .arg(value("raw", "PATH", "PUT the file to this path"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let files = words(matches, "filename");
    if let Some(path) = text(matches, "raw") {
        return raw(session, path, &files).await;
    }
    if files.is_empty() && text(matches, "kustomize").is_none() {
        return fail("must specify one of -f and -k");
    }
    let report = Report::of(matches)?;
    let force = is_set(matches, "force");
    if force && report.dry_run != DryRun::None {
        return fail("--dry-run can not be used when --force is set");
    }
    if int(matches, "grace-period") >= 0 && !force {
        return fail("--grace-period must have --force specified");
    }
    let found = select::manifests(session, matches).await?;
    if found.is_empty() {
        return fail("no objects passed to replace");
    }
    if force {
        for file in &found {
            remove(session, matches, file).await?;
        }
    }
    let mut errors = Vec::new();
    for file in found {
        let done = if force {
            create(session, matches, &report, &file).await
        } else {
            replace(session, matches, &report, &file).await
        };
        errors.extend(done.err());
    }
    Error::all(errors)
}

async fn raw(session: &Session, path: &str, files: &[String]) -> Result<()> {
    let bytes = match files {
        [file] if file == "-" => session.streams.read_all().await?,
        [file] => tokio::fs::read(file).await?.into(),
        _ => return fail("--raw can only use a single local file or stdin"),
    };
    let value: Value = serde_json::from_slice(&bytes)?;
    let answer = session.rest().await?.send(Method::PUT, path, JSON, &value).await?;
    session.line(answer.to_string())
}

fn body(matches: &ArgMatches, file: &Found) -> Value {
    if is_set(matches, "save-config") { super::apply::annotated(&file.value) } else { file.value.clone() }
}

async fn replace(session: &Session, matches: &ArgMatches, report: &Report, file: &Found) -> Result<()> {
    let mut value = body(matches, file);
    if !report.dry_run.is_client() {
        let rest = session.rest().await?;
        let mut path = file.path();
        if let Some(subresource) = text(matches, "subresource") {
            path = format!("{path}/{subresource}");
        }
        if value["metadata"]["resourceVersion"].is_null() {
            // A manifest that names no version replaces whatever is there.
            let live = rest.get(&path).await.map_err(|error| error.during("replacing", &file.source))?;
            value["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        let url = Url::new(path)
            .with("fieldManager", text(matches, "field-manager"))
            .with("fieldValidation", Some(validation(matches)?));
        let url = report.dry_run.url(url).into_string();
        let sent = rest.send(Method::PUT, &url, JSON, &value).await;
        value = sent.map_err(|error| error.during("replacing", &file.source))?;
    }
    report.tell(session, &file.display(), "replaced", &value)
}

/// Deletes what is there and waits until it is gone.
async fn remove(session: &Session, matches: &ArgMatches, file: &Found) -> Result<()> {
    let policy = match text(matches, "cascade").unwrap_or("background") {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return fail(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            ));
        }
    };
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
    let grace = int(matches, "grace-period");
    if grace >= 0 {
        options["gracePeriodSeconds"] = grace.into();
    }
    match session.rest().await?.send(Method::DELETE, &file.path(), JSON, &options).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.during("deleting", &file.source)),
    }
    session.line(format!("{} {:?} deleted", file.resource.full_kind(), file.name))?;
    let limit = duration(text(matches, "timeout").unwrap_or("0s"))?;
    delete::wait_gone(session, file, None, (!limit.is_zero()).then_some(limit)).await
}

async fn create(session: &Session, matches: &ArgMatches, report: &Report, file: &Found) -> Result<()> {
    let mut value = body(matches, file);
    if let Some(metadata) = value["metadata"].as_object_mut() {
        // These belonged to the object that is gone.
        metadata.remove("resourceVersion");
        metadata.remove("uid");
    }
    let url = Url::new(file.resource.path(file.namespace.as_deref(), None))
        .with("fieldManager", text(matches, "field-manager"))
        .with("fieldValidation", Some(validation(matches)?))
        .into_string();
    let sent = session.rest().await?.send(Method::POST, &url, JSON, &value).await;
    let made = sent.map_err(|error| error.during("creating", &file.source))?;
    if made["metadata"]["name"].is_null() {
        return Err(message("failed to create: the server's answer has no name; try again"));
    }
    report.tell(session, &file.display(), "replaced", &made)
}
