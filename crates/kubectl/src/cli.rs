//! The command line: read from the table of verbs, parsed by clap, with upstream's words for what is wrong with it.

use crate::error::{Error, Result};
use crate::session::{Session, global_flags};
use crate::streams::Streams;
use crate::verbs::{Group, VERBS, Verb};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};
use std::ffi::OsString;

/// The whole command line.
pub(crate) fn command(program: &'static str) -> Command {
    let mut root = Command::new(program)
        .bin_name(program)
        .about("kubectl controls the Kubernetes cluster manager")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_version_flag(true)
        .infer_long_args(false)
        .max_term_width(110)
        .override_help(overview(program))
        .args(global_flags());
    for verb in VERBS {
        root = root.subcommand(verb_command(verb));
    }
    root
}

fn verb_command(verb: &'static Verb) -> Command {
    let command = Command::new(verb.name).about(verb.about).disable_version_flag(true);
    let command = if verb.examples.is_empty() {
        command
    } else {
        command.after_help(format!("Examples:\n{}", indented(verb.examples)))
    };
    (verb.arguments)(command)
}

fn indented(text: &str) -> String {
    text.trim().lines().map(|line| format!("  {}\n", line.trim())).collect()
}

/// What `kubectl` alone prints.
fn overview(program: &str) -> String {
    let mut text = "kubectl controls the Kubernetes cluster manager.\n".to_owned();
    for group in Group::ALL {
        text.push_str(&format!("\n{}:\n", group.title()));
        for verb in VERBS.iter().filter(|verb| verb.group == *group) {
            text.push_str(&format!("  {:<15} {}\n", verb.name, verb.about));
        }
    }
    text.push_str(&format!(
        "\nUsage:\n  {program} [flags] [command]\n\nUse \"{program} <command> --help\" for more information about a \
         command, and \"{program} options\" for the flags that every command knows.\n"
    ));
    text
}

/// Parses and runs a command line.
pub(crate) async fn run(arguments: Vec<OsString>, streams: &Streams) -> Result<()> {
    let builtin = arguments.first().is_some_and(|name| name.to_string_lossy().starts_with("windlass"));
    let program = if builtin { "windlass kubectl" } else { "kubectl" };
    if arguments.get(1).is_some_and(|word| word == "__complete") {
        return complete(&arguments, program, streams).await;
    }
    if let Some((path, rest)) = plugin(&arguments) {
        return crate::verbs::plugin::dispatch(&path, &rest).await;
    }
    let mut command = command(program);
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(&error, program, streams),
    };
    let Some((name, inner)) = matches.subcommand() else { return Ok(()) };
    if name == "options" {
        let mut only_flags = Command::new("options").args(global_flags()).disable_help_flag(true);
        return Ok(streams.out(only_flags.render_long_help().to_string())?);
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return Err(Error::Message(format!("unknown command {name:?} for {program:?}")));
    };
    let session = Session::new(streams.clone(), deepest(inner), builtin, has_own_user(inner))?;
    (verb.run)(&session, inner).await
}

/// The plugin that a command line names, and its arguments. Verbs of our own come first; of them only `create` lets plugins
/// in for kinds that it does not know.
fn plugin(arguments: &[OsString]) -> Option<(std::path::PathBuf, Vec<OsString>)> {
    let words: Vec<String> =
        arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let known = |name: &str, command: &Command| {
        command
            .get_subcommands()
            .any(|sub| sub.get_name() == name || sub.get_all_aliases().any(|alias| alias == name))
    };
    let first = words.first().filter(|word| !word.starts_with('-'))?;
    let root = command("kubectl");
    let own = ["help", "options"].contains(&first.as_str()) || known(first, &root);
    if own {
        let second = words.get(1).filter(|word| first == "create" && !word.starts_with('-'))?;
        let create = root.find_subcommand("create")?;
        if known(second, create) {
            return None;
        }
    }
    let (path, count) = crate::verbs::plugin::find(&words)?;
    let rest = arguments.iter().skip(1 + count).cloned().collect();
    (!own || count > 1).then_some((path, rest))
}

