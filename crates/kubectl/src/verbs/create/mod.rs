//! `create`: makes objects from manifests, or of a few kinds from flags: one row per kind in [`KINDS`].

mod access;
mod data;
mod services;
mod simple;
mod token;
mod workloads;

use super::apply::annotated;
use super::common::{Report, validation};
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, is_set, positional, text, value, words};
use crate::manifest::Manifest;
use crate::rest::JSON;
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use client::http::url::Url;
use futures::future::BoxFuture;
use http::Method;
use serde_json::Value;

pub(crate) const VERB: Verb = Verb {
    name: "create",
    group: Group::Basic,
    about: "Create objects from a file or from flags",
    examples: "kubectl create -f web.yaml
        kubectl create namespace shop
        kubectl create deployment web --image=nginx --replicas=2
        kubectl create configmap settings --from-literal=color=blue
        kubectl create secret generic db --from-literal=password=secret
        kubectl create job once --image=busybox -- date",
    arguments: |command| {
        let mut command = command
            .args(flags::files())
            .arg(flags::selector())
            .arg(flag("edit", "Not supported").hide(true))
            .arg(value("raw", "PATH", "POST the file to this path"))
            .args(common_flags())
            .args_conflicts_with_subcommands(true)
            .arg_required_else_help(true);
        for kind in KINDS {
            command = command.subcommand(kind_command(kind));
        }
        command
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// How an object comes from flags.
enum Build {
    /// From the flags alone.
    Pure(fn(&ArgMatches) -> Result<Value>),
    /// With a look at the cluster or at files.
    Look(for<'a> fn(&'a Session, &'a ArgMatches) -> BoxFuture<'a, Result<Value>>),
    /// Does everything itself.
    Whole(for<'a> fn(&'a Session, &'a ArgMatches) -> BoxFuture<'a, Result<()>>),
}

/// A kind that can be made from flags.
struct Kind {
    /// Path of words after `create`, such as `secret generic`.
    name: &'static str,
    alias: &'static str,
    about: &'static str,
    arguments: fn(Command) -> Command,
    build: Build,
    /// Kinds with kinds below, such as `secret`.
    below: &'static [Kind],
}

/// The kinds that can be made from flags.
const KINDS: &[Kind] = &[
    access::CLUSTER_ROLE,
    access::CLUSTER_ROLE_BINDING,
    data::CONFIG_MAP,
    workloads::CRON_JOB,
    workloads::DEPLOYMENT,
    services::INGRESS,
    workloads::JOB,
    simple::NAMESPACE,
    simple::POD_DISRUPTION_BUDGET,
    simple::PRIORITY_CLASS,
    simple::QUOTA,
    access::ROLE,
    access::ROLE_BINDING,
    data::SECRET,
    services::SERVICE,
    simple::SERVICE_ACCOUNT,
    token::TOKEN,
];

fn kind_command(kind: &'static Kind) -> Command {
    let command = Command::new(kind.name).about(kind.about).disable_version_flag(true);
    let command = if kind.alias.is_empty() { command } else { command.visible_alias(kind.alias) };
    if kind.below.is_empty() {
        return (kind.arguments)(command).args(common_flags());
    }
    let below = kind.below.iter().map(kind_command);
    command.subcommands(below).subcommand_required(true).arg_required_else_help(true)
}

fn common_flags() -> Vec<clap::Arg> {
    let [output, template, missing] = flags::output();
    vec![
        output,
        template,
        missing,
        flags::dry_run(),
        flags::validate(),
        flags::field_manager("kubectl-create"),
        flag("save-config", "Keep the manifest in the object, for a later apply"),
        flag("show-managed-fields", "With -o: show who owns which fields"),
    ]
}

/// The name that every kind takes first.
fn name(matches: &ArgMatches) -> Result<String> {
    match positional(matches).as_slice() {
        [name] => Ok(name.clone()),
        names => fail(format!("exactly one NAME is required, got {}", names.len())),
    }
}

/// A flag that must be given.
fn required<'m>(matches: &'m ArgMatches, flag: &str) -> Result<&'m str> {
    text(matches, flag).ok_or_else(|| message(format!("required flag(s) {flag:?} not set")))
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let mut kinds = KINDS;
    let mut at = matches;
    let mut chosen = None;
    while let Some((name, inner)) = at.subcommand() {
        chosen = kinds.iter().find(|kind| kind.name == name);
        kinds = chosen.map_or(&[], |kind| kind.below);
        at = inner;
    }
    match chosen {
        None => from_files(session, matches).await,
        Some(kind) => {
            let value = match kind.build {
                Build::Pure(build) => build(at)?,
                Build::Look(build) => build(session, at).await?,
                Build::Whole(run) => return run(session, at).await,
            };
            submit(session, at, value).await
        }
    }
}

