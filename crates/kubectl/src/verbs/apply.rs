//! `apply`: makes objects what manifests say. Client-side with the manifest kept in an annotation and a three-way merge, or
//! server-side (KEP-555).
//!
//! Deliberately absent: pruning and ApplySets (GAPS.md).

use super::common::{DryRun, Report, validation};
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, switch, text, value, words};
use crate::print::{list_of, to_compact_json};
use crate::rest::{JSON, Rest};
use crate::select::{self, Found};
use crate::session::Session;
use api::schema::BuiltIn;
use clap::{ArgMatches, Command};
use client::http::url::Url;
use http::Method;
use machinery::patch::three_way;
use serde_json::{Value, json};

pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How often a conflicting patch is computed anew, as upstream.
const TRIES: usize = 5;

pub(crate) const VERB: Verb = Verb {
    name: "apply",
    group: Group::Advanced,
    about: "Make objects what manifests say",
    examples: "kubectl apply -f web.yaml
        kubectl apply -R -f manifests/
        cat web.yaml | kubectl apply -f -
        kubectl apply --server-side -f web.yaml
        kubectl apply view-last-applied deployment/web",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .arg(flags::output())
            .arg(flags::dry_run())
            .arg(flags::validate())
            .arg(value("field-manager", "NAME", "Who owns the fields that are written"))
            .arg(flag("server-side", "Let the server merge and find conflicts"))
            .arg(flag("force-conflicts", "With --server-side: take over conflicting fields"))
            .arg(flag("force", "Delete and create again what cannot be changed"))
            .arg(switch("overwrite", true, "Overwrite changes made by others to fields in the manifest"))
            .arg(
                switch("openapi-patch", true, "Accepted; built-in types are always merged by their schema")
                    .hide(true),
            )
            .arg(flag("prune", "Not supported"))
            .arg(flag("all", "With --prune").hide(true))
            .arg(flag("wait", "Accepted with --prune").hide(true))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .subcommand(
                Command::new("view-last-applied")
                    .about("Show the manifest that was applied last")
                    .arg(value("output", "FORMAT", "yaml or json").short('o'))
                    .args(flags::files())
                    .arg(flags::selector())
                    .arg(flag("all", "All objects of the type"))
                    .arg(flags::args("TYPE NAME | TYPE/NAME")),
            )
            .args_conflicts_with_subcommands(true)
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    if let Some(("view-last-applied", matches)) = matches.subcommand() {
        return view(session, matches).await;
    }
    if is_set(matches, "prune") {
        return fail(
            "--prune is not supported by this version of Windlass; delete what is gone by name or label",
        );
    }
    if words(matches, "filename").is_empty() && text(matches, "kustomize").is_none() {
        return fail("must specify one of -f and -k");
    }
    let server_side = is_set(matches, "server-side");
    if is_set(matches, "force-conflicts") && !server_side {
        return fail("--force-conflicts only works with --server-side");
    }
    let report = Report::of(matches)?;
    if server_side && report.dry_run.is_client() {
        return fail(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        );
    }
    let labels = text(matches, "selector").map(machinery::labels::Selector::parse).transpose();
    let labels = labels.map_err(crate::error::message)?;
    let mut found = select::manifests(session, matches).await?;
    if let Some(labels) = labels {
        found.retain(|file| selected(&labels, &file.value));
    }
    if found.is_empty() {
        return fail("no objects passed to apply");
    }
    let default = if server_side { "kubectl" } else { "kubectl-client-side-apply" };
    let apply = Apply {
        session,
        rest: session.rest().await?,
        dry_run: report.dry_run,
        validation: validation(matches)?,
        manager: text(matches, "field-manager").unwrap_or(default).to_owned(),
        force: is_set(matches, "force"),
        force_conflicts: is_set(matches, "force-conflicts"),
        overwrite: is_set(matches, "overwrite"),
    };
    let (mut errors, mut objects) = (Vec::new(), Vec::new());
    for file in found {
        let done = if server_side { apply.server_side(&file).await } else { apply.client_side(&file).await };
        match done {
            Ok((value, _)) if report.prints_objects() => objects.push(value),
            Ok((value, done)) => report.tell(session, &file_display(&file, &value), done, &value)?,
            Err(error) => errors.push(error),
        }
    }
    if objects.len() == 1 {
        report.tell(session, "", "", &objects[0])?;
    } else if !objects.is_empty() {
        report.tell(session, "", "", &list_of(objects))?;
    }
    Error::all(errors)
}

