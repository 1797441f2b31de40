//! `top`: what nodes, pods and containers use, from the metrics API (`metrics.k8s.io`), which an add-on serves.

use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, positional, switch, text, value};
use crate::print::tabs::Tabs;
use crate::select::{self, Selectors, Target};
use crate::session::Session;
use clap::{ArgMatches, Command};
use machinery::quantity::Quantity;
use serde_json::Value;
use std::cmp::Reverse;

pub(crate) const VERB: Verb = Verb {
    name: "top",
    group: Group::Cluster,
    about: "Show what nodes and pods use",
    examples: "kubectl top node
        kubectl top pod -A --sort-by=memory
        kubectl top pod web --containers",
    arguments: |command| {
        let common = |command: Command| {
            command
                .arg(flags::selector())
                .arg(value("sort-by", "FIELD", "cpu or memory"))
                .arg(flag("no-headers", "Leave out the headers"))
                .arg(switch("use-protocol-buffers", true, "Accepted").hide(true))
                .arg(flags::args("NAME"))
        };
        let node = common(Command::new("node").visible_aliases(["nodes", "no"]).about("Show what nodes use"));
        let pod = common(Command::new("pod").visible_aliases(["pods", "po"]).about("Show what pods use"));
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                node.arg(flag("show-capacity", "Percentages of the capacity, not of what is allocatable"))
                    .arg(flag("show-swap", "Accepted").hide(true)),
            )
            .subcommand(
                pod.arg(flags::all_namespaces())
                    .arg(flags::field_selector())
                    .arg(flag("containers", "Show containers too"))
                    .arg(flag("sum", "Show the sum of all pods"))
                    .arg(flag("show-swap", "Accepted").hide(true)),
            )
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

const API: &str = "metrics.k8s.io";

/// CPU in millicores and memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    cpu: i64,
    memory: i64,
}

