//! `apply`: makes objects what manifests say. Client-side with the manifest kept in an annotation and a three-way merge, or
//! server-side (KEP-555).
//!
//! Deliberately absent: ApplySets (GAPS.md).

mod engine;
mod last_applied;
pub(crate) mod prune;

pub(crate) use engine::Apply;

use super::common::{Report, validation};
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, switch, text, value, words};
use crate::print::{list_of, to_compact_json};
use crate::select::{self, Found};
use crate::session::Session;
use clap::ArgMatches;
use serde_json::{Value, json};

pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

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
            .args(flags::output())
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
            .args(prune::flags())
            .arg(flag("all", "With --prune: everything that was applied, whatever its labels"))
            .arg(flag("wait", "With --prune: wait until what is deleted is gone"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .subcommands(last_applied::commands())
            .args_conflicts_with_subcommands(true)
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    if let Some((verb, matches)) = matches.subcommand() {
        return last_applied::run(session, verb, matches).await;
    }
    prune::check(matches)?;
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
    let mut found = select::manifests(session, matches).await?;
    retain_selected(matches, &mut found)?;
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
        annotate: true,
    };
    let (mut errors, mut objects) = (Vec::new(), Vec::new());
    for file in &found {
        let done = if server_side { apply.server_side(file).await } else { apply.client_side(file).await };
        match done {
            Ok((value, _)) if report.prints_objects() => objects.push(value),
            Ok((value, done)) => report.tell(session, &file_display(file, &value), done, &value)?,
            Err(error) => errors.push(error),
        }
    }
    if objects.len() == 1 {
        report.tell(session, "", "", &objects[0])?;
    } else if !objects.is_empty() {
        report.tell(session, "", "", &list_of(objects))?;
    }
    if is_set(matches, "prune") && errors.is_empty() {
        prune::run(session, matches, &found, &report).await?;
    }
    Error::all(errors)
}

/// Keeps what `--selector` selects.
pub(crate) fn retain_selected(matches: &ArgMatches, found: &mut Vec<Found>) -> Result<()> {
    if let Some(labels) = text(matches, "selector") {
        let labels = machinery::labels::Selector::parse(labels).map_err(crate::error::message)?;
        found.retain(|file| selected(&labels, &file.value));
    }
    Ok(())
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
