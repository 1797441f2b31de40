//! `set`: changes images, environment and resources of pod templates.

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, list, positional, split, text, value};
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use client::http::url::Url;
use http::Method;
use serde_json::{Map, Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "set",
    group: Group::Basic,
    about: "Change images, environment and resources of pod templates",
    examples: "kubectl set image deployment/web nginx=nginx:1.27
        kubectl set image deployments --all '*=busybox'
        kubectl set env deployment/web COLOR=blue DEBUG-
        kubectl set resources deployment web --limits=cpu=1,memory=1Gi",
    arguments: |command| {
        let common = |name: &'static str, about: &'static str| {
            Command::new(name)
                .about(about)
                .args(flags::files())
                .arg(flags::selector())
                .arg(flags::output())
                .arg(flags::dry_run())
                .arg(flags::field_manager("kubectl-set"))
                .arg(flag("all", "All objects of the type"))
                .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
                .arg(flags::args("TYPE NAME | TYPE/NAME  CHANGES"))
        };
        let containers = || value("containers", "NAMES", "Which containers").short('c').default_value("*");
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(common("image", "Change images: CONTAINER=IMAGE"))
            .subcommand(
                common("env", "Change environment variables: NAME=VALUE, NAME-")
                    .arg(list("env", "NAME=VALUE", "A variable; may be repeated").short('e'))
                    .arg(containers())
                    .arg(flag("list", "Show the variables")),
            )
            .subcommand(
                common("resources", "Change requests and limits")
                    .arg(list("limits", "RESOURCE=AMOUNT", "Limits"))
                    .arg(list("requests", "RESOURCE=AMOUNT", "Requests"))
                    .arg(containers()),
            )
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// Where an object keeps the spec of its pods.
fn pod_spec(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => &["spec", "template", "spec"],
    }
}

fn at<'v>(mut value: &'v Value, path: &[&str]) -> &'v Value {
    for step in path {
        value = &value[*step];
    }
    value
}

fn under(path: &[&str], inner: Value) -> Value {
    path.iter().rev().fold(inner, |value, step| json!({ *step: value }))
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    let args = positional(matches);
    let is_change = |arg: &String| arg.contains('=') || (what == "env" && arg.ends_with('-'));
    let (changes, objects): (Vec<String>, Vec<String>) = args.into_iter().partition(is_change);
    let report = Report::of(matches)?;
    let mut errors = Vec::new();
    for object in select::live(session, matches, &objects).await? {
        let path = pod_spec(&object.resource.kind);
        let spec = at(&object.value, path);
        if !spec["containers"].is_array() {
            errors.push(crate::error::message(format!("{} has no pod template", object.display())));
            continue;
        }
        if what == "env" && flags::is_set(matches, "list") {
            show(session, &object, spec)?;
            continue;
        }
        let patch = match what {
            "image" => images(spec, &changes),
            "env" => environment(matches, spec, &changes),
            _ => resources(matches, spec),
        };
        let done = match patch {
            Ok(patch) => send(session, matches, &report, &object, under(path, patch), what).await,
            Err(error) => Err(error),
        };
        errors.extend(done.err());
    }
    Error::all(errors)
}

async fn send(
    session: &Session,
    matches: &ArgMatches,
    report: &Report,
    object: &Found,
    patch: Value,
    what: &str,
) -> Result<()> {
    let done = match what {
        "image" => "image updated",
        "env" => "env updated",
        _ => "resource requirements updated",
    };
    let value = if report.dry_run.is_client() {
        object.value.clone()
    } else {
        let url = Url::new(object.path()).with("fieldManager", text(matches, "field-manager"));
        let url = report.dry_run.url(url).into_string();
        session
            .rest()
            .await?
            .send(Method::PATCH, &url, "application/strategic-merge-patch+json", &patch)
            .await?
    };
    // A change that changes nothing is not told, as upstream.
    if value["metadata"]["resourceVersion"] == object.value["metadata"]["resourceVersion"]
        && !report.dry_run.is_client()
        && report.dry_run.suffix().is_empty()
        && !report.prints_objects()
    {
        return Ok(());
    }
    report.tell(session, &object.display(), done, &value)
}

fn names(spec: &Value, field: &str) -> Vec<String> {
    let all = spec[field].as_array().into_iter().flatten();
    all.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
}

fn images(spec: &Value, changes: &[String]) -> Result<Value> {
    if changes.is_empty() {
        return fail("at least one image update is required");
    }
    let mut patch = Map::new();
    for change in changes {
        let (wanted, image) = change.split_once('=').unwrap_or((change, ""));
        let mut found = false;
        for field in ["initContainers", "containers"] {
            for name in names(spec, field).into_iter().filter(|name| wanted == "*" || name == wanted) {
                found = true;
                let list = patch.entry(field).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(json!({"name": name, "image": image}));
                }
            }
        }
        if !found {
            return fail(format!("unable to find container named {wanted:?}"));
        }
    }
    Ok(Value::Object(patch))
}

/// The containers that a flag such as `a,b` or `*` selects.
fn chosen(matches: &ArgMatches, spec: &Value) -> Result<Vec<String>> {
    let wanted = text(matches, "containers").unwrap_or("*");
    let all = names(spec, "containers");
    let some: Vec<String> =
        all.into_iter().filter(|name| wanted == "*" || wanted.split(',').any(|one| one == name)).collect();
    if some.is_empty() { fail(format!("unable to find container named {wanted:?}")) } else { Ok(some) }
}

fn environment(matches: &ArgMatches, spec: &Value, changes: &[String]) -> Result<Value> {
    let all: Vec<String> = changes.iter().cloned().chain(flags::words(matches, "env")).collect();
    if all.is_empty() {
        return fail("at least one environment variable must be provided");
    }
    let mut variables = Vec::new();
    for change in &all {
        variables.push(match change.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value, "valueFrom": null}),
            None => json!({"name": change.trim_end_matches('-'), "$patch": "delete"}),
        });
    }
    let list: Vec<Value> =
        chosen(matches, spec)?.into_iter().map(|name| json!({"name": name, "env": variables})).collect();
    Ok(json!({"containers": list}))
}

fn resources(matches: &ArgMatches, spec: &Value) -> Result<Value> {
    let mut wanted = Map::new();
    for field in ["limits", "requests"] {
        let pairs = split(matches, field);
        if pairs.is_empty() {
            continue;
        }
        let mut map = Map::new();
        for pair in pairs {
            let Some((resource, amount)) = pair.split_once('=') else {
                return fail(format!("invalid argument syntax {pair:?}, expected <resource>=<value>"));
            };
            let amount = if amount == "0" { Value::Null } else { amount.into() };
            map.insert(resource.to_owned(), amount);
        }
        wanted.insert(field.to_owned(), Value::Object(map));
    }
    if wanted.is_empty() {
        return fail("you must specify an update to requests or limits (in the form of --requests/--limits)");
    }
    let list: Vec<Value> =
        chosen(matches, spec)?.into_iter().map(|name| json!({"name": name, "resources": wanted})).collect();
    Ok(json!({"containers": list}))
}

fn show(session: &Session, object: &Found, spec: &Value) -> Result<()> {
    for container in spec["containers"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        session.line(format!("# {} {}, container {name}", object.resource.plural, object.name))?;
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap_or_default();
            match variable["value"].as_str() {
                Some(value) => session.line(format!("{name}={value}"))?,
                None => session.line(format!("# {name} from {}", variable["valueFrom"]))?,
            }
        }
    }
    Ok(())
}
