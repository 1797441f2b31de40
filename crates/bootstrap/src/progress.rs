//! What the user sees while a cluster starts: a line per part with its time, live on terminals.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress of a command, on standard error.
#[derive(Debug)]
pub struct Progress {
    bars: MultiProgress,
    live: bool,
    start: Instant,
}

/// One part of the work. Dropped without [`Step::done`], it counts as failed and prints nothing more.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    name: String,
    live: bool,
    start: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Self {
        let live = std::io::stderr().is_terminal();
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), live, start: Instant::now() }
    }

    /// A part begins.
    pub fn step(&self, name: &str) -> Step {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {msg:<28} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        if self.live {
            bar.enable_steady_tick(Duration::from_millis(80));
        }
        Step { bar, name: name.to_owned(), live: self.live, start: Instant::now() }
    }

    /// Prints a line below the parts.
    pub fn say(&self, line: &str) {
        if self.live {
            // A closed terminal is no reason to stop a cluster.
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Step {
    /// The part is complete.
    pub fn done(self) {
        self.done_with("");
    }

    /// The part is complete; `note` says what came of it.
    pub fn done_with(self, note: &str) {
        let line = format!("{:<28} {:>8}  {note}", self.name, seconds(self.start.elapsed()));
        if self.live {
            if let Ok(style) = ProgressStyle::with_template("  \x1b[32m✔\x1b[0m {msg}") {
                self.bar.set_style(style);
            }
            self.bar.finish_with_message(line.trim_end().to_owned());
        } else {
            eprintln!("  ok {}", line.trim_end());
        }
    }
}

/// A duration as progress prints it.
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
