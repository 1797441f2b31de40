//! [`Backoff`]: exponential delays with jitter.

use rand::Rng;
use std::time::Duration;

/// Exponential delays with jitter. Pure: the caller waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    jitter: f64,
    attempt: u32,
}

impl Backoff {
    /// Delays of `base`, doubling up to `max`, each lengthened by up to `jitter` times itself.
    pub fn new(base: Duration, max: Duration, jitter: f64) -> Self {
        Self { base, max, jitter, attempt: 0 }
    }

    /// The delays of informers: 800 ms doubling to 10 s. Upstream waits up to 30 s and doubles that at random; a node
    /// whose link heals should not stay blind for a minute.
    pub fn reflector() -> Self {
        Self::new(Duration::from_millis(800), Duration::from_secs(10), 0.5)
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = exponential(self.base, self.max, self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        jittered(delay, self.jitter)
    }

    /// How many delays were given since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Starts from `base` again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// `base * 2^attempt`, at most `max`.
pub(crate) fn exponential(base: Duration, max: Duration, attempt: u32) -> Duration {
    base.checked_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).unwrap_or(max).min(max)
}

/// `delay` lengthened at random by up to `factor` times itself.
pub fn jittered(delay: Duration, factor: f64) -> Duration {
    if factor <= 0.0 {
        return delay;
    }
    delay + delay.mul_f64(rand::rng().random_range(0.0..factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit_and_resets() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5), 0.0);
        let delays: Vec<_> = (0..4).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_secs(1));
        assert_eq!(exponential(Duration::from_secs(1), Duration::from_secs(5), 400), Duration::from_secs(5));
    }
}
