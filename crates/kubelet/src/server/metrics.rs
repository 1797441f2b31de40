//! `/metrics`, `/metrics/resource` and a small `/metrics/cadvisor`, in Prometheus' text format.

use super::stats::{node_cpu_nanos, node_working_set};
use super::typed;
use crate::kubelet::Kubelet;
use crate::model::{State, labels};
use crate::node::status::KUBELET_VERSION;
use component::serve::Response;
use cri::v1;
use http::StatusCode;
use machinery::Status;
use std::fmt::Write;
use std::sync::Arc;

/// An answer in the text format.
pub(super) fn text(body: &str) -> Response {
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body.to_owned())
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| {
                format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
            })
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
fn float(value: Option<&v1::UInt64Value>) -> f64 {
    value.map_or(0.0, |v| v.value as f64)
}

/// The kubelet's own.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
pub(super) fn own(kubelet: &Arc<Kubelet>) -> Response {
    let mut page = Page(String::new());
    let workers = kubelet.workers.list();
    page.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    page.sample("kubelet_node_name", &[("node", &kubelet.config.node_name)], 1.0);
    page.family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox");
    let runtimes: Vec<_> = workers.iter().filter_map(|w| w.runtime()).collect();
    let pods = runtimes.iter().filter(|r| r.ready_sandbox().is_some()).count();
    page.sample("kubelet_running_pods", &[], pods as f64);
    page.family("kubelet_running_containers", "gauge", "Number of containers currently running");
    for (state, name) in [
        (State::Created, "created"),
        (State::Running, "running"),
        (State::Exited, "exited"),
        (State::Unknown, "unknown"),
    ] {
        let count: usize =
            runtimes.iter().map(|r| r.containers.iter().filter(|c| c.state == state).count()).sum();
        page.sample("kubelet_running_containers", &[("container_state", name)], count as f64);
    }
    page.family("kubernetes_build_info", "gauge", "Version of this component.");
    page.sample("kubernetes_build_info", &[("git_version", KUBELET_VERSION)], 1.0);
    text(&page.0)
}

struct Usage {
    labels: [(&'static str, String); 3],
    stats: v1::ContainerStats,
}

async fn containers(kubelet: &Kubelet) -> Result<Vec<Usage>, Status> {
    let all = kubelet.runtime.container_stats().await.map_err(Status::internal)?;
    let usage = |stats: v1::ContainerStats| {
        let found = stats.attributes.clone().unwrap_or_default().labels;
        let label = |key: &str| found.get(key).cloned().unwrap_or_default();
        let labels = [
            ("container", label(labels::CONTAINER_NAME)),
            ("namespace", label(labels::POD_NAMESPACE)),
            ("pod", label(labels::POD_NAME)),
        ];
        Usage { labels, stats }
    };
    Ok(all.into_iter().map(usage).collect())
}

fn borrowed<'a>(labels: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    labels.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

fn cpu(usage: &Usage) -> f64 {
    float(usage.stats.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref())) / 1e9
}

fn working_set(usage: &Usage) -> f64 {
    float(usage.stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()))
}

/// What metrics-server reads.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
pub(super) async fn resource(kubelet: &Arc<Kubelet>) -> Result<Response, Status> {
    let containers = containers(kubelet).await?;
    let pods = kubelet.runtime.pod_stats().await.map_err(Status::internal)?;
    let mut page = Page(String::new());
    page.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    for usage in &containers {
        page.sample("container_cpu_usage_seconds_total", &borrowed(&usage.labels), cpu(usage));
    }
    page.family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
    );
    for usage in &containers {
        page.sample("container_memory_working_set_bytes", &borrowed(&usage.labels), working_set(usage));
    }
    page.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    page.sample("node_cpu_usage_seconds_total", &[], seconds(node_cpu_nanos()));
    page.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    page.sample("node_memory_working_set_bytes", &[], node_working_set() as f64);
    for (name, kind, help) in [
        ("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"),
        ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"),
    ] {
        page.family(name, kind, help);
        for pod in &pods {
            let metadata = pod.attributes.clone().unwrap_or_default().metadata.unwrap_or_default();
            let linux = pod.linux.clone().unwrap_or_default();
            let value = match kind {
                "counter" => float(linux.cpu.and_then(|c| c.usage_core_nano_seconds).as_ref()) / 1e9,
                _ => float(linux.memory.and_then(|m| m.working_set_bytes).as_ref()),
            };
            page.sample(name, &[("namespace", &metadata.namespace), ("pod", &metadata.name)], value);
        }
    }
    page.family(
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    page.sample("resource_scrape_error", &[], 0.0);
    Ok(text(&page.0))
}

/// Name, kind, help and value of a metric of containers.
type Family = (&'static str, &'static str, &'static str, fn(&Usage) -> f64);

/// The container metrics that dashboards ask for most.
pub(super) async fn cadvisor(kubelet: &Arc<Kubelet>) -> Result<Response, Status> {
    let containers = containers(kubelet).await?;
    let mut page = Page(String::new());
    let families: &[Family] = &[
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", cpu),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", working_set),
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |u| float(u.stats.memory.as_ref().and_then(|m| m.usage_bytes.as_ref())),
        ),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |u| {
            float(u.stats.memory.as_ref().and_then(|m| m.rss_bytes.as_ref()))
        }),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for usage in &containers {
            page.sample(name, &borrowed(&usage.labels), value(usage));
        }
    }
    Ok(text(&page.0))
}
