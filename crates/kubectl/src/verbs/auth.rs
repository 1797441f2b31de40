//! `auth`: what one may do, and who one is.

use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, positional, text, value};
use crate::print::tabs::Tabs;
use crate::rest::JSON;
use crate::session::Session;
use clap::{ArgMatches, Command};
use http::Method;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "auth",
    group: Group::Cluster,
    about: "Ask what one may do",
    examples: "kubectl auth can-i create pods
        kubectl auth can-i delete deployment/web -n shop --as=alice
        kubectl auth can-i --list
        kubectl auth whoami",
    arguments: |command| {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                Command::new("can-i")
                    .about("Say whether something is allowed")
                    .arg(flags::all_namespaces())
                    .arg(flag("list", "Show everything that is allowed"))
                    .arg(flag("quiet", "Say it only with the exit code").short('q'))
                    .arg(flag("no-headers", "With --list: leave out the headers"))
                    .arg(value("subresource", "NAME", "Ask about this subresource"))
                    .arg(flags::args("VERB TYPE | TYPE/NAME | PATH")),
            )
            .subcommand(super::reconcile::command())
            .subcommand(
                Command::new("whoami")
                    .about("Say who one is")
                    .arg(value("output", "FORMAT", "json or yaml").short('o')),
            )
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some(("can-i", matches)) if is_set(matches, "list") => list(session, matches).await,
        Some(("can-i", matches)) => can(session, matches).await,
        Some(("reconcile", matches)) => super::reconcile::run(session, matches).await,
        Some((_, matches)) => whoami(session, matches).await,
        None => Ok(()),
    }
}

const API: &str = "/apis/authorization.k8s.io/v1";

async fn can(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let (verb, what, name) = match args.as_slice() {
        [verb, what] => (verb, what, None),
        [verb, what, name] => (verb, what, Some(name.clone())),
        _ => {
            return fail(
                "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
            );
        }
    };
    let mut spec = json!({});
    if what.starts_with('/') {
        spec["nonResourceAttributes"] = json!({"path": what, "verb": verb});
    } else {
        let (kind, named) =
            what.split_once('/').map_or((what.as_str(), None), |(kind, name)| (kind, Some(name)));
        let mut attributes = json!({"verb": verb});
        match session.discovery().await?.find(kind) {
            Ok(resource) => {
                attributes["group"] = resource.group.clone().into();
                attributes["resource"] = resource.plural.clone().into();
                if !resource.namespaced && session.namespace_given() {
                    session.streams.warn(&format!(
                        "Warning: resource '{}' is not namespace scoped",
                        resource.full_plural()
                    ));
                }
            }
            Err(_) => {
                if kind != "*" {
                    session
                        .streams
                        .warn(&format!("Warning: the server doesn't have a resource type '{kind}'"));
                }
                let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
                attributes["group"] = if kind == "*" { "*".into() } else { group.into() };
                attributes["resource"] = plural.into();
            }
        }
        if let Some(name) = name.as_deref().or(named) {
            attributes["name"] = name.into();
        }
        if let Some(subresource) = text(matches, "subresource") {
            attributes["subresource"] = subresource.into();
        }
        if !is_set(matches, "all-namespaces") {
            attributes["namespace"] = session.namespace().await?.into();
        }
        spec["resourceAttributes"] = attributes;
    }
    let review =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let path = format!("{API}/selfsubjectaccessreviews");
    let status = session.rest().await?.send(Method::POST, &path, JSON, &review).await?["status"].clone();
    let allowed = status["allowed"] == true;
    if !is_set(matches, "quiet") {
        let mut line = if allowed { "yes" } else { "no" }.to_owned();
        for (label, field) in [("", "reason"), ("evaluation error: ", "evaluationError")] {
            if let Some(text) = status[field].as_str().filter(|text| !text.is_empty() && !allowed) {
                line.push_str(&format!(" - {label}{text}"));
            }
        }
        session.line(line)?;
    }
    if allowed { Ok(()) } else { Err(Error::Exit(1)) }
}

async fn list(session: &Session, matches: &ArgMatches) -> Result<()> {
    let spec = json!({"namespace": session.namespace().await?});
    let review =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": spec});
    let path = format!("{API}/selfsubjectrulesreviews");
    let status = session.rest().await?.send(Method::POST, &path, JSON, &review).await?["status"].clone();
    let words = |value: &Value| -> String {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        format!("[{}]", all.collect::<Vec<_>>().join(" "))
    };
    let mut tabs = Tabs::list();
    if !is_set(matches, "no-headers") {
        tabs.row(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    }
    for rule in status["resourceRules"].as_array().into_iter().flatten() {
        for resource in rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            for group in rule["apiGroups"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let full = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
                tabs.row([full, "[]".to_owned(), words(&rule["resourceNames"]), words(&rule["verbs"])]);
            }
        }
    }
    for rule in status["nonResourceRules"].as_array().into_iter().flatten() {
        tabs.row([String::new(), words(&rule["nonResourceURLs"]), "[]".to_owned(), words(&rule["verbs"])]);
    }
    session.out(tabs.flush())
}

async fn whoami(session: &Session, matches: &ArgMatches) -> Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = session.rest().await?.send(Method::POST, path, JSON, &review).await?;
    match text(matches, "output") {
        Some("json") => return session.out(crate::print::to_json(&answer)),
        Some("yaml") => return session.out(crate::print::to_yaml(&answer)?),
        Some(other) => {
            return fail(format!("unable to match a printer suitable for the output format {other:?}"));
        }
        None => {}
    }
    let user = &answer["status"]["userInfo"];
    let mut tabs = Tabs::list();
    tabs.row(["ATTRIBUTE", "VALUE"]);
    let mut row = |label: &str, value: String| {
        if !value.is_empty() {
            tabs.row([label.to_owned(), value]);
        }
    };
    let words = |value: &Value| {
        let all: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if all.is_empty() { String::new() } else { format!("[{}]", all.join(" ")) }
    };
    row("Username", user["username"].as_str().unwrap_or_default().to_owned());
    row("UID", user["uid"].as_str().unwrap_or_default().to_owned());
    row("Groups", words(&user["groups"]));
    for (key, value) in user["extra"].as_object().into_iter().flatten() {
        row(&format!("Extra: {key}"), words(value));
    }
    session.out(tabs.flush())
}
