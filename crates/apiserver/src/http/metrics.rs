//! `/metrics` of requests and watches in the Prometheus text format, under upstream's names and labels.
//!
//! Labels come from clients, so only resources and subresources that are served make series of their own.

use crate::request::RequestInfo;
use api::{ResourceDef, ResourceTable};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the duration buckets in seconds: upstream's.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// What a request was about, borrowed from it: looking up a series copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Labels<'a> {
    group: &'a str,
    resource: &'a str,
    scope: &'static str,
    subresource: &'a str,
    verb: &'static str,
    version: &'a str,
}

/// [`Labels`] of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    group: Box<str>,
    resource: Box<str>,
    scope: &'static str,
    subresource: Box<str>,
    verb: &'static str,
    version: Box<str>,
}

impl Owned {
    fn labels(&self) -> Labels<'_> {
        Labels {
            group: &self.group,
            resource: &self.resource,
            scope: self.scope,
            subresource: &self.subresource,
            verb: self.verb,
            version: &self.version,
        }
    }
}

#[derive(Clone, Debug)]
struct Series {
    labels: Owned,
    dry_run: bool,
    code: u16,
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

/// Counters of the server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    hasher: RandomState,
    requests: Mutex<HashMap<u64, Vec<Series>>>,
    /// Requests that are being answered: reading, changing.
    inflight: [AtomicI64; 2],
    long: Mutex<BTreeMap<Owned, i64>>,
    watches: Mutex<BTreeMap<(String, String, String), Arc<AtomicU64>>>,
}

/// The verb that is reported: the method's, with upstream's words for what is more than that.
fn verb(info: &RequestInfo, is_apply: bool) -> &'static str {
    if info.resource_request
        && matches!(info.subresource.as_str(), "attach" | "exec" | "portforward" | "proxy")
    {
        return "CONNECT";
    }
    match info.verb.as_ref() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if is_apply => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        "options" => "OPTIONS",
        _ => "other",
    }
}

/// First segments of paths that are not about resources.
const SITE: [&str; 12] = [
    "/api", "/apis", "/configz", "/flagz", "/healthz", "/livez", "/logs", "/metrics", "/openapi", "/readyz",
    "/statusz", "/version",
];

fn labels<'a>(info: &'a RequestInfo, table: &ResourceTable, is_apply: bool) -> Labels<'a> {
    let verb = verb(info, is_apply);
    let none = Labels { group: "", resource: "", scope: "", subresource: "", verb, version: "" };
    if !info.resource_request {
        let end = info.path[1.min(info.path.len())..].find('/').map_or(info.path.len(), |at| at + 1);
        let known = SITE.iter().find(|known| **known == &info.path[..end]);
        return Labels { subresource: known.copied().unwrap_or_default(), ..none };
    }
    let Some(row) = table.find(&info.group, &info.version, &info.resource) else { return none };
    let sub = &info.subresource;
    let known = sub.is_empty() || row.subresources.iter().any(|known| known.name == *sub);
    Labels {
        group: &info.group,
        resource: &info.resource,
        scope: match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        },
        subresource: if known { sub } else { "" },
        verb,
        version: &info.version,
    }
}

impl Labels<'_> {
    fn owned(&self) -> Owned {
        Owned {
            group: self.group.into(),
            resource: self.resource.into(),
            scope: self.scope,
            subresource: self.subresource.into(),
            verb: self.verb,
            version: self.version.into(),
        }
    }

    fn text(&self) -> String {
        let Self { group, resource, scope, subresource, verb, version } = self;
        format!(
            "group={group:?},resource={resource:?},scope={scope:?},subresource={subresource:?},verb={verb:?},\
             version={version:?}"
        )
    }
}

