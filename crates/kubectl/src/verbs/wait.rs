//! `wait`: until objects have a condition, a field has a value, or they are gone. Follows a watch; never polls.

use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, is_set, list, positional, text, words};
use crate::rest::JSON;
use crate::select::{self, Found, Selectors, Target};
use crate::session::{Session, duration};
use clap::ArgMatches;
use client::http::url::Url;
use machinery::Status;
use machinery::jsonpath::{JsonPath, display};
use serde_json::Value;
use std::time::Duration;

pub(crate) const VERB: Verb = Verb {
    name: "wait",
    group: Group::Advanced,
    about: "Wait until objects have a condition or are gone",
    examples: "kubectl wait --for=condition=Available deployment/web
        kubectl wait --for=condition=Ready pod -l app=web --timeout=60s
        kubectl wait --for=jsonpath='{.status.phase}'=Running pod/web
        kubectl wait --for=delete pod/web",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .arg(flags::field_selector())
            .arg(flags::all_namespaces())
            .args(flags::output())
            .arg(flag("all", "All objects of the type"))
            .arg(list("for", "CONDITION", "condition=NAME[=VALUE], jsonpath=PATH[=VALUE], create or delete"))
            .arg(flags::timeout("30s", "Give up after this time; negative for a week"))
            .arg(flags::args("TYPE NAME | TYPE/NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// What to wait for.
enum Until {
    Condition(String, String),
    Path(JsonPath, Option<String>),
    Created,
    Gone,
}

impl Until {
    fn parse(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        if lower == "delete" {
            return Ok(Self::Gone);
        }
        if lower == "create" {
            return Ok(Self::Created);
        }
        if let Some(rest) = text.strip_prefix("condition=") {
            let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
            return Ok(Self::Condition(name.to_lowercase(), value.to_lowercase()));
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            // An equals sign inside of braces belongs to a filter.
            let end = rest.rfind('}').map_or(0, |end| end + 1);
            let (path, value) = match rest[end..].find('=') {
                Some(at) => (&rest[..end + at], Some(&rest[end + at + 1..])),
                None => (rest, None),
            };
            let path = path.trim_matches('\'');
            let value = value.map(|value| value.trim_matches(['\'', '"']).to_owned());
            if value.as_deref() == Some("") {
                return fail("jsonpath wait has to have a value after equal sign");
            }
            let path = JsonPath::parse_relaxed(path).map_err(|error| message(error.to_string()))?;
            return Ok(Self::Path(path, value));
        }
        fail(format!("unrecognized condition: {text:?}"))
    }

    fn holds(&self, object: &Value) -> Result<bool> {
        Ok(match self {
            Self::Gone => false,
            Self::Created => true,
            Self::Condition(name, value) => {
                let all = object["status"]["conditions"].as_array().into_iter().flatten();
                let known = all.clone().find(|condition| {
                    condition["type"].as_str().is_some_and(|kind| kind.to_lowercase() == *name)
                });
                known.is_some_and(|known| {
                    let number = |value: &Value| value.as_i64().unwrap_or(0);
                    let seen = number(&known["observedGeneration"]);
                    let stale = seen > 0 && seen < number(&object["metadata"]["generation"]);
                    !stale && known["status"].as_str().is_some_and(|status| status.to_lowercase() == *value)
                })
            }
            Self::Path(path, value) => {
                let found = path.find(object).map_err(|error| message(error.to_string()))?;
                match (found.as_slice(), value) {
                    ([], _) => false,
                    (_, None) => true,
                    ([one], Some(value)) => display(one).trim() == value.trim(),
                    _ => return fail("given jsonpath expression matches more than one value"),
                }
            }
        })
    }
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let conditions = words(matches, "for");
    if conditions.is_empty() {
        return fail("required flag(s) \"for\" not set");
    }
    let text = text(matches, "timeout").unwrap_or("30s");
    let timeout = if text.starts_with('-') { Duration::from_secs(7 * 24 * 3600) } else { duration(text)? };
    for wanted in conditions {
        one(session, matches, &Until::parse(&wanted)?, timeout).await?;
    }
    Ok(())
}

async fn one(session: &Session, matches: &ArgMatches, until: &Until, timeout: Duration) -> Result<()> {
    let rest = session.rest().await?;
    let targets = targets(session, matches).await?;
    let selectors = Selectors::of(matches);
    if matches!(until, Until::Created) {
        for target in &targets {
            created(session, target, timeout).await?;
        }
    }
    let (found, mut errors) = select::read(rest, &targets, &selectors).await?;
    if matches!(until, Until::Gone) {
        errors.retain(|error| !error.is_not_found());
    } else if found.is_empty() && errors.is_empty() {
        return fail("no matching resources found");
    }
    let human = text(matches, "output").is_none();
    // Every object gets what is left of the time, and at least one look.
    let deadline = tokio::time::Instant::now() + timeout;
    for object in &found {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let waited = match until {
            Until::Gone => {
                let uid = object.value["metadata"]["uid"].as_str();
                super::delete::wait_gone(session, object, uid, Some(left)).await.map(|()| Value::Null)
            }
            until => until_holds(session, object, left, until).await,
        };
        match waited {
            Ok(value) if human || value.is_null() => {
                session.line(format!("{} condition met", object.display()))?
            }
            Ok(value) => {
                let output = crate::print::Output::parse(text(matches, "output"), false)?;
                session.out(output.object(&value)?)?;
            }
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}

async fn targets(session: &Session, matches: &ArgMatches) -> Result<Vec<Target>> {
    if select::from_files(matches) {
        let files = select::manifests(session, matches).await?;
        let target = |file: Found| Target {
            resource: file.resource,
            namespace: file.namespace,
            name: Some(file.name),
        };
        return Ok(files.into_iter().map(target).collect());
    }
    let args = positional(matches);
    if args.is_empty() {
        return fail("arguments must consist of a resource and a name");
    }
    let targets = select::resolve(session, &args, is_set(matches, "all-namespaces")).await?;
    let unnamed = targets.iter().any(|target| target.name.is_none());
    if unnamed && Selectors::of(matches).is_empty() && !is_set(matches, "all") {
        return fail("resource(s) were provided, but no name was specified");
    }
    Ok(targets)
}

async fn created(session: &Session, target: &Target, timeout: Duration) -> Result<()> {
    let Some(name) = &target.name else { return Ok(()) };
    let object = Found {
        resource: target.resource.clone(),
        namespace: target.namespace.clone(),
        name: name.clone(),
        value: Value::Null,
        source: String::new(),
    };
    follow(session, &object, timeout, false, |_| Ok(true)).await.map(|_| ())
}

async fn until_holds(session: &Session, object: &Found, timeout: Duration, until: &Until) -> Result<Value> {
    if until.holds(&object.value)? {
        return Ok(object.value.clone());
    }
    follow(session, object, timeout, true, |value| until.holds(value)).await
}

/// Waits until a live object satisfies `holds`.
pub(crate) async fn until(
    session: &Session,
    object: &Found,
    timeout: Duration,
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    follow(session, object, timeout, true, |value| Ok(holds(value))).await
}

async fn follow(
    session: &Session,
    object: &Found,
    timeout: Duration,
    must_exist: bool,
    holds: impl Fn(&Value) -> Result<bool>,
) -> Result<Value> {
    let wait = watch(session, object, must_exist, |value, _| holds(value));
    match tokio::time::timeout(timeout, wait).await {
        Ok(done) => done,
        Err(_) => {
            fail(format!("timed out waiting for the condition on {}/{}", object.resource.plural, object.name))
        }
    }
}

/// Follows one object until `done` says so of its state; `done` is also told whether it is the first state seen.
pub(crate) async fn watch(
    session: &Session,
    object: &Found,
    must_exist: bool,
    mut done: impl FnMut(&Value, bool) -> Result<bool>,
) -> Result<Value> {
    let rest = session.rest().await?;
    let fields = format!("metadata.name={}", object.name);
    let path = object.resource.path(object.namespace.as_deref(), None);
    let mut first = true;
    loop {
        let list =
            rest.get(&Url::new(path.clone()).with("fieldSelector", Some(&fields)).into_string()).await?;
        match list["items"].as_array().and_then(|items| items.first()) {
            Some(item) => {
                if done(item, first)? {
                    return Ok(item.clone());
                }
                first = false;
            }
            None if must_exist => {
                let group = machinery::GroupResource::new(
                    object.resource.group.clone(),
                    object.resource.plural.clone(),
                );
                return Err(Status::not_found(&group, &object.name).into());
            }
            None => {}
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let url = Url::new(path.clone())
            .with("fieldSelector", Some(&fields))
            .with("watch", Some("true"))
            .with("resourceVersion", Some(version));
        let mut lines = rest.lines(&url.into_string(), JSON).await?;
        loop {
            match lines.event().await {
                Ok(Some((kind, _))) if kind == "DELETED" && must_exist => break,
                Ok(Some((kind, value))) if kind == "ADDED" || kind == "MODIFIED" => {
                    if done(&value, first)? {
                        return Ok(value);
                    }
                    first = false;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.status().is_some_and(Status::is_expired) => break,
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_and_paths() {
        let pod = json!({"metadata": {"generation": 2}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}]}});
        let rows = [
            ("condition=Ready", true),
            ("condition=ready=true", true),
            ("condition=Ready=False", false),
            ("condition=Old", false),
            ("jsonpath={.status.phase}=Running", true),
            ("jsonpath='{.status.phase}'=Running", true),
            ("jsonpath=.status.phase=Pending", false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("jsonpath={.status.missing}", false),
            ("delete", false),
        ];
        for (text, expected) in rows {
            assert_eq!(Until::parse(text).unwrap().holds(&pod).unwrap(), expected, "{text}");
        }
        assert!(Until::parse("nonsense").is_err());
    }
}
