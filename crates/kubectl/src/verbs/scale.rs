//! `scale`: sets how many replicas an object has, through its `scale` subresource.

use super::common::{DryRun, Report};
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, given, int, number, text, value};
use crate::select::{self, Found};
use crate::session::{Session, duration};
use clap::ArgMatches;
use client::http::url::Url;
use http::Method;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "scale",
    group: Group::Deploy,
    about: "Set how many replicas a deployment, replica set or stateful set has",
    examples: "kubectl scale deployment/web --replicas=3
        kubectl scale --current-replicas=2 --replicas=3 deployment/web
        kubectl scale statefulset -l app=db --replicas=0",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flag("all", "All objects of the type"))
            .arg(number("replicas", "-1", "How many"))
            .arg(number("current-replicas", "-1", "Only if there are that many now"))
            .arg(value("resource-version", "VERSION", "Only if the object has this version"))
            .arg(flags::timeout("0s", "Wait this long until there are that many; 0 for no wait"))
            .arg(flags::args("TYPE NAME | TYPE/NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let replicas = int(matches, "replicas");
    if replicas < 0 {
        return fail(if given(matches, "replicas") {
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"
        } else {
            "required flag(s) \"replicas\" not set"
        });
    }
    let report = Report::of(matches)?;
    let found = select::live_of(session, matches).await.map_err(|error| match error.status() {
        Some(status) if status.is_not_found() => {
            message(format!("no objects passed to scale {}", status.message))
        }
        _ => error,
    })?;
    if found.is_empty() {
        return fail("no objects passed to scale");
    }
    let mut errors = Vec::new();
    for object in found {
        match scale(session, matches, report.dry_run, &object, replicas).await {
            Ok(value) => report.tell(session, &object.display(), "scaled", &value)?,
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}

async fn scale(
    session: &Session,
    matches: &ArgMatches,
    dry_run: DryRun,
    object: &Found,
    replicas: i64,
) -> Result<Value> {
    let rest = session.rest().await?;
    let expected = int(matches, "current-replicas");
    let version = text(matches, "resource-version");
    if expected >= 0 || version.is_some() {
        let now = object.value["spec"]["replicas"].as_i64().unwrap_or(0);
        if expected >= 0 && now != expected {
            return fail(format!("Expected replicas to be {expected}, was {now}"));
        }
        let actual = object.value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if version.is_some_and(|version| version != actual) {
            return fail(format!(
                "Expected resource version to be {}, was {actual}",
                version.unwrap_or_default()
            ));
        }
    }
    if dry_run.is_client() {
        return Ok(object.value.clone());
    }
    let mut patch = json!({"spec": {"replicas": replicas}});
    if let Some(version) = version {
        patch["metadata"] = json!({"resourceVersion": version});
    }
    let url = dry_run.url(Url::new(format!("{}/scale", object.path()))).into_string();
    rest.send(Method::PATCH, &url, "application/merge-patch+json", &patch).await?;
    let wait = duration(text(matches, "timeout").unwrap_or("0s"))?;
    if !wait.is_zero() && dry_run == DryRun::None {
        super::wait::until(session, object, wait, |value| {
            let count = |value: &Value| value.as_i64().unwrap_or(0);
            let observed =
                count(&value["status"]["observedGeneration"]) >= count(&value["metadata"]["generation"]);
            observed && count(&value["status"]["replicas"]) == replicas
        })
        .await?;
    }
    rest.get(&object.path()).await
}