impl Metrics {
    /// A request begins that is expected to end soon; it does with the guard.
    pub(super) fn begin(&self, info: &RequestInfo) -> Inflight<'_> {
        let reads = matches!(info.verb.as_ref(), "get" | "head" | "list" | "options" | "watch");
        let gauge = &self.inflight[usize::from(!reads)];
        gauge.fetch_add(1, Ordering::Relaxed);
        Inflight(gauge)
    }

    /// A request begins that may take as long as it likes; it ends with the guard.
    pub(super) fn begin_long(self: &Arc<Self>, info: &RequestInfo, table: &ResourceTable) -> LongRunning {
        let labels = labels(info, table, false).owned();
        *self.long.lock().entry(labels.clone()).or_default() += 1;
        LongRunning { metrics: self.clone(), labels }
    }

    /// The counter of events that watches of a resource were sent.
    pub(super) fn watch_events(&self, def: &ResourceDef) -> Arc<AtomicU64> {
        let gvk = &def.gvk;
        let key = (gvk.group.to_string(), gvk.version.to_string(), def.plural.to_string());
        self.watches.lock().entry(key).or_default().clone()
    }

    /// A request was answered.
    pub(super) fn observe(
        &self,
        info: &RequestInfo,
        table: &ResourceTable,
        is_apply: bool,
        code: u16,
        took: Duration,
    ) {
        let labels = labels(info, table, is_apply);
        let dry_run = info.query.get("dryRun") == Some("All");
        let seconds = took.as_secs_f64();
        let key = self.hasher.hash_one((labels, dry_run, code));
        let mut requests = self.requests.lock();
        let same = requests.entry(key).or_default();
        let is_it = |s: &Series| s.code == code && s.dry_run == dry_run && s.labels.labels() == labels;
        let at = same.iter().position(is_it).unwrap_or_else(|| {
            let labels = labels.owned();
            same.push(Series { labels, dry_run, code, count: 0, seconds: 0.0, buckets: [0; BUCKETS.len()] });
            same.len() - 1
        });
        if let Some(series) = same.get_mut(at) {
            series.add(1, seconds, BUCKETS.map(|bound| u64::from(seconds <= bound)));
        }
    }

    /// The text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut requests: Vec<Series> = self.requests.lock().values().flatten().cloned().collect();
        requests.sort_by(|a, b| (&a.labels, a.dry_run, a.code).cmp(&(&b.labels, b.dry_run, b.code)));
        let name = "apiserver_current_inflight_requests";
        header(
            &mut out,
            name,
            "gauge",
            "Requests that are being answered, by kind; long-running ones left out.",
        );
        for (kind, gauge) in ["readOnly", "mutating"].iter().zip(&self.inflight) {
            let _ = writeln!(out, "{name}{{request_kind={kind:?}}} {}", gauge.load(Ordering::Relaxed).max(0));
        }
        let name = "apiserver_longrunning_requests";
        header(&mut out, name, "gauge", "Long-running requests that are being answered.");
        for (labels, count) in &*self.long.lock() {
            let _ = writeln!(out, "{name}{{component=\"apiserver\",{}}} {count}", labels.labels().text());
        }
        durations(&mut out, &requests);
        let name = "apiserver_request_total";
        header(&mut out, name, "counter", "Requests by what they were about and response code.");
        for series in &requests {
            let (code, text) = (series.code, series.labels.labels().text());
            let dry_run = dry_run(series.dry_run);
            let labels = format!("code=\"{code}\",component=\"apiserver\",dry_run={dry_run:?},{text}");
            let _ = writeln!(out, "{name}{{{labels}}} {}", series.count);
        }
        let name = "apiserver_watch_events_total";
        header(&mut out, name, "counter", "Events sent to watches.");
        for ((group, version, resource), count) in &*self.watches.lock() {
            let labels = format!("group={group:?},resource={resource:?},version={version:?}");
            let _ = writeln!(out, "{name}{{{labels}}} {}", count.load(Ordering::Relaxed));
        }
        out
    }
}

impl Series {
    fn add(&mut self, count: u64, seconds: f64, buckets: [u64; BUCKETS.len()]) {
        self.count += count;
        self.seconds += seconds;
        for (into, more) in self.buckets.iter_mut().zip(buckets) {
            *into += more;
        }
    }
}

