//! `run`: makes a pod from an image, and may attach to it.

use super::common::Report;
use super::exec::attach_to;
use super::{Group, Verb, create, wait};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, list, positional, split, text, value, words};
use crate::rest::JSON;
use crate::select::{self, Found};
use crate::session::{Session, duration};
use crate::stream::Channels;
use clap::{Arg, ArgMatches};
use http::Method;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "run",
    group: Group::Basic,
    about: "Run an image in a pod",
    examples: "kubectl run web --image=nginx --port=80
        kubectl run -it --rm shell --image=busybox --restart=Never -- sh",
    arguments: |command| {
        command
            .arg(value("image", "IMAGE", "The image"))
            .arg(value("image-pull-policy", "POLICY", "Always, IfNotPresent or Never"))
            .arg(value("restart", "POLICY", "Always, OnFailure or Never").default_value("Always"))
            .arg(value("port", "PORT", "The port that the container listens on"))
            .arg(list("env", "NAME=VALUE", "A variable; may be repeated"))
            .arg(value("labels", "LABELS", "The pod's labels; run=NAME unless given").short('l'))
            .arg(list("annotations", "NAME=VALUE", "An annotation; may be repeated"))
            .arg(value("overrides", "JSON", "A merge patch for the pod"))
            .arg(flag("command", "The words after -- are the command, not its arguments"))
            .arg(flag("privileged", "Run with all privileges"))
            .arg(flag("expose", "Also make a service; needs --port"))
            .arg(flag("stdin", "Keep standard input open, and attach").short('i'))
            .arg(flag("tty", "Standard input is a terminal").short('t'))
            .arg(flag("attach", "Attach when the pod runs"))
            .arg(flag("rm", "Delete the pod afterwards"))
            .arg(flag("quiet", "Print only what the container prints").short('q'))
            .arg(value("pod-running-timeout", "DURATION", "How long to wait for the pod").default_value("1m"))
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-run"))
            .arg(flag("save-config", "Keep the manifest in the object"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .arg(flags::args("NAME"))
            .arg(Arg::new("words").value_name("ARGUMENT").num_args(0..).last(true))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

fn pairs(all: &[String]) -> Value {
    let pairs = all.iter().filter_map(|pair| pair.split_once('='));
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), value.into())).collect())
}

fn pod(matches: &ArgMatches, name: &str) -> Result<Value> {
    let Some(image) = text(matches, "image") else { return fail("required flag(s) \"image\" not set") };
    let mut container = json!({"image": image, "name": name, "resources": {}});
    let arguments = words(matches, "words");
    if !arguments.is_empty() {
        container[if is_set(matches, "command") { "command" } else { "args" }] = json!(arguments);
    }
    if let Some(port) = text(matches, "port") {
        let port: u16 = port.parse().map_err(|_| crate::error::message(format!("invalid port {port:?}")))?;
        container["ports"] = json!([{"containerPort": port}]);
    }
    let variables = words(matches, "env");
    if !variables.is_empty() {
        let all: Vec<Value> = variables
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        container["env"] = all.into();
    }
    if let Some(policy) = text(matches, "image-pull-policy") {
        container["imagePullPolicy"] = policy.into();
    }
    if is_set(matches, "privileged") {
        container["securityContext"] = json!({"privileged": true});
    }
    if is_set(matches, "stdin") {
        container["stdin"] = true.into();
        container["stdinOnce"] = true.into();
    }
    if is_set(matches, "tty") {
        container["tty"] = true.into();
    }
    let labels = split(matches, "labels");
    let labels = if labels.is_empty() { json!({"run": name}) } else { pairs(&labels) };
    let mut metadata = json!({"name": name, "labels": labels});
    let annotations = words(matches, "annotations");
    if !annotations.is_empty() {
        metadata["annotations"] = pairs(&annotations);
    }
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": text(matches, "restart")},
        "status": {},
    });
    if let Some(overrides) = text(matches, "overrides") {
        machinery::patch::merge::merge(&mut pod, serde_json::from_str(overrides)?);
    }
    Ok(pod)
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let [name] = args.as_slice() else { return fail("NAME is required for run") };
    let attach = is_set(matches, "stdin") || is_set(matches, "attach");
    if is_set(matches, "rm") && !attach {
        return fail("--rm should only be used for attached containers");
    }
    if is_set(matches, "expose") && text(matches, "port").is_none() {
        return fail("--port must be set when exposing a service");
    }
    let pod = pod(matches, name)?;
    let labels = pod["metadata"]["labels"].clone();
    let dry_run = Report::of(matches)?.dry_run != super::common::DryRun::None;
    if is_set(matches, "expose") {
        let port: u16 = text(matches, "port").and_then(|port| port.parse().ok()).unwrap_or(0);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ports": [{"port": port, "protocol": "TCP", "targetPort": port}], "selector": labels},
        });
        create::submit(session, matches, service).await?;
    }
    if !attach || dry_run {
        return create::submit(session, matches, pod).await;
    }
    let manifest = crate::manifest::Manifest { source: String::new(), value: pod };
    let mut made = select::place(session, manifest).await?;
    let path = made.resource.path(made.namespace.as_deref(), None);
    made.value = session.rest().await?.send(Method::POST, &path, JSON, &made.value).await?;
    let outcome = attached(session, matches, &made).await;
    if is_set(matches, "rm") {
        session.rest().await?.send(Method::DELETE, &made.path(), JSON, &Value::Null).await?;
        if !is_set(matches, "quiet") {
            let place = made.namespace.as_deref().unwrap_or_default();
            session.line(format!("pod {:?} deleted from {place} namespace", made.name))?;
        }
    }
    outcome
}

/// Attaches when the pod runs; one that has ended meanwhile shows its log. Ends as the container ended.
async fn attached(session: &Session, matches: &ArgMatches, made: &Found) -> Result<()> {
    let limit = duration(text(matches, "pod-running-timeout").unwrap_or("1m"))?;
    let phase = |value: &Value| value["status"]["phase"].as_str().unwrap_or_default().to_owned();
    let begun =
        wait::until(session, made, limit, |value| phase(value) != "Pending" && !phase(value).is_empty())
            .await?;
    let pod = Found { value: begun, ..made.clone() };
    let channels = Channels { stdin: is_set(matches, "stdin"), tty: is_set(matches, "tty") };
    let ended = |phase: &str| phase == "Succeeded" || phase == "Failed";
    if ended(&phase(&pod.value)) {
        session.out(session.rest().await?.text(&format!("{}/log", pod.path())).await?)?;
    } else {
        attach_to(session, &pod, &made.name, channels, is_set(matches, "quiet")).await?;
    }
    if text(matches, "restart") != Some("Never") {
        return Ok(());
    }
    let last = wait::until(session, made, limit, |value| ended(&phase(value))).await?;
    let code =
        last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64().unwrap_or(0);
    if code == 0 { Ok(()) } else { Err(Error::Exit(u8::try_from(code).unwrap_or(1))) }
}
