//! What a server is: `version`, `api-versions`, `api-resources`, `cluster-info`.

use super::{Group, Verb};
use crate::error::{Result, fail};
use crate::flags::{self, flag, given, is_set, text, value};
use crate::print::tabs::Tabs;
use crate::print::{to_json, to_yaml};
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use serde_json::json;
use std::collections::BTreeSet;

pub(crate) const VERSION: Verb = Verb {
    name: "version",
    group: Group::Other,
    about: "Show the versions of the client and the server",
    examples: "kubectl version
        kubectl version --client -o yaml",
    arguments: |command| {
        command
            .arg(flag("client", "Only the client's"))
            .arg(value("output", "FORMAT", "json or yaml").short('o'))
    },
    run: |session, matches| Box::pin(version(session, matches)),
};

pub(crate) const API_VERSIONS: Verb = Verb {
    name: "api-versions",
    group: Group::Other,
    about: "Show the groups and versions that the server serves",
    examples: "kubectl api-versions",
    arguments: |command| command,
    run: |session, matches| Box::pin(api_versions(session, matches)),
};

pub(crate) const API_RESOURCES: Verb = Verb {
    name: "api-resources",
    group: Group::Other,
    about: "Show the resources that the server serves",
    examples: "kubectl api-resources
        kubectl api-resources --namespaced=false -o name
        kubectl api-resources --api-group=apps -o wide",
    arguments: |command| {
        command
            .arg(value("output", "FORMAT", "wide or name").short('o'))
            .arg(value("api-group", "GROUP", "Only this group"))
            .arg(flags::switch("namespaced", true, "Only resources that live in namespaces, or only others"))
            .arg(value("verbs", "VERBS", "Only resources that know these verbs"))
            .arg(value("categories", "NAMES", "Only resources in these categories"))
            .arg(value("sort-by", "FIELD", "name or kind"))
            .arg(flag("no-headers", "Leave out the headers"))
            .arg(flag("cached", "Accepted; nothing is cached").hide(true))
    },
    run: |session, matches| Box::pin(api_resources(session, matches)),
};

pub(crate) const CLUSTER_INFO: Verb = Verb {
    name: "cluster-info",
    group: Group::Cluster,
    about: "Show where the control plane and cluster services are",
    examples: "kubectl cluster-info
        kubectl cluster-info dump --output-directory=./dump",
    arguments: |command| command.subcommand(super::dump::command()),
    run: |session, matches| Box::pin(cluster_info(session, matches)),
};

/// The version of Kubernetes that this client speaks.
const CLIENT: &str = "v1.36.0";

async fn version(session: &Session, matches: &ArgMatches) -> Result<()> {
    let client = json!({
        "major": "1", "minor": "36", "gitVersion": format!("{CLIENT}+windlass-{}", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    });
    let mut all = json!({"clientVersion": client});
    let mut failed = None;
    if !is_set(matches, "client") {
        match session.rest().await?.get("/version").await {
            Ok(server) => all["serverVersion"] = server,
            Err(error) => failed = Some(error),
        }
    }
    match text(matches, "output") {
        Some("json") => session.out(to_json(&all))?,
        Some("yaml") => session.out(to_yaml(&all)?)?,
        Some(_) => return fail("--output must be 'yaml' or 'json'"),
        None => {
            for (label, field) in [("Client", "clientVersion"), ("Server", "serverVersion")] {
                if let Some(version) = all[field]["gitVersion"].as_str() {
                    session.line(format!("{label} Version: {version}"))?;
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn api_versions(session: &Session, _: &ArgMatches) -> Result<()> {
    let all: BTreeSet<String> =
        session.discovery().await?.all().iter().map(|resource| resource.api_version()).collect();
    session.out(all.iter().map(|version| format!("{version}\n")).collect::<String>())
}

async fn api_resources(session: &Session, matches: &ArgMatches) -> Result<()> {
    let mut all = session.discovery().await?.preferred();
    let list = |name: &str| -> Vec<String> {
        text(matches, name).into_iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
    };
    let (verbs, categories) = (list("verbs"), list("categories"));
    all.retain(|resource| {
        !resource.verbs.is_empty()
            && text(matches, "api-group").is_none_or(|group| resource.group == group)
            && (!given(matches, "namespaced") || resource.namespaced == is_set(matches, "namespaced"))
            && verbs.iter().all(|verb| resource.can(verb))
            && categories.iter().all(|category| resource.categories.contains(category))
    });
    match text(matches, "sort-by") {
        None => all.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
        Some("name") => all.sort_by(|a, b| a.plural.cmp(&b.plural)),
        Some("kind") => all.sort_by(|a, b| a.kind.cmp(&b.kind)),
        Some(_) => return fail("--sort-by accepts only name or kind"),
    }
    let wide = match text(matches, "output") {
        None => false,
        Some("wide") => true,
        Some("name") => {
            let mut names: Vec<String> = all.iter().map(|resource| resource.full_plural()).collect();
            if text(matches, "sort-by").is_none() {
                names.sort();
            }
            return session.out(names.iter().map(|name| format!("{name}\n")).collect::<String>());
        }
        Some(other) => return fail(format!("--output {other} is not available")),
    };
    let mut tabs = Tabs::list();
    if !is_set(matches, "no-headers") {
        let mut headers = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if wide {
            headers.extend(["VERBS", "CATEGORIES"]);
        }
        tabs.row(headers);
    }
    for resource in &all {
        let mut cells = vec![
            resource.plural.clone(),
            resource.short_names.join(","),
            resource.api_version(),
            resource.namespaced.to_string(),
            resource.kind.clone(),
        ];
        if wide {
            cells.extend([resource.verbs.join(","), resource.categories.join(",")]);
        }
        tabs.row(cells);
    }
    session.out(tabs.flush())
}

async fn cluster_info(session: &Session, matches: &ArgMatches) -> Result<()> {
    if let Some((_, matches)) = matches.subcommand() {
        return super::dump::run(session, matches).await;
    }
    let server = session.config().await?.server.clone();
    let resource = session.discovery().await?.find("services")?;
    let labels = "kubernetes.io/cluster-service=true";
    let url = Url::new(resource.path(Some("kube-system"), None)).with("labelSelector", Some(labels));
    let services = session.rest().await?.get(&url.into_string()).await?;
    session.line(format!("Kubernetes control plane is running at {server}"))?;
    for service in services["items"].as_array().into_iter().flatten() {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let shown = service["metadata"]["labels"]["kubernetes.io/name"].as_str().unwrap_or(name);
        let port = service["spec"]["ports"].as_array().and_then(|ports| ports.first());
        let port =
            port.and_then(|port| port["name"].as_str()).map(|port| format!(":{port}")).unwrap_or_default();
        let at = format!("{server}/api/v1/namespaces/kube-system/services/{name}{port}/proxy");
        session.line(format!("{shown} is running at {at}"))?;
    }
    session.line("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.")?;
    Ok(())
}
