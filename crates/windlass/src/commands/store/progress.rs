//! Signs of life of verbs that take longer than a second, on standard error: a bar on terminals, lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// What takes shorter shows nothing.
const SILENCE: Duration = Duration::from_secs(1);

/// Without a terminal, a line so often.
const LINE: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Items,
}

/// A bar that appears after a second. It goes when dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    what: String,
    unit: Unit,
    start: Instant,
    line: Instant,
    is_live: bool,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(what: &str, unit: Unit) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = match unit {
            Unit::Bytes => "  {msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            Unit::Items => "  {msg} {bar:30} {pos}/{len} {per_sec} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        let start = Instant::now();
        let is_live = std::io::stderr().is_terminal();
        Self { bar, what: what.to_owned(), unit, start, line: start, is_live, is_shown: false }
    }

    /// So much is done of so much.
    pub(super) fn set(&mut self, done: u64, total: u64) {
        if self.start.elapsed() < SILENCE {
            return;
        }
        if self.is_live {
            if !std::mem::replace(&mut self.is_shown, true) {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            self.bar.set_length(total.max(done));
            self.bar.set_position(done);
        } else if self.line.elapsed() >= LINE {
            self.line = Instant::now();
            let count = |number| if self.unit == Unit::Bytes { human(number) } else { number.to_string() };
            eprintln!("  {}: {} of {}", self.what, count(done), count(total.max(done)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Waits for something that cannot say how far it is.
pub(super) async fn spin<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SILENCE) => {}
    }
    if !std::io::stderr().is_terminal() {
        eprintln!("  {what} ...");
        return work.await;
    }
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(80));
    let done = work.await;
    bar.finish_and_clear();
    done
}

/// A number of bytes for people.
pub(super) fn human(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