impl Usage {
    fn of(value: &Value) -> Self {
        let parsed = |name: &str| value[name].as_str().and_then(|text| Quantity::parse(text).ok());
        Self {
            cpu: parsed("cpu").map_or(0, |cpu| cpu.milli_value()),
            memory: parsed("memory").map_or(0, |memory| memory.value()),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }

    fn cells(self) -> [String; 2] {
        [format!("{}m", self.cpu), format!("{}Mi", self.memory / (1024 * 1024))]
    }

    /// The key to sort by, largest first.
    fn rank(self, by: Option<&str>) -> Reverse<i64> {
        Reverse(match by {
            Some("memory") => self.memory,
            Some(_) => self.cpu,
            None => 0,
        })
    }
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    if text(matches, "sort-by").is_some_and(|by| by != "cpu" && by != "memory") {
        return fail("--sort-by accepts only cpu or memory");
    }
    let served = session.discovery().await?.all().iter().any(|resource| resource.group == API);
    if !served {
        return fail("Metrics API not available");
    }
    if what == "node" { nodes(session, matches).await } else { pods(session, matches).await }
}

/// Metrics of nodes or pods, of one or of all that are meant.
async fn metrics(session: &Session, matches: &ArgMatches, plural: &str) -> Result<Vec<Value>> {
    let resource = session.discovery().await?.find(&format!("{plural}.{API}"))?;
    let args = positional(matches);
    let selectors = Selectors::of(matches);
    if args.len() > 1 {
        return fail(format!("expected one NAME, got {}", args.len()));
    }
    if !args.is_empty() && !selectors.is_empty() {
        return fail("only one of NAME or selector can be provided");
    }
    let everywhere = is_set(matches, "all-namespaces");
    let namespace = if resource.namespaced && !everywhere { Some(session.namespace().await?) } else { None };
    let target = Target { resource, namespace, name: args.first().cloned() };
    let (found, errors) = select::read(session.rest().await?, &[target], &selectors).await?;
    Error::all(errors)?;
    Ok(found.into_iter().map(|found| found.value).collect())
}

fn name(value: &Value) -> String {
    value["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

async fn nodes(session: &Session, matches: &ArgMatches) -> Result<()> {
    let mut found: Vec<(String, Usage)> = metrics(session, matches, "nodes")
        .await?
        .iter()
        .map(|node| (name(node), Usage::of(&node["usage"])))
        .collect();
    let by = text(matches, "sort-by");
    found.sort_by(|a, b| a.1.rank(by).cmp(&b.1.rank(by)).then_with(|| a.0.cmp(&b.0)));
    let resource = session.discovery().await?.find("nodes")?;
    let all = select::list(
        session.rest().await?,
        &Target { resource, namespace: None, name: None },
        &Selectors::default(),
    )
    .await?;
    let field = if is_set(matches, "show-capacity") { "capacity" } else { "allocatable" };
    let mut tabs = Tabs::list();
    if !is_set(matches, "no-headers") {
        tabs.row(["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
    }
    for (node, usage) in &found {
        let whole = all
            .iter()
            .find(|other| name(other) == *node)
            .map(|node| Usage::of(&node["status"][field]))
            .unwrap_or_default();
        let percent = |part: i64, whole: i64| {
            if whole == 0 {
                "<unknown>".to_owned()
            } else {
                format!("{}%", i128::from(part) * 100 / i128::from(whole))
            }
        };
        let [cpu, memory] = usage.cells();
        tabs.row([
            node.clone(),
            cpu,
            percent(usage.cpu, whole.cpu),
            memory,
            percent(usage.memory, whole.memory),
        ]);
    }
    // Nodes without metrics are shown, so that nobody thinks they are gone.
    for node in all.iter().map(name).filter(|node| {
        positional(matches).is_empty()
            && text(matches, "selector").is_none()
            && !found.iter().any(|(known, _)| known == node)
    }) {
        let unknown = || "<unknown>".to_owned();
        tabs.row([node, unknown(), unknown(), unknown(), unknown()]);
    }
    session.out(tabs.flush())
}

async fn pods(session: &Session, matches: &ArgMatches) -> Result<()> {
    let by = text(matches, "sort-by");
    let total = |pod: &Value| {
        let containers = pod["containers"].as_array().into_iter().flatten();
        containers.map(|container| Usage::of(&container["usage"])).fold(Usage::default(), Usage::plus)
    };
    let mut found = metrics(session, matches, "pods").await?;
    if found.is_empty() {
        let place = if is_set(matches, "all-namespaces") {
            String::new()
        } else {
            format!(" in {} namespace", session.namespace().await?)
        };
        session.streams.warn(&format!("No resources found{place}."));
        return Ok(());
    }
    let place =
        |pod: &Value| (pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(), name(pod));
    found.sort_by(|a, b| total(a).rank(by).cmp(&total(b).rank(by)).then_with(|| place(a).cmp(&place(b))));
    let (everywhere, containers) = (is_set(matches, "all-namespaces"), is_set(matches, "containers"));
    let mut tabs = Tabs::list();
    if !is_set(matches, "no-headers") {
        let mut headers = Vec::new();
        headers.extend(everywhere.then_some("NAMESPACE"));
        headers.extend(if containers { vec!["POD", "NAME"] } else { vec!["NAME"] });
        headers.extend(["CPU(cores)", "MEMORY(bytes)"]);
        tabs.row(headers);
    }
    let mut sum = Usage::default();
    for pod in &found {
        let (namespace, pod_name) = place(pod);
        let mut row = |middle: Vec<String>, usage: Usage| {
            let first = everywhere.then(|| namespace.clone());
            tabs.row(first.into_iter().chain(middle).chain(usage.cells()));
        };
        sum = sum.plus(total(pod));
        if containers {
            for container in pod["containers"].as_array().into_iter().flatten() {
                let its_name = container["name"].as_str().unwrap_or_default().to_owned();
                row(vec![pod_name.clone(), its_name], Usage::of(&container["usage"]));
            }
        } else {
            row(vec![pod_name], total(pod));
        }
    }
    if is_set(matches, "sum") {
        let columns = usize::from(everywhere) + usize::from(containers);
        let empty = || vec![String::new(); columns];
        tabs.row(empty().into_iter().chain(["".to_owned(), "________".to_owned(), "________".to_owned()]));
        let [cpu, memory] = sum.cells();
        tabs.row(empty().into_iter().chain([String::new(), cpu, memory]));
    }
    session.out(tabs.flush())
}
