//! `config set`, `unset`, `set-cluster`, `set-credentials`, `delete-*`, `rename-context`: changes of one kubeconfig file, as
//! a tree, so that what is not known here stays.

use crate::error::{Result, fail, message};
use crate::flags::{self, flag, given, is_set, list, positional, text, value, words};
use crate::session::Session;
use base64::Engine;
use clap::{ArgMatches, Command};
use client::Kubeconfig;
use serde_json::{Value, json};
use std::path::Path;

/// Lists of named entries: what they are called, and the key of the entry.
const LISTS: &[(&str, &str)] = &[("clusters", "cluster"), ("users", "user"), ("contexts", "context")];
/// What else may stand in a kubeconfig.
const PLAIN: &[&str] = &["current-context", "preferences", "kind", "apiVersion"];

pub(super) fn commands() -> Vec<Command> {
    let named =
        |name: &'static str, about: &'static str| Command::new(name).about(about).arg(flags::args("NAME"));
    vec![
        Command::new("set")
            .about("Set a value, such as clusters.c.server")
            .arg(flag("set-raw-bytes", "The value of *-data is text to encode; without, it is encoded already"))
            .arg(flags::args("PROPERTY VALUE")),
        Command::new("unset").about("Remove a value, such as contexts.c.namespace").arg(flags::args("PROPERTY")),
        named("set-cluster", "Set a cluster; with --server, --certificate-authority, --insecure-skip-tls-verify, --tls-server-name")
            .arg(flag("embed-certs", "Keep the certificates in the file"))
            .arg(value("proxy-url", "URL", "Proxy to the cluster")),
        named("set-credentials", "Set a user; with --token, --client-certificate, --client-key")
            .arg(value("username", "NAME", "Name for basic authentication"))
            .arg(value("password", "PASSWORD", "Password for basic authentication"))
            .arg(flag("embed-certs", "Keep certificate and key in the file"))
            .arg(value("exec-command", "COMMAND", "A command that gets credentials"))
            .arg(value("exec-api-version", "VERSION", "The API version that it speaks"))
            .arg(list("exec-arg", "WORDS", "Its arguments; may be repeated"))
            .arg(list("exec-env", "NAME=VALUE", "Its variables; NAME- removes one")),
        named("delete-cluster", "Remove a cluster"),
        named("delete-context", "Remove a context"),
        named("delete-user", "Remove a user"),
        Command::new("rename-context").about("Rename a context").arg(flags::args("OLD NEW")),
    ]
}

pub(super) fn run(session: &Session, verb: &str, matches: &ArgMatches) -> Result<()> {
    let path = super::path(session)?;
    let config = if path.exists() { Kubeconfig::read(&path)? } else { Kubeconfig::default() };
    let mut tree: Value = machinery::codec::yaml::decode(config.to_yaml()?.as_bytes())?.value;
    let args = positional(matches);
    let said = match (verb, args.as_slice()) {
        ("set", [property, value]) => {
            set(&mut tree, property, value, is_set(matches, "set-raw-bytes"))?;
            format!("Property {property:?} set.")
        }
        ("unset", [property]) => {
            unset(&mut tree, property)?;
            format!("Property {property:?} unset.")
        }
        ("set-cluster", [name]) => {
            cluster(entry(&mut tree, "clusters", "cluster", name), matches)?;
            format!("Cluster {name:?} set.")
        }
        ("set-credentials", [name]) => {
            user(entry(&mut tree, "users", "user", name), matches)?;
            format!("User {name:?} set.")
        }
        ("rename-context", [old, new]) => rename(&mut tree, old, new, &path)?,
        ("delete-cluster" | "delete-context" | "delete-user", [name]) => {
            let what = verb.trim_start_matches("delete-");
            delete(session, &mut tree, what, name, &path)?
        }
        _ => {
            return fail(format!(
                "Unexpected args: [{}]\nSee 'kubectl config {verb} -h' for help and examples",
                args.join(" ")
            ));
        }
    };
    let changed: Kubeconfig =
        serde_json::from_value(tree).map_err(|error| message(format!("invalid value: {error}")))?;
    super::write(&path, &changed)?;
    session.line(said)
}

