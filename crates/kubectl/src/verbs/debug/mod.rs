//! `debug`: an ephemeral container in a pod, a changed copy of a pod, or a pod on a node.

mod copy;
mod node;
mod profile;

use super::exec::attach_to;
use super::{Group, Verb, wait};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, given, is_set, list, positional, switch, text, value, words};
use crate::select::{self, Found};
use crate::session::Session;
use crate::stream::Channels;
use clap::{Arg, ArgMatches};
use http::Method;
use profile::Profile;
use serde_json::{Value, json};
use std::hash::BuildHasher;
use std::time::Duration;

pub(crate) const VERB: Verb = Verb {
    name: "debug",
    group: Group::Debug,
    about: "Look into pods and nodes with a container of one's own",
    examples: "kubectl debug web -it --image=busybox --target=main
        kubectl debug web -it --copy-to=web-debug --container=main -- sh
        kubectl debug web --copy-to=web-debug --set-image='*=busybox'
        kubectl debug node/n1 -it --image=busybox",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(value("image", "IMAGE", "The image of the debugging container"))
            .arg(value("image-pull-policy", "POLICY", "Always, IfNotPresent or Never"))
            .arg(
                value("container", "NAME", "Name of the debugging container, or the one to change in a copy")
                    .short('c'),
            )
            .arg(value("target", "NAME", "Share this container's processes"))
            .arg(
                value("profile", "NAME", "legacy, general, baseline, restricted, netadmin or sysadmin")
                    .default_value("legacy"),
            )
            .arg(value("custom", "FILE", "A partial container to merge into the debugging container"))
            .arg(list("env", "NAME=VALUE", "A variable; may be repeated"))
            .arg(flag("arguments-only", "The words after -- are arguments, not the command"))
            .arg(value("copy-to", "NAME", "Debug a copy of the pod with this name"))
            .arg(list("set-image", "CONTAINER=IMAGE", "With --copy-to: change images"))
            .arg(switch("share-processes", true, "With --copy-to: containers see each other's processes"))
            .arg(flag("same-node", "With --copy-to: place the copy on the pod's node"))
            .arg(flag("replace", "With --copy-to: delete the pod"))
            .arg(flag("keep-labels", "With --copy-to: keep the labels"))
            .arg(flag("keep-annotations", "With --copy-to: keep the annotations"))
            .arg(flag("keep-liveness", "With --copy-to: keep liveness probes"))
            .arg(flag("keep-readiness", "With --copy-to: keep readiness probes"))
            .arg(flag("keep-startup", "With --copy-to: keep startup probes"))
            .arg(switch("keep-init-containers", true, "With --copy-to: keep init containers"))
            .arg(flag("stdin", "Keep standard input open, and attach").short('i'))
            .arg(flag("tty", "Standard input is a terminal").short('t'))
            .arg(flag("attach", "Attach when the container runs; on with -i"))
            .arg(flag("quiet", "Say nothing but what matters").short('q'))
            .arg(flags::args("POD | TYPE/NAME"))
            .arg(Arg::new("command").value_name("COMMAND").num_args(0..).last(true))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// How long a container may take to run before attaching gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the flags say.
struct Wish<'a> {
    matches: &'a ArgMatches,
    profile: Profile,
    command: Vec<String>,
    custom: Option<Value>,
}

impl Wish<'_> {
    fn set(&self, name: &str) -> bool {
        is_set(self.matches, name)
    }

    fn quiet(&self) -> bool {
        self.set("quiet")
    }

    fn attaches(&self) -> bool {
        if given(self.matches, "attach") { self.set("attach") } else { self.set("stdin") }
    }

    /// What the debugging container is whatever it is part of.
    fn container(&self, name: &str) -> Value {
        let mut container = json!({"name": name});
        if let Some(image) = text(self.matches, "image") {
            container["image"] = image.into();
        }
        if let Some(policy) = text(self.matches, "image-pull-policy") {
            container["imagePullPolicy"] = policy.into();
        }
        let variables: Vec<Value> = words(self.matches, "env")
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        if !variables.is_empty() {
            container["env"] = variables.into();
        }
        if !self.command.is_empty() {
            container[if self.set("arguments-only") { "args" } else { "command" }] = json!(self.command);
        }
        for flag in ["stdin", "tty"] {
            if self.set(flag) {
                container[flag] = true.into();
            }
        }
        container
    }

    /// Merges `--custom` into a container.
    fn customize(&self, container: &mut Value) {
        if let Some(custom) = &self.custom {
            machinery::patch::merge::merge(container, custom.clone());
        }
    }
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    check(matches)?;
    let name = text(matches, "profile").unwrap_or("legacy");
    let profile = Profile::parse(name).ok_or_else(|| message(format!("unknown profile: {name}")))?;
    let custom = match text(matches, "custom") {
        None => None,
        Some(file) => Some(machinery::codec::yaml::decode(&tokio::fs::read(file).await?)?.value),
    };
    let wish = Wish { matches, profile, command: words(matches, "command"), custom };
    if profile == Profile::Legacy && !wish.quiet() {
        session.streams.warn(
            "--profile=legacy is deprecated and will be removed in the future. It is recommended to explicitly specify a \
             profile, for example \"--profile=general\".",
        );
    }
    let args = positional(matches);
    let found = if !select::from_files(matches) {
        let mut all = Vec::new();
        for arg in &args {
            all.push(select::one(session, std::slice::from_ref(arg), "pods").await?);
        }
        all
    } else {
        select::live_of(session, matches).await?
    };
    let mut errors = Vec::new();
    for object in found {
        errors.extend(debug(session, &wish, object).await.err());
    }
    Error::all(errors)
}

