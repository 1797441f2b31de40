//! `/metrics` in the Prometheus text format, under upstream's names.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Upper bounds of the duration buckets in seconds (upstream's, thinned).
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 2.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, Default)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

/// Counters of the server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Labels, Series>>,
    inflight: AtomicI64,
}

impl Metrics {
    /// A request begins; ends with the guard.
    pub(super) fn begin(&self) -> Inflight<'_> {
        self.inflight.fetch_add(1, Ordering::Relaxed);
        Inflight(self)
    }

    /// A request was answered.
    pub(super) fn observe(&self, info: &crate::request::RequestInfo, code: u16, took: Duration) {
        // Names of resources come from clients: only those that were found may make a series.
        let known = info.resource_request && code != 404;
        let part = |text: &str| if known { text.to_owned() } else { String::new() };
        let labels = Labels {
            verb: info.verb.to_uppercase(),
            group: part(&info.group),
            version: part(&info.version),
            resource: part(&info.resource),
            subresource: part(&info.subresource),
            code,
        };
        let seconds = took.as_secs_f64();
        let mut requests = self.requests.lock();
        let series = requests.entry(labels).or_default();
        series.count += 1;
        series.seconds += seconds;
        for (bucket, bound) in series.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// The text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let requests = self.requests.lock().clone();
        header(
            &mut out,
            "apiserver_request_total",
            "counter",
            "Requests by verb, resource and response code.",
        );
        for (labels, series) in &requests {
            let _ = writeln!(
                out,
                "apiserver_request_total{{code=\"{}\",component=\"apiserver\",dry_run=\"\",{}}} {}",
                labels.code,
                labels.text(),
                series.count
            );
        }
        let name = "apiserver_request_duration_seconds";
        header(&mut out, name, "histogram", "Response latency in seconds by verb and resource.");
        for (labels, series) in merge_codes(&requests) {
            let text = labels.text();
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                let _ =
                    writeln!(out, "{name}_bucket{{component=\"apiserver\",{text},le=\"{bound}\"}} {count}");
            }
            let _ =
                writeln!(out, "{name}_bucket{{component=\"apiserver\",{text},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(out, "{name}_sum{{component=\"apiserver\",{text}}} {}", series.seconds);
            let _ = writeln!(out, "{name}_count{{component=\"apiserver\",{text}}} {}", series.count);
        }
        let name = "apiserver_current_inflight_requests";
        header(&mut out, name, "gauge", "Requests that are being answered.");
        let _ = writeln!(out, "{name} {}", self.inflight.load(Ordering::Relaxed).max(0));
        out
    }
}

impl Labels {
    fn text(&self) -> String {
        let Self { verb, group, version, resource, subresource, .. } = self;
        format!(
            "group={group:?},resource={resource:?},scope=\"\",subresource={subresource:?},verb={verb:?},version={version:?}"
        )
    }
}

fn merge_codes(requests: &BTreeMap<Labels, Series>) -> BTreeMap<Labels, Series> {
    let mut merged: BTreeMap<Labels, Series> = BTreeMap::new();
    for (labels, series) in requests {
        let into = merged.entry(Labels { code: 0, ..labels.clone() }).or_default();
        into.count += series.count;
        into.seconds += series.seconds;
        for (a, b) in into.buckets.iter_mut().zip(series.buckets) {
            *a += b;
        }
    }
    merged
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A request that is being answered.
pub(super) struct Inflight<'a>(&'a Metrics);

impl Drop for Inflight<'_> {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}
