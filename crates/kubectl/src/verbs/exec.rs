//! `exec` and `attach`: streams into a container.

use super::{Group, Verb};
use crate::error::{Result, fail, message};
use crate::flags::{self, flag, is_set, positional, text, value, words};
use crate::pods::{container, pod_for};
use crate::select::{self, Found};
use crate::session::{Session, duration};
use crate::stream::{self, Channels};
use crate::terminal;
use clap::{Arg, ArgMatches, Command};
use client::http::url::Url;

pub(crate) const EXEC: Verb = Verb {
    name: "exec",
    group: Group::Debug,
    about: "Run a command in a container",
    examples: "kubectl exec web -- date
        kubectl exec -it web -c main -- sh
        kubectl exec deployment/web -- env",
    arguments: |command| {
        arguments(command)
            .args(flags::files())
            .arg(Arg::new("command").value_name("COMMAND").num_args(0..).last(true))
    },
    run: |session, matches| Box::pin(exec(session, matches)),
};

pub(crate) const ATTACH: Verb = Verb {
    name: "attach",
    group: Group::Debug,
    about: "Attach to a running container",
    examples: "kubectl attach web
        kubectl attach -it web -c main",
    arguments,
    run: |session, matches| Box::pin(attach(session, matches)),
};

fn arguments(command: Command) -> Command {
    command
        .arg(flag("stdin", "Pass standard input to the container").short('i'))
        .arg(flag("tty", "Standard input is a terminal").short('t'))
        .arg(value("container", "NAME", "Which container; the first, or the annotated default").short('c'))
        .arg(flag("quiet", "Print only what the container prints").short('q'))
        .arg(value("pod-running-timeout", "DURATION", "How long to wait for a pod").default_value("1m"))
        .arg(flags::args("POD | TYPE/NAME"))
}

async fn exec(session: &Session, matches: &ArgMatches) -> Result<()> {
    let mut args = positional(matches);
    let command = words(matches, "command");
    let files = select::manifests(session, matches).await?;
    args.extend(files.iter().map(Found::display));
    if args.is_empty() {
        return fail("pod, type/name or --filename must be specified");
    }
    if args.len() > 1 {
        return fail("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead");
    }
    if command.is_empty() {
        return fail("you must specify at least one command for the container");
    }
    let (pod, name) = target(session, matches, &args[0]).await?;
    let channels = channels(session, matches);
    let path = exec_path(&pod, &name, &command, channels);
    stream::run(session, &path, channels).await
}

/// The path of a command's streams.
pub(crate) fn exec_path(pod: &Found, container: &str, command: &[String], channels: Channels) -> String {
    let mut url = Url::new(format!("{}/exec", pod.path()));
    for word in command {
        url = url.with("command", Some(word));
    }
    streams(url, container, channels)
}

fn streams(url: Url, container: &str, channels: Channels) -> String {
    url.with("container", Some(container))
        .flag("stdin", channels.stdin)
        .flag("stdout", true)
        .flag("stderr", !channels.tty)
        .flag("tty", channels.tty)
        .into_string()
}

fn channels(session: &Session, matches: &ArgMatches) -> Channels {
    let stdin = is_set(matches, "stdin");
    // A terminal without input is none.
    let tty = is_set(matches, "tty") && stdin;
    if tty && !terminal::is_terminal() && !is_set(matches, "quiet") {
        session.streams.warn("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    Channels { stdin, tty }
}

async fn target(session: &Session, matches: &ArgMatches, argument: &str) -> Result<(Found, String)> {
    let wait = duration(text(matches, "pod-running-timeout").unwrap_or("1m"))?;
    let pod = pod_for(session, argument, wait).await?;
    let phase = pod.value["status"]["phase"].as_str().unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        return fail(format!("cannot exec into a container in a completed pod; current phase is {phase}"));
    }
    let name = container(session, &pod, text(matches, "container"), is_set(matches, "quiet"))?;
    Ok((pod, name))
}

async fn attach(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let [argument] = args.as_slice() else {
        return fail(
            "expected POD, TYPE/NAME, or TYPE NAME, got 0 arguments: one POD is a required argument for attach",
        );
    };
    let (pod, name) = target(session, matches, argument).await?;
    attach_to(session, &pod, &name, channels(session, matches), is_set(matches, "quiet")).await
}

/// Attaches to a container of a running pod.
pub(crate) async fn attach_to(
    session: &Session,
    pod: &Found,
    name: &str,
    mut channels: Channels,
    quiet: bool,
) -> Result<()> {
    let all = pod.value["spec"]["containers"].as_array().into_iter().flatten();
    let spec = all
        .chain(pod.value["spec"]["ephemeralContainers"].as_array().into_iter().flatten())
        .find(|container| container["name"] == name)
        .ok_or_else(|| message(format!("cannot attach to the init container {name}")))?;
    if channels.tty && spec["tty"] != true {
        channels.tty = false;
        if !quiet {
            session
                .streams
                .warn(&format!("error: Unable to use a TTY - container {name} did not allocate one"));
        }
    } else if !channels.tty && spec["tty"] == true {
        // The container has a terminal, so its two outputs are one.
        channels.tty = true;
    }
    if channels.stdin && channels.tty && !quiet {
        session.streams.warn("If you don't see a command prompt, try pressing enter.");
    }
    let path = streams(Url::new(format!("{}/attach", pod.path())), name, channels);
    stream::run(session, &path, channels).await
}
