//! `taint`: sets and removes taints of nodes.

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, is_set, positional, text};
use crate::select::{self, Found};
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use http::Method;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "taint",
    group: Group::Cluster,
    about: "Set and remove taints of nodes",
    examples: "kubectl taint nodes n1 dedicated=db:NoSchedule
        kubectl taint nodes n1 dedicated:NoSchedule-
        kubectl taint nodes --all maintenance:PreferNoSchedule
        kubectl taint nodes n1 dedicated-",
    arguments: |command| {
        command
            .arg(flags::selector())
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-taint"))
            .arg(flag("all", "All nodes"))
            .arg(flag("overwrite", "Overwrite what is there"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .arg(flags::args("node NAME  KEY[=VALUE]:EFFECT | KEY[:EFFECT]-"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const HINT: &str = "See 'kubectl taint -h' for help and examples";

/// A taint to set, or to remove (without effect: with any).
#[derive(Clone, Debug, PartialEq)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    fn is(&self, other: &Value) -> bool {
        other["key"] == self.key.as_str()
            && (self.effect.is_empty() || other["effect"] == self.effect.as_str())
    }

    fn json(&self) -> Value {
        let mut taint = json!({"effect": self.effect, "key": self.key});
        if !self.value.is_empty() {
            taint["value"] = self.value.clone().into();
        }
        taint
    }
}

/// Reads `key=value:effect`; with a minus sign at the end it is one to remove.
fn parse(word: &str) -> Result<(Taint, bool)> {
    let (spec, removes) = word.strip_suffix('-').map_or((word, false), |spec| (spec, true));
    let (head, effect) = match spec.rsplit_once(':') {
        Some((head, effect)) => (head, effect),
        None => (spec, ""),
    };
    if spec.matches(':').count() > 1 || head.matches('=').count() > 1 {
        return fail(format!("invalid taint spec: {spec}\n{HINT}"));
    }
    if (!effect.is_empty() || !removes && spec.contains(':')) && !EFFECTS.contains(&effect) {
        return fail(format!("invalid taint effect: {effect}, unsupported taint effect\n{HINT}"));
    }
    let (key, value) =
        if effect.is_empty() && !removes { (spec, "") } else { head.split_once('=').unwrap_or((head, "")) };
    if let Some(why) = machinery::names::qualified_name(key).first() {
        return fail(format!("invalid taint spec: {spec}, {why}\n{HINT}"));
    }
    if effect.is_empty() && !removes {
        return fail(format!("invalid taint spec: {spec}\n{HINT}"));
    }
    Ok((Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }, removes))
}

/// What to set, what to remove.
fn changes(words: &[String]) -> Result<(Vec<Taint>, Vec<Taint>)> {
    let (mut set, mut remove): (Vec<Taint>, Vec<Taint>) = (Vec::new(), Vec::new());
    for word in words {
        let (taint, removes) = parse(word)?;
        let list = if removes { &mut remove } else { &mut set };
        if !removes && list.iter().any(|other| other.key == taint.key && other.effect == taint.effect) {
            return fail(format!("duplicated taints with the same key and effect: {}=\n{HINT}", taint.key));
        }
        list.push(taint);
    }
    let both: Vec<String> = set
        .iter()
        .filter(|taint| {
            remove
                .iter()
                .any(|gone| gone.key == taint.key && (gone.effect.is_empty() || gone.effect == taint.effect))
        })
        .map(|taint| format!("{}={}", taint.key, taint.value))
        .collect();
    if !both.is_empty() {
        return fail(format!(
            "can not both modify and remove the following taint(s) in the same command: {}",
            both.join(", ")
        ));
    }
    Ok((set, remove))
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let is_change = |arg: &String| arg.contains(['=', ':']) || arg.ends_with('-');
    let first = args.iter().position(is_change).unwrap_or(args.len());
    let (objects, words) = args.split_at(first);
    if objects.is_empty() {
        return fail("one or more resources must be specified as <resource> <name>");
    }
    if words.is_empty() {
        return fail("at least one taint update is required");
    }
    let (set, remove) = changes(words)?;
    if objects.len() == 1
        && !objects[0].contains('/')
        && !is_set(matches, "all")
        && text(matches, "selector").is_none()
    {
        return fail("at least one resource name must be specified since 'all' parameter is not set");
    }
    if is_set(matches, "all") && text(matches, "selector").is_some() {
        return fail("setting 'all' parameter with a non empty selector is prohibited");
    }
    let report = Report::of(matches)?;
    let mut errors = Vec::new();
    for node in select::live(session, matches, objects).await? {
        if node.resource.kind != "Node" || !node.resource.group.is_empty() {
            return fail(format!("invalid resource type {}, only node is supported", node.resource.plural));
        }
        errors.extend(taint(session, matches, &report, &node, &set, &remove).await.err());
    }
    Error::all(errors)
}

async fn taint(
    session: &Session,
    matches: &ArgMatches,
    report: &Report,
    node: &Found,
    set: &[Taint],
    remove: &[Taint],
) -> Result<()> {
    let old = node.value["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let taken = set.iter().any(|taint| old.iter().any(|other| taint.is(other)));
    if taken && !is_set(matches, "overwrite") {
        return fail(format!(
            "node {} already has a taint(s) with same effect(s) and --overwrite is false",
            node.name
        ));
    }
    // What is set comes first, as upstream has it.
    let mut new: Vec<Value> = set.iter().map(Taint::json).collect();
    new.extend(old.iter().filter(|other| !set.iter().any(|taint| taint.is(other))).cloned());
    let mut missing = Vec::new();
    for taint in remove {
        let before = new.len();
        new.retain(|other| !taint.is(other));
        if new.len() == before {
            let effect = if taint.effect.is_empty() { String::new() } else { format!(":{}", taint.effect) };
            missing.push(message(format!("taint \"{}{effect}\" not found", taint.key)));
        }
    }
    Error::all(missing)?;
    let done = match (taken, remove.is_empty(), set.is_empty()) {
        (_, false, true) => "untainted",
        (true, ..) | (_, false, false) => "modified",
        _ => "tainted",
    };
    let value = if report.dry_run.is_client() {
        let mut value = node.value.clone();
        value["spec"]["taints"] = new.into();
        value
    } else {
        let url = Url::new(node.path()).with("fieldManager", text(matches, "field-manager"));
        let url = report.dry_run.url(url).into_string();
        let taints = if new.is_empty() { Value::Null } else { new.into() };
        let mut body = json!({"spec": {"taints": taints}});
        // Somebody else's taint must not get lost.
        body["metadata"]["resourceVersion"] = node.value["metadata"]["resourceVersion"].clone();
        session.rest().await?.send(Method::PATCH, &url, "application/merge-patch+json", &body).await?
    };
    // Upstream says nothing of a dry run here.
    report.without_suffix().tell(session, &node.display(), done, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (set, remove) = changes(&words("a=b:NoSchedule c:NoExecute d- e:NoSchedule-")).unwrap();
        assert_eq!(set[0], Taint { key: "a".into(), value: "b".into(), effect: "NoSchedule".into() });
        assert_eq!(set[1].value, "");
        assert_eq!((remove[0].effect.as_str(), remove[1].effect.as_str()), ("", "NoSchedule"));
        assert!(
            changes(&words("a:Foo"))
                .unwrap_err()
                .text()
                .contains("invalid taint effect: Foo, unsupported taint effect")
        );
        assert!(changes(&words("a=b")).unwrap_err().text().contains("invalid taint spec: a=b, "));
        assert!(changes(&words("a:NoSchedule a-")).is_err());
    }
}
