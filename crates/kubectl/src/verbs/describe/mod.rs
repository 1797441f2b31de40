//! `describe`: everything about objects on one page, with their events. One row per kind in [`DESCRIBERS`]; other kinds are
//! shown field by field.

mod containers;
mod cron;
mod data;
mod generic;
mod network;
mod node;
mod pod;
mod policy;
mod quota;
pub(crate) mod rbac;
mod service;
mod storage;
mod volumes;
mod workloads;
mod writer;

pub(crate) use pod::template as pod_template;

use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, is_set, positional, switch};
use crate::select::{self, Found, Selectors, Target};
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use futures::future::BoxFuture;
use serde_json::Value;
use writer::Writer;

pub(crate) const VERB: Verb = Verb {
    name: "describe",
    group: Group::Debug,
    about: "Show details of objects, with their events",
    examples: "kubectl describe pod web
        kubectl describe deployments -l app=web
        kubectl describe node/n1",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .arg(flags::all_namespaces())
            .arg(switch("show-events", true, "Show the events about the object"))
            .arg(
                flags::value("chunk-size", "N", "Accepted; lists are always read in pages of 500").hide(true),
            )
            .arg(flags::args("TYPE NAME | TYPE/NAME | TYPE NAME-PREFIX"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// Writes what is known of an object; may look up what belongs to it.
type Describe = for<'a> fn(&'a Session, &'a Value, &'a mut Writer) -> BoxFuture<'a, Result<()>>;

const NETWORK: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Kinds that are shown without events, as upstream.
const EVENTLESS: &[&str] = &[
    "Secret",
    "Namespace",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
];

/// Group, kind, and what describes it.
const DESCRIBERS: &[(&str, &str, Describe)] = &[
    ("", "Pod", |session, object, out| Box::pin(pod::describe(session, object, out))),
    ("apps", "Deployment", |session, object, out| Box::pin(workloads::deployment(session, object, out))),
    ("apps", "ReplicaSet", |session, object, out| Box::pin(workloads::replica_set(session, object, out))),
    ("", "ReplicationController", |session, object, out| {
        Box::pin(workloads::replica_set(session, object, out))
    }),
    ("apps", "StatefulSet", |session, object, out| Box::pin(workloads::stateful_set(session, object, out))),
    ("apps", "DaemonSet", |session, object, out| Box::pin(workloads::daemon_set(session, object, out))),
    ("batch", "Job", |session, object, out| Box::pin(workloads::job(session, object, out))),
    ("", "Service", |session, object, out| Box::pin(service::describe(session, object, out))),
    ("", "Node", |session, object, out| Box::pin(node::describe(session, object, out))),
    ("", "Namespace", |session, object, out| Box::pin(data::namespace(session, object, out))),
    ("", "ConfigMap", |session, object, out| Box::pin(data::config_map(session, object, out))),
    ("", "Secret", |session, object, out| Box::pin(data::secret(session, object, out))),
    ("", "PersistentVolumeClaim", |session, object, out| Box::pin(storage::claim(session, object, out))),
    ("", "PersistentVolume", |session, object, out| Box::pin(storage::volume(session, object, out))),
    ("storage.k8s.io", "StorageClass", |session, object, out| Box::pin(storage::class(session, object, out))),
    ("batch", "CronJob", |session, object, out| Box::pin(cron::describe(session, object, out))),
    (NETWORK, "Ingress", |session, object, out| Box::pin(network::ingress(session, object, out))),
    (NETWORK, "IngressClass", |session, object, out| Box::pin(network::ingress_class(session, object, out))),
    (NETWORK, "NetworkPolicy", |session, object, out| Box::pin(network::policy(session, object, out))),
    ("", "Endpoints", |session, object, out| Box::pin(network::old_endpoints(session, object, out))),
    ("discovery.k8s.io", "EndpointSlice", |session, object, out| {
        Box::pin(network::slice(session, object, out))
    }),
    (RBAC, "Role", |session, object, out| Box::pin(rbac::role(session, object, out))),
    (RBAC, "ClusterRole", |session, object, out| Box::pin(rbac::role(session, object, out))),
    (RBAC, "RoleBinding", |session, object, out| Box::pin(rbac::binding(session, object, out))),
    (RBAC, "ClusterRoleBinding", |session, object, out| Box::pin(rbac::binding(session, object, out))),
    ("", "ServiceAccount", |session, object, out| Box::pin(rbac::service_account(session, object, out))),
    ("", "ResourceQuota", |session, object, out| Box::pin(quota::quota(session, object, out))),
    ("", "LimitRange", |session, object, out| Box::pin(quota::limit_range(session, object, out))),
    ("policy", "PodDisruptionBudget", |session, object, out| Box::pin(policy::budget(session, object, out))),
    ("autoscaling", "HorizontalPodAutoscaler", |session, object, out| {
        Box::pin(policy::autoscaler(session, object, out))
    }),
    ("scheduling.k8s.io", "PriorityClass", |session, object, out| {
        Box::pin(policy::priority_class(session, object, out))
    }),
];

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let rest = session.rest().await?;
    let args = positional(matches);
    let selectors = Selectors::of(matches);
    let targets = if select::from_files(matches) {
        let files = select::manifests(session, matches).await?;
        let target = |file: Found| Target {
            resource: file.resource,
            namespace: file.namespace,
            name: Some(file.name),
        };
        files.into_iter().map(target).collect()
    } else if args.is_empty() {
        return fail(
            "You must specify the type of resource to describe. Use \"kubectl api-resources\" for a complete list of supported resources.",
        );
    } else {
        select::resolve(session, &args, is_set(matches, "all-namespaces")).await?
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for target in targets {
        let (mut some, mut failed) = select::read(rest, std::slice::from_ref(&target), &selectors).await?;
        if failed.first().is_some_and(Error::is_not_found) {
            // A name that is not there may be the beginning of others.
            let some_prefixed = prefixed(session, &target).await?;
            if !some_prefixed.is_empty() {
                some = some_prefixed;
                failed.clear();
            }
        }
        found.append(&mut some);
        errors.append(&mut failed);
    }
    for (at, object) in found.iter().enumerate() {
        let separator = if at > 0 { "\n\n" } else { "" };
        let text = describe(session, object, is_set(matches, "show-events")).await?;
        session.out(format!("{separator}{text}"))?;
    }
    if found.is_empty() && errors.is_empty() {
        session.streams.warn(&format!("No resources found in {} namespace.", session.namespace().await?));
    }
    Error::all(errors)
}

async fn prefixed(session: &Session, target: &Target) -> Result<Vec<Found>> {
    let Some(prefix) = &target.name else { return Ok(Vec::new()) };
    let all = Target { name: None, ..target.clone() };
    let (found, _) = select::read(session.rest().await?, &[all], &Selectors::default()).await?;
    Ok(found.into_iter().filter(|found| found.name.starts_with(prefix.as_str())).collect())
}

async fn describe(session: &Session, object: &Found, events: bool) -> Result<String> {
    let mut out = Writer::default();
    let known = DESCRIBERS
        .iter()
        .find(|(group, kind, _)| *group == object.resource.group && *kind == object.resource.kind);
    match known {
        Some((_, _, describe)) => describe(session, &object.value, &mut out).await?,
        None => generic::describe(&object.value, &mut out),
    }
    let eventless = EVENTLESS.contains(&object.resource.kind.as_str());
    if events && !eventless {
        self::events(session, object, &mut out).await?;
    }
    Ok(out.finish())
}

/// The table of an object's events.
async fn events(session: &Session, object: &Found, out: &mut Writer) -> Result<()> {
    let resource = session.discovery().await?.find("events")?;
    let namespace = object.namespace.clone();
    // Nodes' events name the node for a UID, so the UID is no help there.
    let uid = object.value["metadata"]["uid"].as_str().filter(|_| object.resource.kind != "Node");
    let mut fields =
        format!("involvedObject.kind={},involvedObject.name={}", object.resource.kind, object.name);
    if let Some(namespace) = &namespace {
        fields.push_str(&format!(",involvedObject.namespace={namespace}"));
    }
    if let Some(uid) = uid {
        fields.push_str(&format!(",involvedObject.uid={uid}"));
    }
    let url = Url::new(resource.path(namespace.as_deref(), None)).with("fieldSelector", Some(&fields));
    let list = session.rest().await?.get(&url.into_string()).await?;
    let mut items = list["items"].as_array().cloned().unwrap_or_default();
    items.sort_by_key(|event| last_seen(event).to_owned());
    if items.is_empty() {
        out.line(0, "Events:\t<none>");
        return Ok(());
    }
    out.line(0, "Events:");
    out.line(1, "Type\tReason\tAge\tFrom\tMessage");
    out.line(1, "----\t------\t----\t----\t-------");
    for event in &items {
        let age = |text: &Value| writer::age(session, text.as_str());
        let count = event["count"].as_i64().or(event["series"]["count"].as_i64()).unwrap_or(1);
        let first =
            if event["firstTimestamp"].is_string() { &event["firstTimestamp"] } else { &event["eventTime"] };
        let when = if count > 1 {
            format!("{} (x{count} over {})", writer::age(session, Some(last_seen(event))), age(first))
        } else {
            age(first)
        };
        let from = event["source"]["component"].as_str().filter(|from| !from.is_empty());
        let from = from.or(event["reportingComponent"].as_str()).unwrap_or_default();
        let message = event["message"].as_str().unwrap_or_default().trim().replace('\n', " ");
        let word = |name: &str| event[name].as_str().unwrap_or_default();
        out.line(1, &format!("{}\t{}\t{when}\t{from}\t{message}", word("type"), word("reason")));
    }
    Ok(())
}

fn last_seen(event: &Value) -> &str {
    let series = event["series"]["lastObservedTime"].as_str();
    let plain = event["lastTimestamp"].as_str();
    series.or(plain).or(event["eventTime"].as_str()).or(event["firstTimestamp"].as_str()).unwrap_or_default()
}
