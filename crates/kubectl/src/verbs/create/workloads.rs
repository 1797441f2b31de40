//! `create deployment`, `job`, `cronjob`.

use super::{Build, Kind, name, required};
use crate::error::{Result, fail};
use crate::flags::{self, int, list, number, split, text, value, words};
use crate::select;
use crate::session::Session;
use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

/// Words after `--`.
fn command() -> Arg {
    Arg::new("command").value_name("COMMAND").num_args(0..).last(true)
}

/// The name of a container from its image: the last segment of the path without tag and digest.
pub(crate) fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare = last.split(['@', ':']).next().unwrap_or(last);
    bare.replace('_', "-").to_lowercase()
}

pub(super) const DEPLOYMENT: Kind = Kind {
    name: "deployment",
    alias: "deploy",
    about: "Create a deployment",
    arguments: |it| {
        it.arg(list("image", "IMAGE", "The image; may be repeated"))
            .arg(number("replicas", "1", "How many pods").short('r'))
            .arg(number("port", "-1", "The port that the container listens on"))
            .arg(flags::args("NAME"))
            .arg(command())
    },
    build: Build::Pure(deployment),
    below: &[],
};

fn deployment(matches: &ArgMatches) -> Result<Value> {
    let name = name(matches)?;
    let images = split(matches, "image");
    if images.is_empty() {
        return fail("required flag(s) \"image\" not set");
    }
    let command = words(matches, "command");
    if images.len() > 1 && !command.is_empty() {
        return fail("cannot specify multiple --image options and command");
    }
    let mut containers: Vec<Value> = images
        .iter()
        .map(|image| json!({"image": image, "name": container_name(image), "resources": {}}))
        .collect();
    if !command.is_empty() {
        containers[0]["command"] = json!(command);
    }
    let port = int(matches, "port");
    if port >= 0 {
        containers[0]["ports"] = json!([{"containerPort": port}]);
    }
    let labels = json!({"app": name});
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": int(matches, "replicas"), "selector": {"matchLabels": labels}, "strategy": {},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
        "status": {},
    }))
}

pub(super) const JOB: Kind = Kind {
    name: "job",
    alias: "",
    about: "Create a job from an image, or from a cron job",
    arguments: |it| {
        it.arg(value("image", "IMAGE", "The image"))
            .arg(value("from", "cronjob/NAME", "The cron job to run now"))
            .arg(flags::args("NAME"))
            .arg(command())
    },
    build: Build::Look(|session, matches| Box::pin(job(session, matches))),
    below: &[],
};

fn pod_spec(name: &str, image: &str, command: &[String], restart: &str) -> Value {
    let mut container = json!({"image": image, "name": name, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({"containers": [container], "restartPolicy": restart})
}

async fn job(session: &Session, matches: &ArgMatches) -> Result<Value> {
    let name = name(matches)?;
    let command = words(matches, "command");
    let Some(from) = text(matches, "from") else {
        let Some(image) = text(matches, "image") else {
            return fail("either --image or --from must be specified");
        };
        return Ok(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"metadata": {}, "spec": pod_spec(&name, image, &command, "Never")}},
            "status": {},
        }));
    };
    if text(matches, "image").is_some() || !command.is_empty() {
        return fail("cannot specify --from together with --image or a command");
    }
    let source = select::one(session, &[from.to_owned()], "").await?;
    if source.resource.kind != "CronJob" {
        return fail(format!("from must be an existing cronjob, not {}", source.resource.full_kind()));
    }
    let cron = &source.value;
    let mut annotations = cron["spec"]["jobTemplate"]["metadata"]["annotations"].clone();
    if !annotations.is_object() {
        annotations = json!({});
    }
    annotations["cronjob.kubernetes.io/instantiate"] = "manual".into();
    let mut metadata = json!({
        "name": name, "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": "CronJob", "name": cron["metadata"]["name"],
            "uid": cron["metadata"]["uid"], "controller": true,
        }],
    });
    if cron["spec"]["jobTemplate"]["metadata"]["labels"].is_object() {
        metadata["labels"] = cron["spec"]["jobTemplate"]["metadata"]["labels"].clone();
    }
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
        "spec": cron["spec"]["jobTemplate"]["spec"], "status": {},
    }))
}

pub(super) const CRON_JOB: Kind = Kind {
    name: "cronjob",
    alias: "cj",
    about: "Create a cron job",
    arguments: |it| {
        it.arg(value("image", "IMAGE", "The image"))
            .arg(value("schedule", "CRON", "When to run, such as '*/5 * * * *'"))
            .arg(value("restart", "POLICY", "OnFailure or Never").default_value("OnFailure"))
            .arg(flags::args("NAME"))
            .arg(command())
    },
    build: Build::Pure(|matches| {
        let name = name(matches)?;
        let restart = text(matches, "restart").unwrap_or("OnFailure");
        let spec = pod_spec(&name, required(matches, "image")?, &words(matches, "command"), restart);
        Ok(json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {
                "jobTemplate": {"metadata": {"name": name}, "spec": {"template": {"metadata": {}, "spec": spec}}},
                "schedule": required(matches, "schedule")?,
            },
            "status": {},
        }))
    }),
    below: &[],
};
