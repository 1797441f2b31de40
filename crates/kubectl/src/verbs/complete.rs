//! What completion scripts ask for: `__complete WORDS...` prints what the last word may become, one candidate a line.
//! A cluster that does not answer gives no candidates, and no error.

use crate::error::Result;
use crate::select::{self, Selectors, Target};
use crate::session::Session;
use clap::{Arg, Command};
use std::collections::BTreeSet;

/// What a verb's first argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// `TYPE` or `TYPE/NAME`, then names.
    Types,
    /// Pods, or `TYPE/NAME`.
    Pods,
    Nodes,
    Contexts,
    Nothing,
}

fn names(path: &[&str]) -> Names {
    match path {
        ["logs" | "exec" | "attach" | "port-forward" | "cp" | "debug", ..] | ["top", "pod"] => Names::Pods,
        ["cordon" | "uncordon" | "drain", ..] | ["top", "node"] => Names::Nodes,
        ["config", "use-context" | "set-context" | "delete-context" | "rename-context" | "get-contexts"] => {
            Names::Contexts
        }
        [
            "get" | "describe" | "delete" | "edit" | "label" | "annotate" | "patch" | "scale" | "expose"
            | "explain" | "wait" | "autoscale" | "taint",
            ..,
        ]
        | ["rollout" | "set", _]
        | ["apply", "view-last-applied" | "edit-last-applied"] => Names::Types,
        _ => Names::Nothing,
    }
}

/// Where a command line stands.
struct Position<'c> {
    command: &'c Command,
    path: Vec<&'c str>,
    positional: Vec<&'c str>,
    /// The flag whose value the last word is.
    flag: Option<&'c Arg>,
}

fn flag_of<'c>(command: &'c Command, root: &'c Command, word: &str) -> Option<&'c Arg> {
    let all = || command.get_arguments().chain(root.get_arguments());
    match word.strip_prefix("--") {
        Some(long) => all().find(|arg| arg.get_long() == Some(long)),
        None => {
            let letter = word.strip_prefix('-').and_then(|letters| letters.chars().last())?;
            all().find(|arg| arg.get_short() == Some(letter))
        }
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

fn position<'c>(root: &'c Command, words: &'c [String]) -> Position<'c> {
    let mut at = Position { command: root, path: Vec::new(), positional: Vec::new(), flag: None };
    for word in words {
        if at.flag.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            at.flag = flag_of(at.command, root, word).filter(|arg| takes_value(arg));
        } else if let Some(sub) = at.command.find_subcommand(word).filter(|_| at.positional.is_empty()) {
            at.command = sub;
            at.path.push(sub.get_name());
        } else {
            at.positional.push(word);
        }
    }
    at
}

/// Prints the candidates for the last word.
pub(crate) async fn run(session: &Session, root: &Command, words: &[String]) -> Result<()> {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let at = position(root, before);
    let found = candidates(session, root, &at, last).await.unwrap_or_default();
    let lines: String =
        found.iter().filter(|one| one.starts_with(last)).map(|one| format!("{one}\n")).collect();
    session.out(lines)
}

async fn candidates(
    session: &Session,
    root: &Command,
    at: &Position<'_>,
    last: &str,
) -> Result<BTreeSet<String>> {
    if let Some(flag) = at.flag {
        return values(session, flag.get_id().as_str()).await;
    }
    if let Some((name, _)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        let Some(flag) = flag_of(at.command, root, name) else { return Ok(BTreeSet::new()) };
        let all = values(session, flag.get_id().as_str()).await?;
        return Ok(all.into_iter().map(|value| format!("{name}={value}")).collect());
    }
    if last.starts_with('-') {
        let all = at.command.get_arguments().chain(root.get_arguments()).filter(|arg| !arg.is_hide_set());
        return Ok(all.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect());
    }
    let mut out = BTreeSet::new();
    if at.positional.is_empty() {
        let subs = at.command.get_subcommands().filter(|sub| !sub.is_hide_set());
        out.extend(subs.map(|sub| sub.get_name().to_owned()));
    }
    out.extend(arguments(session, at, last).await.unwrap_or_default());
    Ok(out)
}

async fn arguments(session: &Session, at: &Position<'_>, last: &str) -> Result<BTreeSet<String>> {
    match names(&at.path) {
        Names::Nothing => Ok(BTreeSet::new()),
        Names::Nodes => objects(session, "nodes", "").await,
        Names::Contexts if at.positional.is_empty() => contexts(session),
        Names::Contexts => Ok(BTreeSet::new()),
        Names::Pods | Names::Types if last.contains('/') => {
            let kind = last.split('/').next().unwrap_or_default();
            objects(session, kind, &format!("{kind}/")).await
        }
        Names::Pods if at.positional.is_empty() => objects(session, "pods", "").await,
        Names::Pods => Ok(BTreeSet::new()),
        Names::Types => match at.positional.first() {
            None => {
                let all = session.discovery().await?.preferred();
                Ok(all.iter().map(|resource| resource.full_plural()).collect())
            }
            Some(kind) if kind.contains(['/', ',']) => Ok(BTreeSet::new()),
            Some(kind) => objects(session, kind, "").await,
        },
    }
}

fn contexts(session: &Session) -> Result<BTreeSet<String>> {
    Ok(session.kubeconfig()?.contexts.into_iter().map(|context| context.name).collect())
}

async fn objects(session: &Session, kind: &str, prefix: &str) -> Result<BTreeSet<String>> {
    let resource = session.discovery().await?.find(kind)?;
    let namespace = if resource.namespaced { Some(session.namespace().await?) } else { None };
    let target = Target { resource, namespace, name: None };
    let items = select::list(session.rest().await?, &target, &Selectors::default()).await?;
    let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str());
    Ok(names.map(|name| format!("{prefix}{name}")).collect())
}

/// What a flag may be set to, where that is known.
async fn values(session: &Session, flag: &str) -> Result<BTreeSet<String>> {
    let fixed = |words: &[&str]| Ok(words.iter().map(|word| (*word).to_owned()).collect());
    match flag {
        "namespace" => objects(session, "namespaces", "").await,
        "context" => contexts(session),
        "cluster" => Ok(session.kubeconfig()?.clusters.into_iter().map(|cluster| cluster.name).collect()),
        "user" => Ok(session.kubeconfig()?.users.into_iter().map(|user| user.name).collect()),
        "output" => fixed(&[
            "json",
            "yaml",
            "name",
            "wide",
            "jsonpath=",
            "jsonpath-file=",
            "go-template=",
            "go-template-file=",
            "custom-columns=",
            "custom-columns-file=",
        ]),
        "dry-run" => fixed(&["client", "server", "none"]),
        "cascade" => fixed(&["background", "foreground", "orphan"]),
        "validate" => fixed(&["strict", "warn", "ignore"]),
        "profile" => fixed(&["legacy", "general", "baseline", "restricted", "netadmin", "sysadmin"]),
        _ => Ok(BTreeSet::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_understood() {
        let root = crate::cli::command("kubectl");
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line = words("-n web rollout status deployment/x");
        let at = position(&root, &line);
        assert_eq!(
            (at.path.as_slice(), at.positional.as_slice()),
            (&["rollout", "status"][..], &["deployment/x"][..])
        );
        let line = words("get pods -o");
        assert_eq!(position(&root, &line).flag.map(|flag| flag.get_id().as_str()), Some("output"));
        let line = words("get pods -w");
        assert!(position(&root, &line).flag.is_none(), "a switch takes no word");
        assert_eq!(names(&["rollout", "status"]), Names::Types);
    }
}
