//! `auth reconcile`: makes roles and bindings grant at least what manifests say, and only that where asked. Objects of other
//! kinds are passed over.

use super::common::Report;
use super::describe::rbac::{Rule, rules};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set};
use crate::rest::JSON;
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use http::Method;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn command() -> Command {
    Command::new("reconcile")
        .about("Make roles and bindings grant what manifests say")
        .args(flags::files())
        .args(flags::output())
        .arg(flags::dry_run())
        .arg(flag("remove-extra-permissions", "Remove rules that are in no manifest"))
        .arg(flag("remove-extra-subjects", "Remove subjects that are in no manifest"))
        .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
}

/// What is to be done to one object, and what is said of it.
struct Plan {
    operation: &'static str,
    value: Value,
    lines: Vec<String>,
}

pub(super) async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    if !select::from_files(matches) {
        return fail("must specify one of -f and -k");
    }
    let report = Report::of(matches)?;
    let mut errors = Vec::new();
    for file in select::manifests(session, matches).await? {
        if file.resource.group == GROUP {
            errors.extend(one(session, matches, &report, &file).await.err());
        }
    }
    Error::all(errors)
}

async fn one(session: &Session, matches: &ArgMatches, report: &Report, file: &Found) -> Result<()> {
    let rest = session.rest().await?;
    let live = rest.get_opt(&file.path()).await?;
    let plan = if file.resource.kind.ends_with("Binding") {
        binding(live.as_ref(), &file.value, is_set(matches, "remove-extra-subjects"))
    } else {
        role(live.as_ref(), &file.value, is_set(matches, "remove-extra-permissions"))
    };
    let mut value = plan.value;
    if !report.dry_run.is_client() {
        let url = |path: String| report.dry_run.url(client::http::url::Url::new(path)).into_string();
        let collection = file.resource.path(file.namespace.as_deref(), None);
        value = match plan.operation {
            "" => value,
            "create" => rest.send(Method::POST, &url(collection), JSON, &value).await?,
            "recreate" => {
                rest.send(Method::DELETE, &url(file.path()), JSON, &Value::Null).await?;
                if let Some(metadata) = value["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                    metadata.remove("uid");
                }
                rest.send(Method::POST, &url(collection), JSON, &value).await?
            }
            _ => rest.send(Method::PUT, &url(file.path()), JSON, &value).await?,
        };
    }
    report.tell(session, &file.display(), "reconciled", &value)?;
    if report.prints_objects() || plan.operation.is_empty() {
        return Ok(());
    }
    session.line(format!("\treconciliation required {}", plan.operation))?;
    plan.lines.iter().try_for_each(|line| session.line(line))
}

/// Labels and annotations of a manifest, put into the live object's.
fn with_metadata(live: &Value, wanted: &Value) -> Value {
    let mut value = live.clone();
    for field in ["labels", "annotations"] {
        for (key, text) in wanted["metadata"][field].as_object().into_iter().flatten() {
            value["metadata"][field][key.as_str()] = text.clone();
        }
    }
    value
}

fn covers(all: &[Rule], wanted: &Rule, verb: &str) -> bool {
    let fits =
        |known: &Option<String>, wanted: &Option<String>| known == wanted || known.as_deref() == Some("*");
    all.iter().any(|rule| {
        rule.verbs.iter().any(|known| known == verb || known == "*")
            && match (&rule.url, &wanted.url) {
                (Some(known), Some(url)) => {
                    known == url || known.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
                }
                (None, None) => {
                    fits(&rule.group, &wanted.group)
                        && fits(&rule.resource, &wanted.resource)
                        && (rule.name.is_none() || rule.name == wanted.name)
                }
                _ => false,
            }
    })
}

/// What of `wanted` is not in `known`, rule by rule.
fn missing(known: &Value, wanted: &Value) -> Vec<Rule> {
    let (known, wanted) =
        (known.as_array().cloned().unwrap_or_default(), wanted.as_array().cloned().unwrap_or_default());
    let known = rules(&known);
    let mut out = Vec::new();
    for mut rule in rules(&wanted) {
        let verbs = rule.verbs.clone();
        rule.verbs = verbs.into_iter().filter(|verb| !covers(&known, &rule, verb)).collect();
        if !rule.verbs.is_empty() {
            out.push(rule);
        }
    }
    out
}

fn as_json(rule: &Rule) -> Value {
    let mut out = json!({"verbs": rule.verbs});
    let fields = [
        ("apiGroups", &rule.group),
        ("resources", &rule.resource),
        ("resourceNames", &rule.name),
        ("nonResourceURLs", &rule.url),
    ];
    for (field, word) in fields {
        if let Some(word) = word {
            out[field] = json!([word]);
        }
    }
    out
}

