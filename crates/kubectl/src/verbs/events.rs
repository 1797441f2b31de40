//! `events`: what happened, oldest first, for people.

use super::{Group, Verb};
use crate::error::{Result, fail};
use crate::flags::{self, flag, is_set, list, split, text, value};
use crate::print::tabs::Tabs;
use crate::print::{Output, list_of, name_of, without_managed_fields};
use crate::rest::JSON;
use crate::select::{self, Selectors, Target};
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use serde_json::Value;

pub(crate) const VERB: Verb = Verb {
    name: "events",
    group: Group::Debug,
    about: "Show events",
    examples: "kubectl events
        kubectl events -A --types=Warning
        kubectl events --for pod/web --watch",
    arguments: |command| {
        command
            .arg(flags::all_namespaces())
            .args(flags::template())
            .arg(value("output", "FORMAT", "json, yaml, name, jsonpath=, go-template=").short('o'))
            .arg(value("for", "TYPE/NAME", "Only events about this object"))
            .arg(list("types", "TYPES", "Only events of these types: Normal, Warning"))
            .arg(flag("watch", "After showing what is there, show what happens").short('w'))
            .arg(flag("no-headers", "Leave out the headers"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .arg(value("chunk-size", "N", "Accepted; lists are always read in pages of 500").hide(true))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// Which events are meant.
struct Filter {
    types: Vec<String>,
    /// Kind, group and version, and name.
    about: Option<(String, String, String)>,
}

impl Filter {
    fn takes(&self, event: &Value) -> bool {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
        let typed = self.types.is_empty()
            || self.types.iter().any(|kind| kind.to_lowercase() == word(&event["type"]));
        let object = &event["involvedObject"];
        let about = self.about.as_ref().is_none_or(|(kind, version, name)| {
            object["kind"] == kind.as_str()
                && object["name"] == name.as_str()
                && object["apiVersion"].as_str().is_none_or(|known| known.is_empty() || known == version)
        });
        typed && about
    }
}

async fn filter(session: &Session, matches: &ArgMatches) -> Result<Filter> {
    let types = split(matches, "types");
    if types.iter().any(|kind| !["normal", "warning"].contains(&kind.to_lowercase().as_str())) {
        return fail("valid --types are Normal or Warning");
    }
    let mut about = None;
    if let Some(object) = text(matches, "for") {
        let Some((kind, name)) =
            object.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
        else {
            return fail("--for must be in resource/name form");
        };
        let resource = session.discovery().await?.find(kind)?;
        about = Some((resource.kind.clone(), resource.api_version(), name.to_owned()));
    }
    Ok(Filter { types, about })
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let output = Output::of(matches, false)?;
    let filter = filter(session, matches).await?;
    let everywhere = is_set(matches, "all-namespaces");
    let namespace = if everywhere { None } else { Some(session.namespace().await?) };
    let resource = session.discovery().await?.find("events")?;
    let target = Target { resource, namespace: namespace.clone(), name: None };
    let rest = session.rest().await?;
    let mut items = select::list(rest, &target, &Selectors::default()).await?;
    items.retain(|event| filter.takes(event));
    items.sort_by(|a, b| last(a).cmp(last(b)));
    let watch = is_set(matches, "watch");
    let mut printer =
        Printer { tabs: Tabs::table(), namespaces: everywhere, headers: !is_set(matches, "no-headers") };
    if items.is_empty() && !watch {
        let place = namespace.map(|name| format!(" in {name} namespace")).unwrap_or_default();
        session.streams.warn(&format!("No events found{place}."));
        return Ok(());
    }
    if output.is_human() {
        session.out(printer.print(session, &items))?;
    } else {
        if !is_set(matches, "show-managed-fields") {
            items.iter_mut().for_each(without_managed_fields);
        }
        if watch {
            items.iter().try_for_each(|item| session.out(output.object(item)?))?;
        } else if matches!(output, Output::Name) {
            session.out(items.iter().map(|item| format!("{}\n", name_of(item))).collect::<String>())?;
        } else {
            session.out(output.object(&list_of(items))?)?;
        }
    }
    if watch { follow(session, &target, &filter, &output, printer).await } else { Ok(()) }
}

async fn follow(
    session: &Session,
    target: &Target,
    filter: &Filter,
    output: &Output,
    mut printer: Printer,
) -> Result<()> {
    let rest = session.rest().await?;
    let now = rest.get(&Url::new(target.path()).with("limit", Some("1")).into_string()).await?;
    let mut version = now["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    loop {
        let url = Url::new(target.path()).with("watch", Some("true")).with("resourceVersion", Some(&version));
        let mut lines = rest.lines(&url.into_string(), JSON).await?;
        while let Some((kind, event)) = lines.event().await? {
            if let Some(now) = event["metadata"]["resourceVersion"].as_str() {
                version = now.to_owned();
            }
            if kind == "DELETED" || kind == "BOOKMARK" || !filter.takes(&event) {
                continue;
            }
            let text = if output.is_human() {
                printer.print(session, std::slice::from_ref(&event))
            } else {
                output.object(&event)?
            };
            session.out(text)?;
        }
    }
}

/// When an event was seen last.
fn last(event: &Value) -> &str {
    let times = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    times.into_iter().find_map(Value::as_str).unwrap_or_default()
}

struct Printer {
    tabs: Tabs,
    namespaces: bool,
    headers: bool,
}

impl Printer {
    fn print(&mut self, session: &Session, events: &[Value]) -> String {
        if std::mem::take(&mut self.headers) {
            let first = if self.namespaces { Some("NAMESPACE") } else { None };
            self.tabs.row(first.into_iter().chain(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]));
        }
        for event in events {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let object = &event["involvedObject"];
            let mut cells = Vec::new();
            if self.namespaces {
                cells.push(word(&event["metadata"]["namespace"]));
            }
            cells.extend([
                interval(session, event),
                word(&event["type"]),
                word(&event["reason"]),
                format!("{}/{}", word(&object["kind"]), word(&object["name"])),
                word(&event["message"]).trim().to_owned(),
            ]);
            self.tabs.row(cells);
        }
        self.tabs.flush()
    }
}

/// `5s`, or `5s (x3 over 2m)`.
fn interval(session: &Session, event: &Value) -> String {
    let age = |time: Option<&str>| api::resource::age(time.and_then(|time| time.parse().ok()), session.now());
    let first = event["firstTimestamp"].as_str().or(event["eventTime"].as_str());
    let series = &event["series"];
    if series.is_object() {
        let count = series["count"].as_i64().unwrap_or(0);
        return format!("{} (x{count} over {})", age(series["lastObservedTime"].as_str()), age(first));
    }
    match event["count"].as_i64().filter(|count| *count > 1) {
        Some(count) => format!("{} (x{count} over {})", age(event["lastTimestamp"].as_str()), age(first)),
        None => age(first),
    }
}
