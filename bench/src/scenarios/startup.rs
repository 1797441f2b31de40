//! `startup`: exec of `windlass up` to "ready", twice: with an empty data directory and with the one that the
//! first run left.

use crate::report::Report;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Flags of the scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The binary [default: windlass beside this program]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Port of the API server while measuring
    #[arg(long, default_value_t = 16443)]
    port: u16,
    /// Pairs of starts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Drop the machine's page cache before each start, as after a reboot (slows down everything else for a while)
    #[arg(long)]
    cold: bool,
}

/// Runs the scenario.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("windlass"),
    };
    for number in 1..=options.runs {
        pair(&program, options, number, report)?;
    }
    Ok(())
}

/// A start with an empty data directory and one with what that left; takes everything down again.
fn pair(program: &Path, options: &Options, number: usize, report: &mut Report) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("wlbench").tempdir_in("/tmp")?;
    let outcome = (|| {
        for what in ["empty data directory", "existing data directory"] {
            if options.cold {
                std::fs::write("/proc/sys/vm/drop_caches", "3").context("failed to drop the page cache")?;
            }
            let (elapsed, mut up) = start(program, dir.path(), options.port)?;
            let seconds = (elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
            report.row(vec![
                ("run", json!(number)),
                ("start", json!(what)),
                ("seconds to ready", json!(seconds)),
            ]);
            up.kill()?;
            up.wait()?;
        }
        Ok(())
    })();
    let down = Command::new(program).arg("down").arg("--data-dir").arg(dir.path()).output()?;
    if !down.status.success() {
        bail!("'windlass down' failed: {}", String::from_utf8_lossy(&down.stderr));
    }
    outcome
}

fn start(program: &Path, dir: &Path, port: u16) -> Result<(Duration, Child)> {
    let start = Instant::now();
    let mut up = Command::new(program)
        .args(["up", "--isolated", "--port", &port.to_string(), "--data-dir"])
        .arg(dir)
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run {}; build it first", program.display()))?;
    let stderr = up.stderr.take().context("no standard error")?;
    let mut said = String::new();
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        if line.contains("The cluster is ready") {
            return Ok((start.elapsed(), up));
        }
        said.push_str(&line);
        said.push('\n');
    }
    up.wait()?;
    bail!("'windlass up' ended before the cluster was ready:\n{said}")
}
