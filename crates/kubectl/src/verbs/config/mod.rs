//! `config`: shows and changes kubeconfig files.

mod change;

use super::{Group, Verb};
use crate::error::{Result, fail, message};
use crate::flags::{self, flag, is_set, positional, text, value};
use crate::print::tabs::Tabs;
use crate::print::{to_json, to_yaml};
use crate::session::Session;
use clap::{ArgMatches, Command};
use client::Kubeconfig;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) const VERB: Verb = Verb {
    name: "config",
    group: Group::Settings,
    about: "Show and change kubeconfig files",
    examples: "kubectl config view
        kubectl config get-contexts
        kubectl config use-context admin
        kubectl config set-context --current --namespace=shop",
    arguments: |command| {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(change::commands())
            .subcommand(
                Command::new("view")
                    .about("Show the kubeconfig in effect")
                    .arg(flag("raw", "Show secrets"))
                    .arg(flag("minify", "Show only the current context"))
                    .arg(flag("flatten", "Accepted").hide(true))
                    .arg(value("output", "FORMAT", "yaml, json or jsonpath=").short('o')),
            )
            .subcommand(Command::new("current-context").about("Show the context in use"))
            .subcommand(
                Command::new("get-contexts")
                    .about("Show all contexts")
                    .arg(flag("no-headers", "Leave out the headers"))
                    .arg(value("output", "FORMAT", "name").short('o'))
                    .arg(flags::args("NAME")),
            )
            .subcommand(Command::new("get-clusters").about("Show all clusters"))
            .subcommand(Command::new("get-users").about("Show all users"))
            .subcommand(
                Command::new("use-context")
                    .visible_alias("use")
                    .about("Choose the context to use")
                    .arg(flags::args("NAME")),
            )
            .subcommand(
                Command::new("set-context")
                    .about("Change a context, with the flags --namespace, --cluster and --user")
                    .arg(flag("current", "The current one"))
                    .arg(flags::args("NAME")),
            )
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((verb, matches)) = matches.subcommand() else { return Ok(()) };
    let known = session.kubeconfig()?;
    match verb {
        "view" => view(session, matches, &known),
        "current-context" => {
            if known.current_context.is_empty() {
                return fail("current-context is not set");
            }
            session.line(&known.current_context)
        }
        "get-contexts" => contexts(session, matches, &known),
        "get-clusters" => {
            session.line("NAME")?;
            known.clusters.iter().try_for_each(|cluster| session.line(&cluster.name))
        }
        "get-users" => {
            session.line("NAME")?;
            known.users.iter().try_for_each(|user| session.line(&user.name))
        }
        "use-context" => {
            let args = positional(matches);
            let [name] = args.as_slice() else { return fail("exactly one context name is required") };
            if known.context(name).is_none() {
                return fail(format!("no context exists with the name: {name:?}"));
            }
            // The first file is the one that wins.
            let path = path(session)?;
            let mut file = if path.exists() { Kubeconfig::read(&path)? } else { Kubeconfig::default() };
            file.current_context.clone_from(name);
            write(&path, &file)?;
            session.line(format!("Switched to context {name:?}."))
        }
        "set-context" => set_context(session, matches),
        _ => change::run(session, verb, matches),
    }
}

fn path(session: &Session) -> Result<PathBuf> {
    let mut paths = Kubeconfig::paths(session.kubeconfig_path()).into_iter();
    paths
        .next()
        .ok_or_else(|| message("there is no kubeconfig to change: set KUBECONFIG or give --kubeconfig"))
}

/// Replaces a file as a whole, readable by its owner only.
fn write(path: &Path, config: &Kubeconfig) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(config.to_yaml()?.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| message(format!("failed to write {}: {error}", path.display())))?;
    Ok(())
}

fn set_context(session: &Session, matches: &ArgMatches) -> Result<()> {
    let path = path(session)?;
    let mut file = if path.exists() { Kubeconfig::read(&path)? } else { Kubeconfig::default() };
    let args = positional(matches);
    let name = match args.as_slice() {
        [] if is_set(matches, "current") => file.current_context.clone(),
        [name] => name.clone(),
        _ => return fail("you must specify a context name or --current"),
    };
    let known = file.contexts.iter_mut().find(|context| context.name == name);
    let (context, done) = match known {
        Some(known) => (known, "modified"),
        None => {
            file.contexts.push(client::config::Named { name: name.clone(), entry: Default::default() });
            match file.contexts.last_mut() {
                Some(last) => (last, "created"),
                None => return fail("the list of contexts is empty"),
            }
        }
    };
    let context = &mut context.entry.context;
    if let Some(namespace) = text(matches, "namespace") {
        context.namespace = Some(namespace.to_owned());
    }
    if let Some(cluster) = text(matches, "cluster") {
        cluster.clone_into(&mut context.cluster);
    }
    if let Some(user) = text(matches, "user") {
        user.clone_into(&mut context.user);
    }
    write(&path, &file)?;
    session.line(format!("Context {name:?} {done}."))
}

fn contexts(session: &Session, matches: &ArgMatches, known: &Kubeconfig) -> Result<()> {
    let wanted = positional(matches);
    for name in &wanted {
        if known.context(name).is_none() {
            return fail(format!("context {name} not found"));
        }
    }
    let mut all: Vec<_> =
        known.contexts.iter().filter(|context| wanted.is_empty() || wanted.contains(&context.name)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if text(matches, "output") == Some("name") {
        return all.iter().try_for_each(|context| session.line(&context.name));
    }
    let mut tabs = Tabs::list();
    if !is_set(matches, "no-headers") {
        tabs.row(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]);
    }
    for named in all {
        let current = if named.name == known.current_context { "*" } else { "" };
        let context = &named.entry.context;
        let namespace = context.namespace.clone().unwrap_or_default();
        tabs.row([
            current.to_owned(),
            named.name.clone(),
            context.cluster.clone(),
            context.user.clone(),
            namespace,
        ]);
    }
    session.out(tabs.flush())
}

fn view(session: &Session, matches: &ArgMatches, known: &Kubeconfig) -> Result<()> {
    let mut known = known.clone();
    if let Some(context) = session.context() {
        context.clone_into(&mut known.current_context);
    }
    if is_set(matches, "minify") {
        let name = known.current_context.clone();
        let Some(context) = known.context(&name).cloned() else {
            return fail(if name.is_empty() {
                "current-context must exist in order to minify".to_owned()
            } else {
                format!("cannot locate context {name:?}")
            });
        };
        known.contexts.retain(|other| other.name == name);
        known.clusters.retain(|other| other.name == context.cluster);
        known.users.retain(|other| other.name == context.user);
    }
    let mut value: Value = machinery::codec::yaml::decode(known.to_yaml()?.as_bytes())?.value;
    if !is_set(matches, "raw") {
        hide(&mut value);
    }
    match text(matches, "output") {
        None | Some("yaml") => session.out(to_yaml(&value)?),
        Some("json") => session.out(to_json(&value)),
        other => {
            let output = crate::print::Output::parse(other, false)?;
            session.out(output.object(&value)?)
        }
    }
}

/// Puts words in place of secrets.
fn hide(value: &mut Value) {
    const WORDS: &[(&str, &str)] = &[
        ("certificate-authority-data", "DATA+OMITTED"),
        ("client-certificate-data", "DATA+OMITTED"),
        ("client-key-data", "DATA+OMITTED"),
        ("token", "REDACTED"),
        ("password", "REDACTED"),
    ];
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match WORDS.iter().find(|(name, _)| name == key) {
                    Some((_, word)) if inner.is_string() => *inner = (*word).into(),
                    _ => hide(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}
