//! `set env`: environment variables, one by one or from config maps and secrets.

use super::{Thing, matching, spec_of};
use crate::error::{Error, Result, fail, message};
use crate::flags::{flag, is_set, list, split, switch, text, value, words};
use crate::select::{self, Found};
use crate::session::Session;
use clap::ArgMatches;
use serde_json::{Value, json};

pub(super) const ENV: Thing = Thing {
    name: "env",
    alias: "",
    about: "Change environment variables: NAME=VALUE, NAME-",
    words: "TYPE NAME | TYPE/NAME  NAME=VALUE | NAME-",
    arguments: |command| {
        command
            .arg(list("env", "NAME=VALUE", "A variable; may be repeated").short('e'))
            .arg(value("containers", "NAMES", "Which containers").short('c').default_value("*"))
            .arg(value("from", "TYPE/NAME", "Variables from this config map or secret"))
            .arg(list("keys", "KEYS", "With --from: only these keys"))
            .arg(value("prefix", "TEXT", "With --from: what names begin with"))
            .arg(switch("overwrite", true, "Overwrite what is there"))
            .arg(flag("list", "Show the variables"))
            .arg(flag("resolve", "With --list: look values up that stand elsewhere"))
    },
    done: "env updated",
    is_change: |word| word.contains('=') || word.ends_with('-'),
    last: 0,
    change: |session, matches, changes, object| Box::pin(change(session, matches, changes, object)),
};

/// Puts the lines of standard input in the place of `-`.
pub(super) async fn with_input(session: &Session, changes: Vec<String>) -> Result<Vec<String>> {
    if !changes.iter().any(|change| change == "-") {
        return Ok(changes);
    }
    let mut out: Vec<String> = changes.into_iter().filter(|change| change != "-").collect();
    let input = session.streams.read_all().await?;
    for line in String::from_utf8_lossy(&input).lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            if !line.contains('=') {
                return fail(format!("environment variables must be of the form key=value, but is {line:?}"));
            }
            out.push(line.to_owned());
        }
    }
    Ok(out)
}

async fn change(
    session: &Session,
    matches: &ArgMatches,
    changes: &[String],
    object: &mut Found,
) -> Result<bool> {
    let display = format!("{}/{}", object.resource.plural, object.name);
    let kind = object.resource.kind.clone();
    let name = object.name.clone();
    let pattern = text(matches, "containers").unwrap_or("*");
    let from = match text(matches, "from") {
        Some(from) => variables_of(session, matches, from).await?,
        None => Vec::new(),
    };
    let spec = spec_of(object)?;
    let lists = ["initContainers", "containers"];
    let found: Vec<_> = pattern.split(',').flat_map(|one| matching(spec, &lists, one)).collect();
    if found.is_empty() {
        session
            .streams
            .warn(&format!("warning: {display} does not have any containers matching {pattern:?}"));
        return Ok(false);
    }
    if is_set(matches, "list") {
        for (list, at) in found {
            let container = spec[list][at].clone();
            session.line(format!(
                "# {kind} {name}, container {}",
                container["name"].as_str().unwrap_or_default()
            ))?;
            show(session, matches, &container).await?;
        }
        return Ok(false);
    }
    let mut set = from;
    let mut remove = Vec::new();
    for change in changes.iter().cloned().chain(words(matches, "env")) {
        match change.split_once('=') {
            Some((name, value)) => set.push(json!({"name": name, "value": value})),
            None => remove.push(change.trim_end_matches('-').to_owned()),
        }
    }
    for (list, at) in found {
        let mut all = spec[list][at]["env"].as_array().cloned().unwrap_or_default();
        let named = |all: &[Value], name: &Value| all.iter().position(|variable| variable["name"] == *name);
        if !is_set(matches, "overwrite") {
            let taken = set.iter().find_map(|new| {
                named(&all, &new["name"])
                    .map(|at| (&new["name"], all[at]["value"].as_str().unwrap_or_default().to_owned()))
            });
            if let Some((name, value)) = taken {
                let name = name.as_str().unwrap_or_default();
                return fail(format!(
                    "{display} '{name}' already has a value ({value}), and --overwrite is false"
                ));
            }
        }
        all.retain(|variable| !remove.iter().any(|name| variable["name"] == name.as_str()));
        for new in &set {
            match named(&all, &new["name"]) {
                Some(at) => all[at] = new.clone(),
                None => all.push(new.clone()),
            }
        }
        if let Some(container) = spec[list][at].as_object_mut() {
            if all.is_empty() {
                container.remove("env");
            } else {
                container.insert("env".to_owned(), all.into());
            }
        }
    }
    Ok(true)
}

/// Variables that refer to the keys of a config map or a secret.
async fn variables_of(session: &Session, matches: &ArgMatches, from: &str) -> Result<Vec<Value>> {
    let source = select::one(session, &[from.to_owned()], "").await?;
    let field = match source.resource.kind.as_str() {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        other => return fail(format!("unsupported resource specified in --from: {other}")),
    };
    let (wanted, prefix) = (split(matches, "keys"), text(matches, "prefix").unwrap_or_default());
    let mut keys: Vec<&String> =
        source.value["data"].as_object().into_iter().flatten().map(|(key, _)| key).collect();
    keys.sort();
    keys.retain(|key| wanted.is_empty() || wanted.contains(key));
    let mut out = Vec::new();
    for key in keys {
        let name: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_uppercase() } else { '_' })
            .collect();
        if name != *key {
            session.streams.warn(&format!("Warning: key {key} transferred to {name}"));
        }
        out.push(json!({"name": format!("{prefix}{name}"), "valueFrom": {field: {"key": key, "name": source.name}}}));
    }
    Ok(out)
}

async fn show(session: &Session, matches: &ArgMatches, container: &Value) -> Result<()> {
    let mut errors = Vec::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let from = &variable["valueFrom"];
        if !from.is_object() {
            session.line(format!("{name}={}", variable["value"].as_str().unwrap_or_default()))?;
        } else if is_set(matches, "resolve") {
            match resolve(session, from).await {
                Ok(value) => session.line(format!("{name}={value}"))?,
                Err(error) => errors.push(error),
            }
        } else {
            session.line(format!("# {name} from {}", described(from)))?;
        }
    }
    Error::all(errors)
}

/// A reference in words.
fn described(from: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if from["fieldRef"].is_object() {
        return format!("field path {}", word(&from["fieldRef"]["fieldPath"]));
    }
    if from["resourceFieldRef"].is_object() {
        let of = word(&from["resourceFieldRef"]["containerName"]);
        let of = if of.is_empty() { String::new() } else { format!("{of}.") };
        return format!("resource field {of}{}", word(&from["resourceFieldRef"]["resource"]));
    }
    for (field, what) in [("secretKeyRef", "secret"), ("configMapKeyRef", "configmap")] {
        if from[field].is_object() {
            return format!("{what} {}, key {}", word(&from[field]["name"]), word(&from[field]["key"]));
        }
    }
    "an unknown source".to_owned()
}

async fn resolve(session: &Session, from: &Value) -> Result<String> {
    for (field, kind) in [("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")] {
        let Some(key) = from[field]["key"].as_str() else { continue };
        let name = from[field]["name"].as_str().unwrap_or_default();
        let source = select::one(session, &[format!("{kind}/{name}")], "").await?;
        let Some(value) = source.value["data"][key].as_str() else {
            return fail(format!("key {key} not found in {kind} {name}"));
        };
        if field == "configMapKeyRef" {
            return Ok(value.to_owned());
        }
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(value)
            .map_err(|error| message(error.to_string()))?;
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(format!("<{}>", described(from)))
}