fn check(matches: &ArgMatches) -> Result<()> {
    let copies = text(matches, "copy-to").is_some();
    if text(matches, "image").is_none() && !copies {
        return fail("you must specify --image when not using --copy-to.");
    }
    if copies
        && text(matches, "image").is_none()
        && words(matches, "set-image").is_empty()
        && words(matches, "command").is_empty()
    {
        return fail("you must specify --image, --set-image or command arguments.");
    }
    if positional(matches).is_empty() && !select::from_files(matches) {
        return fail("NAME or filename is required for debug");
    }
    if copies && text(matches, "target").is_some() {
        return fail("--target is incompatible with --copy-to. Use --share-processes instead.");
    }
    if !copies {
        for flag in [
            "replace",
            "same-node",
            "keep-labels",
            "keep-annotations",
            "keep-liveness",
            "keep-readiness",
            "keep-startup",
        ] {
            if is_set(matches, flag) {
                return fail(format!("--{flag} may only be used with --copy-to."));
            }
        }
        if !words(matches, "set-image").is_empty() {
            return fail("--set-image may only be used with --copy-to.");
        }
    }
    if is_set(matches, "tty") && !is_set(matches, "stdin") {
        return fail("-i/--stdin is required for containers with -t/--tty=true");
    }
    Ok(())
}

async fn debug(session: &Session, wish: &Wish<'_>, object: Found) -> Result<()> {
    let (pod, container) = match (object.resource.group.as_str(), object.resource.kind.as_str()) {
        ("", "Node") => node::run(session, wish, &object).await?,
        ("", "Pod") if text(wish.matches, "copy-to").is_some() => copy::run(session, wish, &object).await?,
        ("", "Pod") => ephemeral(session, wish, &object).await?,
        (_, kind) => return fail(format!("{:?} not supported by debug", kind)),
    };
    if wish.attaches() && !container.is_empty() {
        attach(session, wish, &pod, &container).await
    } else {
        Ok(())
    }
}

/// Five letters that no other container has.
fn suffixed(prefix: &str) -> String {
    let seed = std::hash::RandomState::new();
    let mut drawn = 0_u64;
    machinery::names::generate_name(prefix, |below| {
        drawn += 1;
        usize::try_from(seed.hash_one(drawn) % below.max(1) as u64).unwrap_or(0)
    })
}

/// The name of the debugging container; says so when it is made up.
fn container_name(session: &Session, wish: &Wish<'_>, pod: &Value) -> String {
    if let Some(name) = text(wish.matches, "container") {
        return name.to_owned();
    }
    let known = crate::pods::containers(pod);
    let mut name = suffixed("debugger-");
    while known.iter().any(|(other, _)| *other == name) {
        name = suffixed("debugger-");
    }
    if !wish.quiet() {
        session.streams.warn(&format!("Defaulting debug container name to {name}."));
    }
    name
}

async fn ephemeral(session: &Session, wish: &Wish<'_>, pod: &Found) -> Result<(Found, String)> {
    let target = text(wish.matches, "target");
    if let Some(target) = target
        && !wish.quiet()
    {
        session.streams.warn(&format!(
            "Targeting container {target:?}. If you don't see processes from this container it may be because the container \
             runtime doesn't support this feature."
        ));
    }
    let name = container_name(session, wish, &pod.value);
    let mut container = wish.container(&name);
    if let Some(target) = target {
        container["targetContainerName"] = target.into();
    }
    wish.profile.container(&mut container, profile::Style::Ephemeral);
    wish.customize(&mut container);
    let path = format!("{}/ephemeralcontainers", pod.path());
    let body = json!({"spec": {"ephemeralContainers": [container]}});
    let sent = session
        .rest()
        .await?
        .send(Method::PATCH, &path, "application/strategic-merge-patch+json", &body)
        .await;
    let value = sent.map_err(|error| match error.status() {
        // A server without the subresource answers for the resource, with an empty reason.
        Some(status) if status.is_not_found() && status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
            message("ephemeral containers are disabled for this cluster (error from server: \"the server could not find the requested resource\").")
        }
        _ => error,
    })?;
    Ok((Found { value, ..pod.clone() }, name))
}

/// Attaches as soon as the container runs; one that has ended meanwhile shows its log.
async fn attach(session: &Session, wish: &Wish<'_>, pod: &Found, container: &str) -> Result<()> {
    let state = |pod: &Value| -> Option<Value> {
        let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
        let mut all = lists.iter().filter_map(|list| pod["status"][*list].as_array()).flatten();
        all.find(|status| status["name"] == container).map(|status| status["state"].clone())
    };
    let begun = |pod: &Value| {
        state(pod).is_some_and(|state| state["running"].is_object() || state["terminated"].is_object())
    };
    let live = wait::until(session, pod, PATIENCE, begun).await?;
    let ended = state(&live).is_some_and(|state| state["terminated"].is_object());
    let pod = Found { value: live, ..pod.clone() };
    if ended {
        let path = client::http::url::Url::new(format!("{}/log", pod.path()))
            .with("container", Some(container))
            .into_string();
        return session.out(session.rest().await?.text(&path).await?);
    }
    let channels = Channels { stdin: wish.set("stdin"), tty: wish.set("tty") };
    attach_to(session, &pod, container, channels, wish.quiet()).await
}