/// Answers a shell that completes a command line.
async fn complete(arguments: &[OsString], program: &'static str, streams: &Streams) -> Result<()> {
    let words: Vec<String> =
        arguments.iter().skip(2).map(|word| word.to_string_lossy().into_owned()).collect();
    // Only the flags that say which cluster is meant are read; everything else is still being written.
    let mut known = vec![OsString::from(program)];
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let plain = [
            "--kubeconfig",
            "--context",
            "--cluster",
            "--user",
            "--server",
            "-s",
            "--namespace",
            "-n",
            "--token",
        ];
        if plain.contains(&word.as_str()) {
            if let Some(value) = rest.next().filter(|value| !value.is_empty()) {
                known.push(format!("{word}={value}").into());
            }
        } else if plain.iter().any(|flag| word.starts_with(&format!("{flag}="))) && !word.ends_with('=') {
            known.push(word.into());
        }
    }
    let parser = Command::new("complete").args(global_flags()).ignore_errors(true);
    let matches = parser.try_get_matches_from(known).map_err(|error| Error::Plain(error.to_string()))?;
    let session = Session::new(streams.clone(), &matches, program != "kubectl", false)?;
    crate::verbs::complete(&session, &command(program), &words).await
}

/// Whether `--user` is a subject and not the kubeconfig's user.
fn has_own_user(matches: &ArgMatches) -> bool {
    matches.subcommand().is_some_and(|(name, inner)| {
        ["rolebinding", "clusterrolebinding", "subject"].contains(&name) || has_own_user(inner)
    })
}

/// The matches of the innermost subcommand: clap hands global flags down.
fn deepest(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| deepest(inner))
}

fn refused(error: &clap::Error, program: &str, streams: &Streams) -> Result<()> {
    let word = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let usage = usage.trim_start_matches("Usage:").trim();
    let called = usage.split_once(" [").map_or(usage, |(head, _)| head);
    let called = if called.is_empty() { program } else { called };
    let hint = format!("See '{called} --help' for usage.");
    Err(Error::Plain(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Ok(streams.out(error.render().to_string())?);
        }
        ErrorKind::UnknownArgument => {
            let name = word(ContextKind::InvalidArg);
            match name.strip_prefix("--") {
                Some(long) => format!("error: unknown flag: --{long}\n{hint}"),
                None if name.starts_with('-') => {
                    let letter = name.trim_start_matches('-');
                    format!("error: unknown shorthand flag: {letter:?} in {name}\n{hint}")
                }
                None => format!("error: unexpected argument: {name}\n{hint}"),
            }
        }
        ErrorKind::InvalidSubcommand => {
            format!("error: unknown command {:?} for {program:?}", word(ContextKind::InvalidSubcommand))
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            format!("error: {}\n{hint}", first.trim_start_matches("error: "))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{int, is_set, positional, text, words};

    fn parse(line: &str) -> (String, ArgMatches) {
        let matches = command("kubectl").try_get_matches_from(line.split(' ')).unwrap();
        let (name, inner) = matches.subcommand().unwrap();
        (name.to_owned(), inner.clone())
    }

    #[test]
    fn the_table_is_sound() {
        command("kubectl").debug_assert();
    }

    #[test]
    fn reads_what_upstream_reads() {
        let (_, get) = parse("kubectl -n web get pods -w -o wide x -A=false --kubeconfig k");
        assert_eq!(positional(&get), ["pods", "x"]);
        assert!(is_set(&get, "watch") && !is_set(&get, "all-namespaces"));
        assert_eq!((text(&get, "output"), text(&get, "namespace")), (Some("wide"), Some("web")));
        let (_, exec) = parse("kubectl exec -it web -c main -- sh -c ls -n");
        assert!(is_set(&exec, "stdin") && is_set(&exec, "tty"));
        assert_eq!(words(&exec, "command"), ["sh", "-c", "ls", "-n"]);
        let (_, logs) = parse("kubectl logs web --tail=-1 -f -p=false");
        assert_eq!(int(&logs, "tail"), -1);
        assert!(is_set(&logs, "follow") && !is_set(&logs, "previous"));
        let (_, label) = parse("kubectl label pods x a=b c- --overwrite");
        assert_eq!(positional(&label), ["pods", "x", "a=b", "c-"]);
    }

    #[test]
    fn says_what_is_wrong_with_a_command_line() {
        let refusal = |line: &str| {
            let error = command("kubectl").try_get_matches_from(line.split(' ')).unwrap_err();
            refused(&error, "kubectl", &Streams::process()).unwrap_err().text()
        };
        assert_eq!(
            refusal("kubectl get --foo"),
            "error: unknown flag: --foo\nSee 'kubectl get --help' for usage."
        );
        assert_eq!(refusal("kubectl frob"), "error: unknown command \"frob\" for \"kubectl\"");
    }
}
