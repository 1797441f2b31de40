//! `patch`: sends a patch from the command line.

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Result, fail, message};
use crate::flags::{self, text, value};
use crate::select;
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use http::Method;
use machinery::codec;

pub(crate) const VERB: Verb = Verb {
    name: "patch",
    group: Group::Advanced,
    about: "Change fields of objects",
    examples: r#"kubectl patch node n1 -p '{"spec":{"unschedulable":true}}'
        kubectl patch deployment web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":2}]'
        kubectl patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":2}}'"#,
    arguments: |command| {
        command
            .args(flags::files())
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flags::field_manager("kubectl-patch"))
            .arg(value("patch", "PATCH", "The patch, JSON or YAML").short('p'))
            .arg(value("patch-file", "FILE", "A file with the patch"))
            .arg(value("type", "TYPE", "strategic, merge or json").default_value("strategic"))
            .arg(value("subresource", "NAME", "Patch this subresource, such as status or scale"))
            .arg(flags::args("TYPE NAME | TYPE/NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let content_type = match text(matches, "type").unwrap_or("strategic") {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json" => "application/json-patch+json",
        other => return fail(format!("--type must be one of [json merge strategic], not {other:?}")),
    };
    let patch = match (text(matches, "patch"), text(matches, "patch-file")) {
        (Some(patch), None) => patch.to_owned(),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map_err(|error| message(format!("unable to read patch file: {error}")))?,
        _ => return fail("must specify --patch or --patch-file containing the contents of the patch"),
    };
    let patch = codec::yaml::decode(patch.as_bytes())
        .map_err(|error| message(format!("unable to parse {patch:?}: {error}")))?
        .value;
    let report = Report::of(matches)?;
    for object in select::live_of(session, matches).await? {
        if report.dry_run.is_client() {
            report.tell(session, &object.display(), "patched", &object.value)?;
            continue;
        }
        let mut path = object.path();
        if let Some(subresource) = text(matches, "subresource") {
            path = format!("{path}/{subresource}");
        }
        let url = Url::new(path).with("fieldManager", text(matches, "field-manager"));
        let url = report.dry_run.url(url).into_string();
        let value = session.rest().await?.send(Method::PATCH, &url, content_type, &patch).await?;
        let same = value["metadata"]["resourceVersion"] == object.value["metadata"]["resourceVersion"];
        let done = if same { "patched (no change)" } else { "patched" };
        report.tell(session, &object.display(), done, &value)?;
    }
    Ok(())
}