fn selected(labels: &machinery::labels::Selector, value: &Value) -> bool {
    let own: std::collections::BTreeMap<String, String> = value["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    labels.matches(&own)
}

/// Names that the server made up are known only from its answer.
fn file_display(file: &Found, value: &Value) -> String {
    let name = value["metadata"]["name"].as_str().unwrap_or(&file.name);
    format!("{}/{name}", file.resource.full_kind())
}

/// The manifest with itself in the annotation, and the annotation's text.
pub(crate) fn annotated(manifest: &Value) -> Value {
    let mut plain = manifest.clone();
    if !plain["metadata"]["annotations"].is_object() {
        plain["metadata"]["annotations"] = json!({});
    }
    if let Some(annotations) = plain["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let text = to_compact_json(&plain);
    plain["metadata"]["annotations"][LAST_APPLIED] = text.into();
    plain
}

struct Apply<'a> {
    session: &'a Session,
    rest: &'a Rest,
    dry_run: DryRun,
    validation: &'static str,
    manager: String,
    force: bool,
    force_conflicts: bool,
    overwrite: bool,
}

impl Apply<'_> {
    fn url(&self, path: String) -> Url {
        let url = Url::new(path)
            .with("fieldManager", Some(&self.manager))
            .with("fieldValidation", Some(self.validation));
        self.dry_run.url(url)
    }

    async fn server_side(&self, file: &Found) -> Result<(Value, &'static str)> {
        if file.name.is_empty() {
            return fail("metadata.name is required for server-side apply; generateName cannot be used");
        }
        let url =
            self.url(file.path()).with("force", Some(if self.force_conflicts { "true" } else { "false" }));
        let sent = self
            .rest
            .send(Method::PATCH, &url.into_string(), "application/apply-patch+yaml", &file.value)
            .await;
        match sent {
            Ok(value) => Ok((value, "serverside-applied")),
            Err(error) if error.is_conflict() => {
                let text = error.status().map(|status| status.message.clone()).unwrap_or_default();
                fail(format!(
                    "{text}\nOther managers own these fields. To take them over, run the command again with \
                     `--force-conflicts`; to leave them to their\nmanagers, take them out of the manifest; to share them, \
                     write the live values into the manifest.\nSee \
                     https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"
                ))
            }
            Err(error) => Err(error.during("applying", &file.source)),
        }
    }

    async fn client_side(&self, file: &Found) -> Result<(Value, &'static str)> {
        let modified = annotated(&file.value);
        if file.name.is_empty() {
            return fail(format!(
                "from {}: cannot use generate name with apply",
                file.value["metadata"]["generateName"].as_str().unwrap_or_default()
            ));
        }
        let live = self.rest.get_opt(&file.path()).await;
        let live = live.map_err(|error| error.during("retrieving current configuration of", &file.source))?;
        let Some(live) = live else { return self.create(file, modified).await };
        if self.dry_run.is_client() {
            return Ok((modified, "configured"));
        }
        if live["metadata"]["annotations"][LAST_APPLIED].is_null() {
            self.session.streams.warn(&format!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. \
                 kubectl apply should only be used on resources created declaratively by either kubectl create \
                 --save-config or kubectl apply. The missing annotation will be patched automatically.",
                file.resource.plural, file.name
            ));
        }
        match self.patch(file, &modified, live).await {
            Err(error) if self.force && cannot_be_changed(&error) => self.replace(file, modified).await,
            Err(error) => Err(error.during("applying patch to", &file.source)),
            done => done,
        }
    }

    async fn create(&self, file: &Found, modified: Value) -> Result<(Value, &'static str)> {
        if self.dry_run.is_client() {
            return Ok((modified, "created"));
        }
        let path = file.resource.path(file.namespace.as_deref(), None);
        let url = self.url(path).into_string();
        let made = self.rest.send(Method::POST, &url, JSON, &modified).await;
        Ok((made.map_err(|error| error.during("creating", &file.source))?, "created"))
    }

    /// Patches the live object; computes the patch anew when someone else was faster.
    async fn patch(&self, file: &Found, modified: &Value, mut live: Value) -> Result<(Value, &'static str)> {
        let mut tries = 0;
        loop {
            let (patch, content_type) = self.difference(file, modified, &live)?;
            if patch.as_object().is_some_and(serde_json::Map::is_empty) {
                return Ok((live, "unchanged"));
            }
            let url = self.url(file.path()).into_string();
            match self.rest.send(Method::PATCH, &url, content_type, &patch).await {
                Err(error) if error.is_conflict() && tries < TRIES => {
                    tries += 1;
                    live = self.rest.get(&file.path()).await?;
                }
                outcome => return Ok((outcome?, "configured")),
            }
        }
    }

    fn difference(&self, file: &Found, modified: &Value, live: &Value) -> Result<(Value, &'static str)> {
        let original = match live["metadata"]["annotations"][LAST_APPLIED].as_str() {
            Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            None => Value::Null,
        };
        let original = if self.overwrite { original } else { json!({}) };
        let empty = json!({});
        let before = if original.is_object() { &original } else { &empty };
        Ok(match BuiltIn.root(&file.resource.gvk()) {
            Some(ty) => {
                let patch = three_way::strategic(before, modified, live, &BuiltIn, ty)
                    .map_err(|error| crate::error::message(format!("creating patch with:\n{error}")))?;
                (patch, "application/strategic-merge-patch+json")
            }
            None => (three_way::json_merge(before, modified, live), "application/merge-patch+json"),
        })
    }

    /// Deletes and creates again.
    async fn replace(&self, file: &Found, modified: Value) -> Result<(Value, &'static str)> {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        self.rest.send(Method::DELETE, &file.path(), JSON, &body).await?;
        super::delete::wait_gone(self.session, file, None, None).await?;
        let (value, _) = self.create(file, modified).await?;
        Ok((value, "configured"))
    }
}

fn cannot_be_changed(error: &Error) -> bool {
    error.is_conflict() || error.status().is_some_and(|status| status.code == 422)
}

async fn view(session: &Session, matches: &ArgMatches) -> Result<()> {
    for found in select::live_of(session, matches).await? {
        let Some(manifest) = found.value["metadata"]["annotations"][LAST_APPLIED].as_str() else {
            return fail(format!(
                "no last-applied-configuration annotation found on resource: {}",
                found.name
            ));
        };
        let manifest: Value = serde_json::from_str(manifest)?;
        match text(matches, "output").unwrap_or("yaml") {
            "json" => session.out(crate::print::to_json(&manifest))?,
            "yaml" => session.out(crate::print::to_yaml(&manifest)?)?,
            other => {
                return fail(format!(
                    "unexpected -o output mode: {other}, the flag 'output' must be one of yaml|json"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_is_upstreams_byte_for_byte() {
        let manifest =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "<"}});
        assert_eq!(
            annotated(&manifest)["metadata"]["annotations"][LAST_APPLIED],
            "{\"apiVersion\":\"v1\",\"data\":{\"x\":\"\\u003c\"},\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},\"name\":\"a\"}}\n"
        );
    }
}