/// The entry of a name, made if there is none.
fn entry<'t>(tree: &'t mut Value, plural: &str, key: &str, name: &str) -> &'t mut Value {
    if !tree[plural].is_array() {
        tree[plural] = json!([]);
    }
    let at = tree[plural].as_array().into_iter().flatten().position(|entry| entry["name"] == name);
    let at = at.unwrap_or_else(|| {
        let list = tree[plural].as_array_mut();
        list.map_or(0, |list| {
            list.push(json!({"name": name, key: {}}));
            list.len() - 1
        })
    });
    &mut tree[plural][at][key]
}

/// Splits `clusters.name.field`; names may have dots of their own.
fn place<'p>(tree: &Value, property: &'p str) -> Result<(&'static str, &'static str, &'p str, &'p str)> {
    let wrong = || message(format!("unable to parse {property} after [] at api.Config"));
    let (plural, rest) = property.split_once('.').ok_or_else(wrong)?;
    let (plural, key) = LISTS.iter().find(|(name, _)| *name == plural).ok_or_else(wrong)?;
    let known = tree[*plural].as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str());
    let longest = known
        .filter(|name| rest == *name || rest.strip_prefix(*name).is_some_and(|rest| rest.starts_with('.')))
        .map(str::len)
        .max();
    let end = longest.unwrap_or_else(|| rest.find('.').unwrap_or(rest.len()));
    Ok((plural, key, &rest[..end], rest[end..].trim_start_matches('.')))
}

fn set(tree: &mut Value, property: &str, value: &str, raw: bool) -> Result<()> {
    let head = property.split('.').next().unwrap_or_default();
    let typed = |old: &Value, field: &str| -> Result<Value> {
        if field.ends_with("-data") {
            return Ok(if raw { encoded(value.as_bytes()) } else { value.into() });
        }
        let flag = old.is_boolean()
            || ["insecure-skip-tls-verify", "disable-compression", "colors"].contains(&field);
        if flag {
            return value
                .parse::<bool>()
                .map(Value::from)
                .map_err(|_| message(format!("invalid boolean {value:?}")));
        }
        Ok(value.into())
    };
    if PLAIN.contains(&head) {
        let mut at = tree;
        for step in property.split('.') {
            at = &mut at[step];
        }
        *at = typed(at, property.rsplit('.').next().unwrap_or_default())?;
        return Ok(());
    }
    let (plural, key, name, field) = place(tree, property)?;
    if field.is_empty() {
        return fail(format!("unable to parse {property}: it names no field"));
    }
    let mut at = entry(tree, plural, key, name);
    for step in field.split('.') {
        at = &mut at[step];
    }
    *at = typed(at, field.rsplit('.').next().unwrap_or_default())?;
    Ok(())
}

fn unset(tree: &mut Value, property: &str) -> Result<()> {
    let head = property.split('.').next().unwrap_or_default();
    if PLAIN.contains(&head) {
        if property == "current-context" {
            tree[property] = "".into();
        } else if let Some((parent, field)) = property.rsplit_once('.') {
            let at = parent.split('.').fold(tree, |value, step| &mut value[step]);
            at.as_object_mut().map(|map| map.remove(field));
        }
        return Ok(());
    }
    if LISTS.iter().any(|(plural, _)| *plural == property) {
        tree[property] = json!([]);
        return Ok(());
    }
    let (plural, key, name, field) = place(tree, property)?;
    let Some(list) = tree[plural].as_array_mut() else { return Ok(()) };
    if field.is_empty() {
        list.retain(|entry| entry["name"] != name);
        return Ok(());
    }
    if let Some(entry) = list.iter_mut().find(|entry| entry["name"] == name) {
        let (parent, last) = field.rsplit_once('.').unwrap_or(("", field));
        let at = parent
            .split('.')
            .filter(|step| !step.is_empty())
            .fold(&mut entry[key], |value, step| &mut value[step]);
        at.as_object_mut().map(|map| map.remove(last));
    }
    Ok(())
}