fn dry_run(is: bool) -> &'static str {
    if is { "All" } else { "" }
}

/// The histogram of latencies, which does not tell response codes apart. `requests` are sorted.
fn durations(out: &mut String, requests: &[Series]) {
    let name = "apiserver_request_duration_seconds";
    header(out, name, "histogram", "Response latency in seconds by what the request was about.");
    for same in requests.chunk_by(|a, b| (&a.labels, a.dry_run) == (&b.labels, b.dry_run)) {
        let Some((first, rest)) = same.split_first() else { continue };
        let mut all = first.clone();
        rest.iter().for_each(|series| all.add(series.count, series.seconds, series.buckets));
        let text = all.labels.labels().text();
        let text = format!("component=\"apiserver\",dry_run={:?},{text}", dry_run(all.dry_run));
        for (bound, count) in BUCKETS.iter().zip(all.buckets) {
            let _ = writeln!(out, "{name}_bucket{{{text},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{{text},le=\"+Inf\"}} {}", all.count);
        let _ = writeln!(out, "{name}_sum{{{text}}} {}", all.seconds);
        let _ = writeln!(out, "{name}_count{{{text}}} {}", all.count);
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A request that is being answered.
pub(super) struct Inflight<'a>(&'a AtomicI64);

impl Drop for Inflight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A long-running request that is being answered.
pub(super) struct LongRunning {
    metrics: Arc<Metrics>,
    labels: Owned,
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        if let Some(count) = self.metrics.long.lock().get_mut(&self.labels) {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn only_what_is_served_makes_series() {
        let table = ResourceTable::shared();
        let of = |method: &str, uri: &str| labels(&info(method, uri), table, false).text();
        let pods = |scope: &str, sub: &str, verb: &str| {
            format!(
                "group=\"\",resource=\"pods\",scope=\"{scope}\",subresource=\"{sub}\",verb=\"{verb}\",version=\"v1\""
            )
        };
        assert_eq!(of("GET", "/api/v1/namespaces/a/pods/b"), pods("resource", "", "GET"));
        assert_eq!(of("GET", "/api/v1/namespaces/a/pods"), pods("namespace", "", "LIST"));
        assert_eq!(of("GET", "/api/v1/pods?watch=1"), pods("cluster", "", "WATCH"));
        assert_eq!(of("POST", "/api/v1/namespaces/a/pods/b/exec"), pods("resource", "exec", "CONNECT"));
        assert_eq!(of("PUT", "/api/v1/namespaces/a/pods/b/random"), pods("resource", "", "PUT"));
        let none = "group=\"\",resource=\"\",scope=\"\",subresource=\"\",verb=\"LIST\",version=\"\"";
        assert_eq!(of("GET", "/apis/random/v1/things"), none);
        assert!(of("GET", "/healthz/ping").contains("subresource=\"/healthz\""));
        assert!(of("BREW", "/random").contains("subresource=\"\",verb=\"other\""));
    }

    #[test]
    fn latencies_of_all_codes_are_one_histogram() {
        let (metrics, table) = (Metrics::default(), ResourceTable::shared());
        let get = info("GET", "/api/v1/namespaces/a/pods/b");
        metrics.observe(&get, table, false, 200, Duration::from_millis(30));
        metrics.observe(&get, table, false, 404, Duration::from_millis(3));
        let text = metrics.render();
        let line = |name: &str, more: &str, value: &str| {
            format!(
                "\n{name}{{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"resource\",\
                 subresource=\"\",verb=\"GET\",version=\"v1\"{more}}} {value}\n"
            )
        };
        let name = "apiserver_request_duration_seconds";
        assert!(text.contains(&line(&format!("{name}_bucket"), ",le=\"0.005\"", "1")), "{text}");
        assert!(text.contains(&line(&format!("{name}_bucket"), ",le=\"0.05\"", "2")), "{text}");
        assert!(text.contains(&line(&format!("{name}_count"), "", "2")), "{text}");
        assert!(text.contains("apiserver_request_total{code=\"404\","), "{text}");
    }
}
