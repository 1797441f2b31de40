//! `idle`: resident memory and CPU of processes over a time, by the name of their program.

use crate::process::sample;
use crate::report::Report;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Names of programs whose processes are measured, by the file they were started from
    #[arg(long, default_value = "windlass", value_delimiter = ',')]
    programs: Vec<String>,
    /// Seconds to look
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs the scenario.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let before = sample(&options.programs);
    if before.is_empty() {
        bail!("no process of {} runs", options.programs.join(", "));
    }
    let start = Instant::now();
    let (_hold, wait) = std::sync::mpsc::channel::<()>();
    // Nothing is ever sent: this is a bounded wait.
    let _ = wait.recv_timeout(Duration::from_secs(options.seconds));
    let after = sample(&options.programs);
    let elapsed = start.elapsed().as_secs_f64();
    let (mut rss, mut pss, mut cpu) = (0, 0, 0.0);
    for (pid, now) in &after {
        #[allow(clippy::cast_precision_loss, reason = "ticks of a minute")]
        let ticks = before.get(pid).map_or(0, |old| now.ticks.saturating_sub(old.ticks)) as f64;
        // USER_HZ is 100 on every Linux that we know.
        let percent = ticks / elapsed;
        report.row(vec![
            ("process", json!(format!("{pid} {}", now.command))),
            ("RSS MiB", json!(now.rss_kib / 1024)),
            ("PSS MiB", json!(now.pss_kib / 1024)),
            ("CPU %", json!((percent * 100.0).round() / 100.0)),
        ]);
        rss += now.rss_kib;
        pss += now.pss_kib;
        cpu += percent;
    }
    report.row(vec![
        ("process", json!(format!("all {}", after.len()))),
        ("RSS MiB", json!(rss / 1024)),
        ("PSS MiB", json!(pss / 1024)),
        ("CPU %", json!((cpu * 100.0).round() / 100.0)),
    ]);
    Ok(())
}