fn encoded(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

/// A file as a path, or in the entry itself.
fn file(entry: &mut Value, matches: &ArgMatches, name: &str) -> Result<()> {
    let Some(path) = text(matches, name) else { return Ok(()) };
    let read = std::fs::read(path)
        .map_err(|error| message(format!("could not stat {name} file {path}: {error}; check the path")))?;
    let data = format!("{name}-data");
    if is_set(matches, "embed-certs") {
        entry[data] = encoded(&read);
        entry.as_object_mut().map(|map| map.remove(name));
    } else {
        let absolute = std::path::absolute(path)?;
        entry[name] = absolute.display().to_string().into();
        entry.as_object_mut().map(|map| map.remove(&data));
    }
    Ok(())
}

fn cluster(entry: &mut Value, matches: &ArgMatches) -> Result<()> {
    for (flag, field) in
        [("server", "server"), ("tls-server-name", "tls-server-name"), ("proxy-url", "proxy-url")]
    {
        if let Some(value) = text(matches, flag) {
            entry[field] = value.trim_end_matches('/').into();
        }
    }
    if given(matches, "insecure-skip-tls-verify") {
        let insecure = is_set(matches, "insecure-skip-tls-verify");
        entry["insecure-skip-tls-verify"] = insecure.into();
        if insecure && let Some(map) = entry.as_object_mut() {
            map.remove("certificate-authority");
            map.remove("certificate-authority-data");
        }
    }
    file(entry, matches, "certificate-authority")
}

fn user(entry: &mut Value, matches: &ArgMatches) -> Result<()> {
    if text(matches, "token").is_some() && text(matches, "username").is_some() {
        return fail(
            "you cannot specify more than one authentication method at the same time: --token, --username/--password",
        );
    }
    for field in ["token", "username", "password"] {
        if let Some(value) = text(matches, field) {
            entry[field] = value.into();
        }
    }
    file(entry, matches, "client-certificate")?;
    file(entry, matches, "client-key")?;
    let Some(command) = text(matches, "exec-command") else { return Ok(()) };
    let variables: Vec<Value> = words(matches, "exec-env")
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let arguments: Vec<String> =
        words(matches, "exec-arg").iter().flat_map(|all| all.split(',')).map(str::to_owned).collect();
    let version = text(matches, "exec-api-version").unwrap_or("client.authentication.k8s.io/v1");
    entry["exec"] = json!({
        "apiVersion": version, "command": command, "args": arguments, "env": variables,
        "interactiveMode": "IfAvailable", "provideClusterInfo": false,
    });
    Ok(())
}

fn rename(tree: &mut Value, old: &str, new: &str, path: &Path) -> Result<String> {
    let list = tree["contexts"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    if list.iter().any(|entry| entry["name"] == new) {
        return fail(format!(
            "cannot rename the context {old:?}, the context {new:?} already exists in {}",
            path.display()
        ));
    }
    let Some(entry) = list.iter_mut().find(|entry| entry["name"] == old) else {
        return fail(format!("cannot rename the context {old:?}, it's not in {}", path.display()));
    };
    entry["name"] = new.into();
    if tree["current-context"] == old {
        tree["current-context"] = new.into();
    }
    Ok(format!("Context {old:?} renamed to {new:?}."))
}

fn delete(session: &Session, tree: &mut Value, what: &str, name: &str, path: &Path) -> Result<String> {
    let plural = format!("{what}s");
    let list = tree[&plural].as_array_mut();
    let before = list.as_ref().map_or(0, |list| list.len());
    let after = list.map_or(0, |list| {
        list.retain(|entry| entry["name"] != name);
        list.len()
    });
    if before == after {
        return fail(format!("cannot delete {what} {name}, not in {}", path.display()));
    }
    if what == "context" && tree["current-context"] == name {
        session.streams.warn(
            "warning: this removed your active context, use \"kubectl config use-context\" to select a different one",
        );
    }
    Ok(format!("deleted {what} {name} from {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_found_by_name_and_field() {
        let mut tree = json!({"clusters": [{"name": "a.b", "cluster": {"server": "x"}}]});
        set(&mut tree, "clusters.a.b.server", "y", false).unwrap();
        assert_eq!(tree["clusters"][0]["cluster"]["server"], "y");
        set(&mut tree, "contexts.c.namespace", "n", false).unwrap();
        assert_eq!(tree["contexts"][0], json!({"name": "c", "context": {"namespace": "n"}}));
        set(&mut tree, "clusters.d.insecure-skip-tls-verify", "true", false).unwrap();
        assert_eq!(tree["clusters"][1]["cluster"]["insecure-skip-tls-verify"], true);
        unset(&mut tree, "contexts.c.namespace").unwrap();
        assert_eq!(tree["contexts"][0]["context"], json!({}));
        unset(&mut tree, "clusters.a.b").unwrap();
        assert_eq!(tree["clusters"].as_array().unwrap().len(), 1);
        assert!(set(&mut tree, "foo.bar", "x", false).is_err());
    }
}
