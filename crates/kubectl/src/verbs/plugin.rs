//! `plugin`, and what runs plugins: programs `kubectl-NAME` on `PATH`.

use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{flag, is_set};
use crate::session::Session;
use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) const VERB: Verb = Verb {
    name: "plugin",
    group: Group::Other,
    about: "Show plugins",
    examples: "kubectl plugin list
        kubectl plugin list --name-only",
    arguments: |command| {
        command.subcommand_required(true).arg_required_else_help(true).subcommand(
            Command::new("list")
                .about("Show all plugins on PATH")
                .arg(flag("name-only", "Leave out the directories")),
        )
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

const PREFIX: &str = "kubectl-";

fn directories() -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    for directory in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        if !directory.as_os_str().is_empty() && !out.contains(&directory) {
            out.push(directory);
        }
    }
    out
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((_, matches)) = matches.subcommand() else { return Ok(()) };
    let mut seen: Vec<(String, PathBuf)> = Vec::new();
    let (mut text, mut warnings) = (String::new(), Vec::new());
    for directory in directories() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        for name in names.into_iter().filter(|name| name.starts_with(PREFIX)) {
            let path = directory.join(&name);
            if path.is_dir() {
                continue;
            }
            let shown = if is_set(matches, "name-only") { name.clone() } else { path.display().to_string() };
            text.push_str(&format!("{shown}\n"));
            warnings.extend(warning(&name, &path, &seen));
            seen.push((name, path));
        }
    }
    if seen.is_empty() {
        return fail("unable to find any kubectl plugins in your PATH");
    }
    session.out(format!("The following compatible plugins are available:\n\n{text}"))?;
    for warning in &warnings {
        session.streams.warn(&format!("  - warning: {warning}"));
    }
    match warnings.len() {
        0 => Ok(()),
        1 => fail("one plugin warning was found"),
        many => fail(format!("{many} plugin warnings were found")),
    }
}

fn warning(name: &str, path: &Path, seen: &[(String, PathBuf)]) -> Option<String> {
    let command = name.strip_prefix(PREFIX)?.split('-').next()?;
    if super::VERBS.iter().any(|verb| verb.name == command) {
        return Some(format!("{name} overwrites existing command: \"kubectl {command}\""));
    }
    if !is_executable(path) {
        return Some(format!("{} identified as a kubectl plugin, but it is not executable", path.display()));
    }
    let (_, first) = seen.iter().find(|(known, _)| known == name)?;
    Some(format!("{} is overshadowed by a similarly named plugin: {}", path.display(), first.display()))
}

/// The plugin that words name, and how many of the words are its name. The longest name wins.
pub(crate) fn find(words: &[String]) -> Option<(PathBuf, usize)> {
    let names: Vec<String> =
        words.iter().take_while(|word| !word.starts_with('-')).map(|word| word.replace('-', "_")).collect();
    for count in (1..=names.len()).rev() {
        let name = format!("{PREFIX}{}", names[..count].join("-"));
        if name.contains('/') {
            continue;
        }
        if let Some(path) =
            directories().into_iter().map(|directory| directory.join(&name)).find(|path| is_executable(path))
        {
            return Some((path, count));
        }
    }
    None
}

/// Runs a plugin; ends as it ends.
pub(crate) async fn dispatch(program: &Path, arguments: &[OsString]) -> Result<()> {
    let status = tokio::process::Command::new(program).args(arguments).status().await;
    let status = status
        .map_err(|error| message(format!("failed to run the plugin {}: {error}", program.display())))?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(Error::Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}
