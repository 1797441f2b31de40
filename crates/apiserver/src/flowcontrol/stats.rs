//! Counters per FlowSchema and priority level, under upstream's names (`apiserver_flowcontrol_*`).
//!
//! Counting is atomic additions, no lock: every request passes here. Deliberately absent: the gauges that upstream
//! samples every nanosecond (`*_utilization`, `read_vs_write_current_requests`) and the internals of its queues.

use super::level::Refusal;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in seconds.
const SECONDS: [f64; 12] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SEATS: [f64; 4] = [1.0, 2.0, 4.0, 10.0];

/// A histogram; the last bucket is beyond every bound.
pub(super) struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    /// In millionths.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            buckets: [const { AtomicU64::new(0) }; N],
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: f64) {
        let at = self.bounds.iter().position(|bound| value <= *bound);
        at.map_or(&self.beyond, |at| &self.buckets[at]).fetch_add(1, Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Relaxed);
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        let mut count = 0;
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            count += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        count += self.beyond.load(Relaxed);
        let sum = self.sum.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// The counters of one FlowSchema in one priority level.
pub(super) struct Stats {
    dispatched: AtomicU64,
    rejected: [AtomicU64; 4],
    executing: AtomicI64,
    seats: AtomicI64,
    queued: AtomicI64,
    waited: Histogram<12>,
    waited_in_vain: Histogram<12>,
    ran: Histogram<12>,
    lengths: Histogram<8>,
    estimated: Histogram<4>,
}

const REASONS: [(Refusal, &str); 4] = [
    (Refusal::QueueFull, "queue-full"),
    (Refusal::ConcurrencyLimit, "concurrency-limit"),
    (Refusal::TimeOut, "time-out"),
    (Refusal::Cancelled, "cancelled"),
];

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            dispatched: AtomicU64::new(0),
            rejected: [const { AtomicU64::new(0) }; 4],
            executing: AtomicI64::new(0),
            seats: AtomicI64::new(0),
            queued: AtomicI64::new(0),
            waited: Histogram::new(&SECONDS),
            waited_in_vain: Histogram::new(&SECONDS),
            ran: Histogram::new(&SECONDS),
            lengths: Histogram::new(&LENGTHS),
            estimated: Histogram::new(&SEATS),
        }
    }

    /// A request comes, taken to be this wide.
    pub(super) fn estimated(&self, width: u32) {
        self.estimated.observe(f64::from(width));
    }

    /// A request waits in a queue of this length.
    pub(super) fn queued(&self, length: usize) {
        self.queued.fetch_add(1, Relaxed);
        self.lengths.observe(length as f64);
    }

    /// It does not wait any more.
    pub(super) fn unqueued(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    /// A request starts.
    pub(super) fn started(&self, width: u32, waited: Duration) {
        self.dispatched.fetch_add(1, Relaxed);
        self.executing.fetch_add(1, Relaxed);
        self.seats.fetch_add(i64::from(width), Relaxed);
        self.waited.observe(waited.as_secs_f64());
    }

    /// It was answered.
    pub(super) fn ended(&self, width: u32, ran: Duration) {
        self.executing.fetch_sub(1, Relaxed);
        self.seats.fetch_sub(i64::from(width), Relaxed);
        self.ran.observe(ran.as_secs_f64());
    }

    /// Requests let through, refused, timed out and cancelled.
    pub(super) fn totals(&self) -> [u64; 4] {
        let [full, limit, late, cancelled] = &self.rejected;
        let refused = full.load(Relaxed) + limit.load(Relaxed);
        [self.dispatched.load(Relaxed), refused, late.load(Relaxed), cancelled.load(Relaxed)]
    }

    /// A request is refused.
    pub(super) fn refused(&self, why: Refusal, waited: Duration) {
        if let Some(at) = REASONS.iter().position(|(reason, _)| *reason == why) {
            self.rejected[at].fetch_add(1, Relaxed);
        }
        self.waited_in_vain.observe(waited.as_secs_f64());
    }
}

/// Labels that name a schema and its level, and their counters.
pub(super) type Labelled = ((String, String), std::sync::Arc<Stats>);

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The text of all of them. Keys are schema and level.
pub(super) fn render(out: &mut String, all: &[Labelled]) {
    const P: &str = "apiserver_flowcontrol_";
    let labels: Vec<String> = all
        .iter()
        .map(|((schema, level), _)| format!("flow_schema={schema:?},priority_level={level:?}"))
        .collect();
    let each = || labels.iter().zip(all.iter().map(|(_, stats)| stats));
    let name = format!("{P}rejected_requests_total");
    head(out, &name, "counter", "Requests that were refused, by reason.");
    for (labels, stats) in each() {
        for ((_, reason), count) in REASONS.iter().zip(&stats.rejected) {
            let count = count.load(Relaxed);
            if count > 0 {
                let _ = writeln!(out, "{name}{{{labels},reason={reason:?}}} {count}");
            }
        }
    }
    let name = format!("{P}dispatched_requests_total");
    head(out, &name, "counter", "Requests that were let through.");
    for (labels, stats) in each() {
        let _ = writeln!(out, "{name}{{{labels}}} {}", stats.dispatched.load(Relaxed));
    }
    type Read = fn(&Stats) -> i64;
    let gauges: [(&str, &str, Read); 3] = [
        ("current_executing_requests", "Requests that run now.", |s| s.executing.load(Relaxed)),
        ("current_executing_seats", "Seats that requests hold now.", |s| s.seats.load(Relaxed)),
        ("current_inqueue_requests", "Requests that wait now.", |s| s.queued.load(Relaxed)),
    ];
    for (name, help, read) in gauges {
        let name = format!("{P}{name}");
        head(out, &name, "gauge", help);
        for (labels, stats) in each() {
            let _ = writeln!(out, "{name}{{{labels}}} {}", read(stats).max(0));
        }
    }
    let name = format!("{P}request_wait_duration_seconds");
    head(out, &name, "histogram", "How long requests waited.");
    for (labels, stats) in each() {
        stats.waited.render(out, &name, &format!("execute=\"true\",{labels}"));
        stats.waited_in_vain.render(out, &name, &format!("execute=\"false\",{labels}"));
    }
    let name = format!("{P}request_execution_seconds");
    head(out, &name, "histogram", "How long requests ran.");
    each().for_each(|(labels, stats)| stats.ran.render(out, &name, &format!("{labels},type=\"regular\"")));
    let name = format!("{P}request_queue_length_after_enqueue");
    head(out, &name, "histogram", "Length of its queue as each request saw it.");
    each().for_each(|(labels, stats)| stats.lengths.render(out, &name, labels));
    let name = format!("{P}work_estimated_seats");
    head(out, &name, "histogram", "Seats that requests were taken to need.");
    each().for_each(|(labels, stats)| stats.estimated.render(out, &name, labels));
}