/// Creates an object that flags describe.
pub(crate) async fn submit(session: &Session, matches: &ArgMatches, value: Value) -> Result<()> {
    submit_as(session, matches, value, "created").await
}

/// The same, told in another word.
pub(crate) async fn submit_as(
    session: &Session,
    matches: &ArgMatches,
    value: Value,
    done: &'static str,
) -> Result<()> {
    let report = Report::of(matches)?;
    if report.dry_run.is_client() && report.prints_objects() {
        // Nothing is asked of the server: this is how manifests are written.
        let mut value = value;
        if session.namespace_given() && shows_namespace(&value) {
            value["metadata"]["namespace"] = session.namespace().await?.into();
        }
        let value = if is_set(matches, "save-config") { annotated(&value) } else { value };
        return report.tell(session, "", "", &value);
    }
    let file = select::place(session, Manifest { source: String::new(), value }).await?;
    let what = described(&file.value);
    let made = create(session, matches, &report, file, done, |error, _| error).await;
    made.map_err(|error| match error.status() {
        Some(status)
            if !what.is_empty() && status.reason != machinery::Reason::Invalid && !error.is_local() =>
        {
            message(format!("failed to create {what}: {}", status.message))
        }
        _ => error,
    })
}

/// What upstream says it failed to create; nothing for kinds whose failures are told as they are.
fn described(value: &Value) -> String {
    match value["kind"].as_str().unwrap_or_default() {
        "Namespace" | "Role" | "ClusterRole" | "HorizontalPodAutoscaler" => String::new(),
        "Service" => format!("{} service", value["spec"]["type"].as_str().unwrap_or("ClusterIP")),
        "ResourceQuota" => "quota".to_owned(),
        kind => kind.to_lowercase(),
    }
}

/// Kinds that upstream prints with the namespace that was asked for.
fn shows_namespace(value: &Value) -> bool {
    !["Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "HorizontalPodAutoscaler"]
        .contains(&value["kind"].as_str().unwrap_or_default())
}

async fn from_files(session: &Session, matches: &ArgMatches) -> Result<()> {
    let files = words(matches, "filename");
    if let Some(path) = text(matches, "raw") {
        let bytes = match files.as_slice() {
            [file] if file == "-" => session.streams.read_all().await?,
            [file] => tokio::fs::read(file).await?.into(),
            _ => return fail("--raw can only use a single local file or stdin"),
        };
        let value: Value = serde_json::from_slice(&bytes)?;
        let answer = session.rest().await?.send(Method::POST, path, JSON, &value).await?;
        return session.line(answer.to_string());
    }
    if is_set(matches, "edit") {
        return fail("--edit is not supported by this version of Windlass; create, then edit");
    }
    if files.is_empty() && text(matches, "kustomize").is_none() {
        return fail("must specify one of -f and -k");
    }
    let report = Report::of(matches)?;
    let found = select::manifests(session, matches).await?;
    if found.is_empty() {
        return fail("no objects passed to create");
    }
    let mut errors = Vec::new();
    for file in found {
        let made = create(session, matches, &report, file, "created", |error, source| {
            error.during("creating", source)
        })
        .await;
        errors.extend(made.err());
    }
    Error::all(errors)
}

async fn create(
    session: &Session,
    matches: &ArgMatches,
    report: &Report,
    file: Found,
    done: &str,
    explain: fn(Error, &str) -> Error,
) -> Result<()> {
    let value = if is_set(matches, "save-config") { annotated(&file.value) } else { file.value };
    let made = if report.dry_run.is_client() {
        value
    } else {
        let manager = text(matches, "field-manager").unwrap_or("kubectl-create");
        let url = Url::new(file.resource.path(file.namespace.as_deref(), None))
            .with("fieldManager", Some(manager))
            .with("fieldValidation", Some(validation(matches)?));
        let url = report.dry_run.url(url).into_string();
        let sent = session.rest().await?.send(Method::POST, &url, JSON, &value).await;
        sent.map_err(|error| explain(error, &file.source))?
    };
    let name = made["metadata"]["name"].as_str().unwrap_or(&file.name).to_owned();
    report.tell(session, &format!("{}/{name}", file.resource.full_kind()), done, &made)
}
