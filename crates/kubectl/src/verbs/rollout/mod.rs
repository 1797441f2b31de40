//! `rollout`: how the pods of a deployment, daemon set or stateful set are replaced.

mod history;
mod status;

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, number, switch};
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use http::Method;
use serde_json::{Value, json};

/// The media type of most patches here.
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";

pub(crate) const VERB: Verb = Verb {
    name: "rollout",
    group: Group::Deploy,
    about: "Manage the rollout of a deployment, daemon set or stateful set",
    examples: "kubectl rollout status deployment/web
        kubectl rollout history deployment/web
        kubectl rollout undo deployment/web --to-revision=2
        kubectl rollout restart deployment/web",
    arguments: |command| {
        let common = |command: Command| {
            command.args(flags::files()).arg(flags::selector()).arg(flags::args("TYPE NAME | TYPE/NAME"))
        };
        let write = move |name: &'static str, about: &'static str| {
            common(Command::new(name).about(about))
                .args(flags::output())
                .arg(flags::dry_run())
                .arg(flags::field_manager("kubectl-rollout"))
        };
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                common(Command::new("status").about("Show how a rollout goes, until it is done"))
                    .arg(switch("watch", true, "Follow until it is done").short('w'))
                    .arg(number("revision", "0", "Only this revision"))
                    .arg(flags::timeout("0s", "Give up after this time; 0 for never")),
            )
            .subcommand(
                common(Command::new("history").about("Show earlier revisions"))
                    .args(flags::output())
                    .arg(number("revision", "0", "Show this revision's pod template")),
            )
            .subcommand(write("undo", "Go back to an earlier revision").arg(number(
                "to-revision",
                "0",
                "Which one; 0 for the one before",
            )))
            .subcommand(write("restart", "Replace all pods by new ones"))
            .subcommand(write("pause", "Stop rolling changes out"))
            .subcommand(write("resume", "Go on rolling changes out"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((verb, matches)) = matches.subcommand() else { return Ok(()) };
    if flags::positional(matches).is_empty() && !select::from_files(matches) {
        return fail("required resource not specified");
    }
    let found = select::live_of(session, matches).await?;
    let mut errors = Vec::new();
    for object in found {
        let done = match verb {
            "status" => status::run(session, matches, &object).await,
            "history" => history::show(session, matches, &object).await,
            "undo" => history::undo(session, matches, &object).await,
            "restart" => restart(session, matches, &object).await,
            "pause" => pause(session, matches, &object, true).await,
            _ => pause(session, matches, &object, false).await,
        };
        errors.extend(done.err());
    }
    Error::all(errors)
}

/// Patches an object and tells it.
async fn patch(
    session: &Session,
    matches: &ArgMatches,
    object: &Found,
    body: &Value,
    done: &str,
) -> Result<()> {
    let report = Report::of(matches)?;
    let value = if report.dry_run.is_client() {
        object.value.clone()
    } else {
        let manager = flags::text(matches, "field-manager").unwrap_or("kubectl-rollout");
        let url = client::http::url::Url::new(object.path()).with("fieldManager", Some(manager));
        let url = report.dry_run.url(url).into_string();
        session.rest().await?.send(Method::PATCH, &url, STRATEGIC, body).await?
    };
    report.tell(session, &object.display(), done, &value)
}

async fn restart(session: &Session, matches: &ArgMatches, object: &Found) -> Result<()> {
    match object.resource.kind.as_str() {
        "Deployment" if object.value["spec"]["paused"] == true => {
            return fail("can't restart paused deployment (run rollout resume first)");
        }
        "Deployment" | "DaemonSet" | "StatefulSet" => {}
        _ => {
            return fail(format!(
                "{} \"{}\": restarting is not supported",
                object.resource.full_plural(),
                object.name
            ));
        }
    }
    let now = session.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    patch(session, matches, object, &body, "restarted").await
}

async fn pause(session: &Session, matches: &ArgMatches, object: &Found, pause: bool) -> Result<()> {
    let verb = if pause { "pausing" } else { "resuming" };
    if object.resource.kind != "Deployment" {
        return fail(format!(
            "{} \"{}\": {verb} is not supported",
            object.resource.full_plural(),
            object.name
        ));
    }
    let paused = object.value["spec"]["paused"] == true;
    if paused == pause {
        let state = if pause { "is already paused" } else { "is not paused" };
        return fail(format!("{} \"{}\" {state}", object.resource.full_plural(), object.name));
    }
    let done = if pause { "paused" } else { "resumed" };
    patch(
        session,
        matches,
        object,
        &json!({"spec": {"paused": if pause { json!(true) } else { Value::Null }}}),
        done,
    )
    .await
}