fn shown(rule: &Rule) -> String {
    let one = |word: &Option<String>| word.clone().unwrap_or_default();
    format!(
        "\t\t{{Verbs:[{}] APIGroups:[{}] Resources:[{}] ResourceNames:[{}] NonResourceURLs:[{}]}}",
        rule.verbs.join(" "),
        one(&rule.group),
        one(&rule.resource),
        one(&rule.name),
        one(&rule.url)
    )
}

fn told(heading: &str, lines: impl Iterator<Item = String>) -> Vec<String> {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { lines } else { std::iter::once(format!("\t{heading}:")).chain(lines).collect() }
}

fn role(live: Option<&Value>, wanted: &Value, removes: bool) -> Plan {
    let Some(live) = live else {
        let all = missing(&Value::Null, &wanted["rules"]);
        return Plan {
            operation: "create",
            value: wanted.clone(),
            lines: told("missing rules added", all.iter().map(shown)),
        };
    };
    let added = missing(&live["rules"], &wanted["rules"]);
    let extra = missing(&wanted["rules"], &live["rules"]);
    let mut value = with_metadata(live, wanted);
    let mut lines = Vec::new();
    if removes && !extra.is_empty() {
        value["rules"] = wanted["rules"].clone();
        lines.extend(told("extra rules removed", extra.iter().map(shown)));
    } else if !added.is_empty() {
        let mut all = live["rules"].as_array().cloned().unwrap_or_default();
        all.extend(added.iter().map(as_json));
        value["rules"] = all.into();
    }
    lines.splice(0..0, told("missing rules added", added.iter().map(shown)));
    Plan { operation: if value == *live { "" } else { "update" }, value, lines }
}

fn subject(subject: &Value) -> String {
    let word = |field: &str| subject[field].as_str().unwrap_or_default().to_owned();
    format!(
        "\t\t{{Kind:{} APIGroup:{} Name:{} Namespace:{}}}",
        word("kind"),
        word("apiGroup"),
        word("name"),
        word("namespace")
    )
}

fn binding(live: Option<&Value>, wanted: &Value, removes: bool) -> Plan {
    let subjects = |value: &Value| value["subjects"].as_array().cloned().unwrap_or_default();
    let new = subjects(wanted);
    let Some(live) = live else {
        return Plan {
            operation: "create",
            value: wanted.clone(),
            lines: told("missing subjects added", new.iter().map(subject)),
        };
    };
    // What a binding is to cannot be changed.
    let role = |value: &Value| (value["roleRef"]["kind"].clone(), value["roleRef"]["name"].clone());
    let recreated = role(live) != role(wanted);
    let known = subjects(live);
    let same =
        |a: &Value, b: &Value| ["kind", "name", "namespace"].iter().all(|field| a[*field] == b[*field]);
    let added: Vec<Value> =
        new.iter().filter(|one| !known.iter().any(|other| same(one, other))).cloned().collect();
    let extra: Vec<Value> =
        known.iter().filter(|one| !new.iter().any(|other| same(one, other))).cloned().collect();
    let mut value = with_metadata(live, wanted);
    let mut lines = told("missing subjects added", added.iter().map(subject));
    if removes && !extra.is_empty() {
        value["subjects"] = new.into();
        lines.extend(told("extra subjects removed", extra.iter().map(subject)));
    } else if !added.is_empty() {
        value["subjects"] = known.into_iter().chain(added).collect();
    }
    if recreated {
        value["roleRef"] = wanted["roleRef"].clone();
    }
    let operation = if recreated {
        "recreate"
    } else if value == *live {
        ""
    } else {
        "update"
    };
    Plan { operation, value, lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let live = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
        let wanted = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]});
        let plan = role(Some(&live), &wanted, false);
        assert_eq!((plan.operation, plan.value["rules"][1]["verbs"].clone()), ("update", json!(["list"])));
        assert_eq!(role(Some(&wanted), &live, false).operation, "", "more than is wanted is left");
        assert_eq!(role(Some(&wanted), &live, true).value, live);
        let bound = |name: &str, to: &str| json!({"roleRef": {"kind": "Role", "name": to}, "subjects": [{"kind": "User", "name": name}]});
        assert_eq!(
            binding(Some(&bound("a", "x")), &bound("b", "x"), false).value["subjects"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(binding(Some(&bound("a", "x")), &bound("a", "y"), false).operation, "recreate");
    }
}
