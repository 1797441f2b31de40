//! Rows of results, as a table or as JSON.

use serde_json::{Map, Value, json};
use std::time::Duration;

/// The results of a scenario.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    rows: Vec<Vec<(&'static str, Value)>>,
    /// Programs whose CPU time is told per operation: unlike a rate it hardly depends on what else runs.
    servers: Vec<String>,
    /// Their CPU time when the pass began.
    began: Duration,
    /// Our own then.
    own_began: Duration,
}

/// Latencies of one kind of operation.
#[derive(Debug, Default)]
pub(crate) struct Latencies(pub(crate) Vec<Duration>);

impl Latencies {
    /// The latency that `share` (0 to 1) of the operations did not exceed, in milliseconds.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let index = ((self.0.len() as f64 * share).ceil() as usize).clamp(1, self.0.len().max(1)) - 1;
        self.0.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

fn rounded(number: f64) -> Value {
    json!((number * 100.0).round() / 100.0)
}

impl Report {
    /// An empty report.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, rows: Vec::new(), servers: Vec::new(), began: Duration::ZERO, own_began: Duration::ZERO }
    }

    /// Tells the CPU time of these programs per operation.
    pub(crate) fn watch_servers(&mut self, programs: &[String]) {
        self.servers = programs.to_vec();
    }

    /// A pass begins.
    pub(crate) fn begin(&mut self) {
        self.began = crate::process::cpu(&self.servers);
        self.own_began = crate::process::own_cpu();
    }

    /// Adds a row of named values.
    pub(crate) fn row(&mut self, cells: Vec<(&'static str, Value)>) {
        if self.json {
            let object: Map<String, Value> =
                cells.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            println!("{}", Value::Object(object));
        }
        self.rows.push(cells);
    }

    /// Adds a row for operations that took `elapsed` together.
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn operations(&mut self, what: &str, elapsed: Duration, mut latencies: Latencies) {
        let rate = latencies.0.len() as f64 / elapsed.as_secs_f64();
        let cpu = crate::process::cpu(&self.servers).saturating_sub(self.began);
        let own = crate::process::own_cpu().saturating_sub(self.own_began);
        let mut cells = vec![
            ("operation", json!(what)),
            ("count", json!(latencies.0.len())),
            ("per second", rounded(rate)),
            ("p50 ms", rounded(latencies.percentile(0.50))),
            ("p90 ms", rounded(latencies.percentile(0.90))),
            ("p99 ms", rounded(latencies.percentile(0.99))),
        ];
        if !self.servers.is_empty() {
            let each = |cpu: Duration| rounded(cpu.as_secs_f64() * 1e6 / latencies.0.len().max(1) as f64);
            cells.push(("server CPU us", each(cpu)));
            cells.push(("client CPU us", each(own)));
        }
        self.row(cells);
    }

    /// Prints the table, unless the rows were printed as JSON already.
    pub(crate) fn print(&self) {
        let Some(first) = self.rows.first().filter(|_| !self.json) else { return };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let width = |column: usize| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|(_, value)| text(value).len());
            cells.chain([first[column].0.len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..first.len()).map(width).collect();
        let line = |cells: Vec<String>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("{}", padded.join("  ").trim_end());
        };
        line(first.iter().map(|(name, _)| (*name).to_owned()).collect());
        self.rows.iter().for_each(|row| line(row.iter().map(|(_, value)| text(value)).collect()));
    }
}
