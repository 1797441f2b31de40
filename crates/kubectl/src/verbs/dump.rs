//! `cluster-info dump`: objects and logs for a look at what is wrong, to standard output or into files.

use crate::error::Result;
use crate::flags::{self, is_set, split, text, value};
use crate::print::{Output, without_managed_fields};
use crate::session::Session;
use clap::{ArgMatches, Command};
use client::http::url::Url;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is dumped of each namespace: resource and file.
const KINDS: &[(&str, &str)] = &[
    ("events", "events"),
    ("replicationcontrollers", "replication-controllers"),
    ("services", "services"),
    ("daemonsets.apps", "daemonsets"),
    ("deployments.apps", "deployments"),
    ("replicasets.apps", "replicasets"),
    ("pods", "pods"),
];

pub(super) fn command() -> Command {
    Command::new("dump")
        .about("Dump objects and logs for a look at what is wrong")
        .args(flags::output())
        .arg(flags::all_namespaces())
        .arg(flags::list(
            "namespaces",
            "NAMES",
            "Which namespaces; the current one and kube-system unless given",
        ))
        .arg(value("output-directory", "DIR", "Write files below this directory; - for standard output"))
        .arg(flags::flag("show-managed-fields", "Show who owns which fields"))
        .arg(
            value("pod-running-timeout", "DURATION", "Accepted; logs of pods that do not run are read too")
                .hide(true),
        )
}

struct Dump<'a> {
    session: &'a Session,
    output: Output,
    directory: Option<PathBuf>,
    extension: &'static str,
    managed: bool,
}

pub(super) async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let output = match Output::of(matches, false)? {
        Output::Human { .. } => Output::Json,
        output => output,
    };
    let extension = match output {
        Output::Json => ".json",
        Output::Yaml => ".yaml",
        _ => ".txt",
    };
    let directory = text(matches, "output-directory").filter(|dir| *dir != "-").map(PathBuf::from);
    let dump =
        Dump { session, output, directory, extension, managed: is_set(matches, "show-managed-fields") };
    let nodes = dump.list("nodes", None).await?;
    dump.write(Path::new("nodes"), nodes)?;
    for namespace in namespaces(session, matches).await? {
        dump.namespace(&namespace).await?;
    }
    if let Some(directory) = &dump.directory {
        session.line(format!("Cluster info dumped to {}", directory.display()))?;
    }
    Ok(())
}

async fn namespaces(session: &Session, matches: &ArgMatches) -> Result<Vec<String>> {
    if is_set(matches, "all-namespaces") {
        let path = session.discovery().await?.find("namespaces")?.path(None, None);
        let all = session.rest().await?.get(&path).await?;
        let names = all["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["metadata"]["name"].as_str());
        return Ok(names.map(str::to_owned).collect());
    }
    let asked = split(matches, "namespaces");
    if !asked.is_empty() {
        return Ok(asked);
    }
    let mut out = vec!["kube-system".to_owned()];
    let current = session.namespace().await?;
    if !out.contains(&current) {
        out.push(current);
    }
    Ok(out)
}

impl Dump<'_> {
    async fn list(&self, resource: &str, namespace: Option<&str>) -> Result<Value> {
        let resource = self.session.discovery().await?.find(resource)?;
        let mut list = self.session.rest().await?.get(&resource.path(namespace, None)).await?;
        for item in list["items"].as_array_mut().into_iter().flatten() {
            item["apiVersion"] = resource.api_version().into();
            item["kind"] = resource.kind.clone().into();
        }
        if !self.managed {
            without_managed_fields(&mut list);
        }
        Ok(list)
    }

    fn write(&self, name: &Path, value: Value) -> Result<()> {
        let text = self.output.object(&value)?;
        let Some(directory) = &self.directory else { return self.session.out(text) };
        let mut path = directory.join(name).into_os_string();
        path.push(self.extension);
        let path = PathBuf::from(path);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        Ok(std::fs::write(path, text)?)
    }

    async fn namespace(&self, namespace: &str) -> Result<()> {
        let mut pods = Value::Null;
        for (resource, file) in KINDS {
            let list = self.list(resource, Some(namespace)).await?;
            if *resource == "pods" {
                pods = list.clone();
            }
            self.write(&Path::new(namespace).join(file), list)?;
        }
        let rest = self.session.rest().await?;
        let path = self.session.discovery().await?.find("pods")?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let mut log = Vec::new();
            for container in container_names(pod) {
                let url = Url::new(format!("{}/log", path.path(Some(namespace), Some(name))))
                    .with("container", Some(&container));
                log.extend(
                    format!("==== START logs for container {container} of pod {namespace}/{name} ====\n")
                        .into_bytes(),
                );
                match rest.text(&url.into_string()).await {
                    Ok(text) => log.extend(text),
                    // A container that has not begun has no log; the others' still matter.
                    Err(error) => log.extend(format!("Request log error: {error}\n").into_bytes()),
                }
                log.extend(
                    format!("==== END logs for container {container} of pod {namespace}/{name} ====\n")
                        .into_bytes(),
                );
            }
            match &self.directory {
                None => self.session.out(log)?,
                Some(directory) => {
                    let place = directory.join(namespace).join(name);
                    std::fs::create_dir_all(&place)?;
                    std::fs::write(place.join("logs.txt"), log)?;
                }
            }
        }
        Ok(())
    }
}

fn container_names(pod: &Value) -> Vec<String> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let all = lists.iter().filter_map(|list| pod["spec"][*list].as_array()).flatten();
    all.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
}
