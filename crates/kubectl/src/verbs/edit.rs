//! `edit`: opens an object in an editor and sends what was changed.

use super::common::validation;
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, is_set, text, value};
use crate::print::{to_yaml, without_managed_fields};
use crate::select::{self, Found};
use crate::session::Session;
use api::schema::BuiltIn;
use clap::ArgMatches;
use client::http::url::Url;
use futures::future::BoxFuture;
use http::Method;
use machinery::codec;
use machinery::patch::{diff, merge};
use serde_json::Value;
use std::io::Write;

pub(crate) const VERB: Verb = Verb {
    name: "edit",
    group: Group::Basic,
    about: "Edit an object in an editor",
    examples: "kubectl edit deployment/web
        KUBE_EDITOR=nano kubectl edit service web",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-edit"))
            .arg(value("output", "FORMAT", "yaml or json").short('o'))
            .arg(value("subresource", "NAME", "Edit this subresource, such as status"))
            .arg(flag("show-managed-fields", "Show who owns which fields"))
            .arg(flags::args("TYPE NAME | TYPE/NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

const HEADER: &str = "# Edit the object below. Lines that begin with a '#' are ignored, and an empty file\n# ends the edit. If the API server refuses the change, this file is opened again with\n# what was wrong.\n#\n";

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let found = select::live_of(session, matches).await?;
    let mut errors = Vec::new();
    for object in found {
        errors.extend(edit(session, matches, object).await.err());
    }
    Error::all(errors)
}

async fn edit(session: &Session, matches: &ArgMatches, object: Found) -> Result<()> {
    let mut shown = object.value.clone();
    if !is_set(matches, "show-managed-fields") {
        without_managed_fields(&mut shown);
    }
    let json = text(matches, "output") == Some("json");
    let (object, shown) = (&object, &shown);
    let take = |after: Value| -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { send(session, matches, object, shown, &after).await })
    };
    match edit_text(session, shown, json, take).await? {
        Edited::Done => session.line(format!("{} edited", object.display())),
        Edited::Cancelled => Ok(()),
    }
}

/// How an edit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    /// What was saved was taken.
    Done,
    /// Nothing was changed; that was said.
    Cancelled,
}

/// Opens a tree in the user's editor until `take` takes what was saved, or nothing is changed any more.
pub(crate) async fn edit_text<'e>(
    session: &Session,
    shown: &Value,
    json: bool,
    take: impl Fn(Value) -> BoxFuture<'e, Result<()>> + Send,
) -> Result<Edited> {
    let mut content = if json { crate::print::to_json(shown) } else { to_yaml(shown)? };
    let mut complaint = String::new();
    loop {
        let before = format!("{}{complaint}{content}", if json { "" } else { HEADER });
        let after = in_editor(&before, json).await?;
        if after == before {
            let why = if complaint.is_empty() {
                "Edit cancelled, no changes made."
            } else {
                "Edit cancelled, no valid changes were saved."
            };
            session.streams.warn(why);
            return if complaint.is_empty() { Ok(Edited::Cancelled) } else { Err(Error::Exit(1)) };
        }
        let kept: String =
            after.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        if kept.trim().is_empty() {
            session.streams.warn("Edit cancelled, saved file was empty.");
            return Ok(Edited::Cancelled);
        }
        let outcome = match codec::yaml::decode(kept.as_bytes()) {
            Ok(decoded) if decoded.value == *shown => {
                session.streams.warn("Edit cancelled, no changes made.");
                return Ok(Edited::Cancelled);
            }
            Ok(decoded) => take(decoded.value).await,
            Err(error) => Err(message(format!("The edited file had a syntax error: {error}"))),
        };
        match outcome {
            Ok(()) => return Ok(Edited::Done),
            Err(error) => {
                let lines: String = error.text().lines().map(|line| format!("# {line}\n")).collect();
                complaint = format!("{lines}#\n");
                content = kept;
            }
        }
    }
}

async fn send(
    session: &Session,
    matches: &ArgMatches,
    object: &Found,
    before: &Value,
    after: &Value,
) -> Result<()> {
    let same = |field: &str| before["metadata"][field] == after["metadata"][field];
    if before["kind"] != after["kind"]
        || before["apiVersion"] != after["apiVersion"]
        || !same("name")
        || !same("namespace")
    {
        return fail("At least one of apiVersion, kind and name was changed");
    }
    let (patch, content_type) = difference(&object.resource.gvk(), before, after)?;
    let mut path = object.path();
    if let Some(subresource) = text(matches, "subresource") {
        path = format!("{path}/{subresource}");
    }
    let url = Url::new(path)
        .with("fieldManager", text(matches, "field-manager"))
        .with("fieldValidation", Some(validation(matches)?))
        .into_string();
    session.rest().await?.send(Method::PATCH, &url, content_type, &patch).await.map(|_| ())
}

/// What makes one object of another, as a patch and its media type.
pub(crate) fn difference(
    gvk: &machinery::GroupVersionKind,
    before: &Value,
    after: &Value,
) -> Result<(Value, &'static str)> {
    Ok(match BuiltIn.root(gvk) {
        Some(ty) => {
            let patch = diff::two_way(before, after, &BuiltIn, ty);
            let patch = patch.map_err(|error| message(error.to_string()))?;
            (patch, "application/strategic-merge-patch+json")
        }
        None => (merge::diff(before, after), "application/merge-patch+json"),
    })
}

/// Opens a text in the user's editor and answers what was saved.
async fn in_editor(content: &str, json: bool) -> Result<String> {
    let suffix = if json { ".json" } else { ".yaml" };
    let mut file = tempfile::Builder::new().prefix("kubectl-edit-").suffix(suffix).tempfile()?;
    file.write_all(content.as_bytes())?;
    file.flush()?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let editor = variable("KUBE_EDITOR").or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    // Editors come with arguments; the shell takes them apart.
    let status = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(file.path())
        .status()
        .await
        .map_err(|error| {
            message(format!("unable to launch the editor {editor:?}: {error}; set KUBE_EDITOR"))
        })?;
    if !status.success() {
        return fail(format!("there was a problem with the editor {editor:?}: it ended with {status}"));
    }
    Ok(tokio::fs::read_to_string(file.path()).await?)
}
