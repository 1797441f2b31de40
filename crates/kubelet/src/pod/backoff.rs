//! Back-off per key: 10 s, doubling, at most 5 min; forgotten after ten quiet minutes.
//!
//! Holds delays only: whoever asks says when the failure was and what time it is, so tests own time.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Delays by key. Share as a reference; all methods may be called concurrently.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Instant,
}

impl Backoff {
    /// Starts at `initial` and doubles up to `max`.
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, entries: Mutex::default() }
    }

    fn expired(&self, since_failure: Duration) -> bool {
        since_failure > 2 * self.max
    }

    /// How long to wait still, when the failure was `since` ago; `None` when it is time to try.
    pub(crate) fn remaining(&self, key: &str, since: Duration) -> Option<(Duration, Duration)> {
        let entry = *self.entries.lock().get(key)?;
        if self.expired(since) || since >= entry.delay {
            return None;
        }
        Some((entry.delay, entry.delay - since))
    }

    /// Takes note of one more attempt at `now` after a failure `since` ago: the next wait is longer.
    pub(crate) fn next(&self, key: &str, since: Duration, now: Instant) {
        let mut entries = self.entries.lock();
        let delay = match entries.get(key) {
            Some(entry) if !self.expired(since) => (entry.delay * 2).min(self.max),
            _ => self.initial,
        };
        entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets `key`.
    pub(crate) fn reset(&self, key: &str) {
        self.entries.lock().remove(key);
    }

    /// Forgets keys that start with `prefix`.
    pub(crate) fn forget(&self, prefix: &str) {
        self.entries.lock().retain(|key, _| !key.starts_with(prefix));
    }

    /// Forgets what was not touched for twice the longest wait.
    pub(crate) fn sweep(&self, now: Instant) {
        let limit = 2 * self.max;
        self.entries.lock().retain(|_, entry| now.saturating_duration_since(entry.updated) <= limit);
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`, `1h0m0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let nanos = duration.subsec_nanos();
    if seconds == 0 && nanos > 0 {
        return match nanos {
            n if n >= 1_000_000 => format!("{}ms", decimal(n, 1_000_000)),
            n if n >= 1_000 => format!("{}µs", decimal(n, 1_000)),
            n => format!("{n}ns"),
        };
    }
    let fraction = match nanos {
        0 => String::new(),
        n => format!(".{}", format!("{n:09}").trim_end_matches('0')),
    };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, m) => format!("{m}m{rest}{fraction}s"),
        (h, m) => format!("{h}h{m}m{rest}{fraction}s"),
    }
}

fn decimal(nanos: u32, unit: u32) -> String {
    let (whole, rest) = (nanos / unit, nanos % unit);
    let width = unit.ilog10() as usize;
    match rest {
        0 => whole.to_string(),
        _ => format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_limit_and_forgets_after_quiet() {
        let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        let now = Instant::now();
        assert_eq!(backoff.remaining("a", Duration::ZERO), None);
        for want in [10, 20, 40, 80, 160, 300, 300] {
            backoff.next("a", Duration::ZERO, now);
            let want = Duration::from_secs(want);
            assert_eq!(backoff.remaining("a", Duration::ZERO), Some((want, want)));
            assert_eq!(backoff.remaining("a", want), None);
        }
        backoff.next("a", Duration::from_secs(601), now);
        assert_eq!(
            backoff.remaining("a", Duration::from_secs(3)),
            Some((Duration::from_secs(10), Duration::from_secs(7)))
        );
        backoff.sweep(now + Duration::from_secs(601));
        assert_eq!(backoff.remaining("a", Duration::ZERO), None);
    }

    #[test]
    fn durations_read_as_in_go() {
        for (ms, want) in [
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (3_600_000, "1h0m0s"),
            (1_250, "1.25s"),
            (123, "123ms"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), want);
        }
        assert_eq!(go_duration(Duration::from_micros(123_450)), "123.45ms");
    }
}
