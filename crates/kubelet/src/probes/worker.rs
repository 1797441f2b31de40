//! One probe of one running container: delay, period, thresholds.

use super::{Kind, action};
use crate::kubelet::Kubelet;
use crate::pod::actions::Verdict;
use crate::pod::worker::Stage;
use api::k8s_openapi::api::core::v1::{Container, Probe};
use client::EventType;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What one attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Healthy.
    Success,
    /// Unhealthy, and how it shows.
    Failure(String),
    /// The probe itself did not work; it says nothing about the container.
    Error(String),
}

pub(super) struct Worker {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod_uid: String,
    pub(super) container: Container,
    pub(super) id: String,
    pub(super) started_at: i64,
    pub(super) kind: Kind,
    pub(super) probe: Probe,
    /// Opened once the container has started.
    pub(super) gate: Arc<watch::Sender<bool>>,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
}

fn count(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
}

/// Counts outcomes of the same kind in a row until a threshold is met.
#[derive(Debug)]
pub(super) struct Streak {
    success: u32,
    failure: u32,
    last: Option<bool>,
    run: u32,
}

impl Streak {
    pub(super) fn new(probe: &Probe) -> Self {
        let (success, failure) = (count(probe.success_threshold, 1), count(probe.failure_threshold, 3));
        Self { success, failure, last: None, run: 0 }
    }

    /// Takes an outcome; answers a verdict once the threshold is met.
    pub(super) fn take(&mut self, success: bool) -> Option<Verdict> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { self.success } else { self.failure };
        let verdict = if success { Verdict::Success } else { Verdict::Failure };
        (self.run >= threshold).then_some(verdict)
    }
}

/// No program serves in its first instant; a probe that comes before would cost it a whole period.
const BREATH: Duration = Duration::from_millis(100);

impl Worker {
    /// Probes until the container's fate is decided or the group stops.
    pub(super) async fn run(self, mut opened: watch::Receiver<bool>) {
        let period = seconds(self.probe.period_seconds, 10);
        if self.kind != Kind::Startup && opened.wait_for(|open| *open).await.is_err() {
            return;
        }
        self.initial_delay().await;
        let mut streak = Streak::new(&self.probe);
        loop {
            if let Some(verdict) = self.once(&mut streak).await {
                self.tell(verdict);
                let decided = match self.kind {
                    Kind::Startup => true,
                    Kind::Liveness => verdict == Verdict::Failure,
                    Kind::Readiness => false,
                };
                if decided {
                    return;
                }
            }
            self.kubelet.clock.sleep(period).await;
        }
    }

    async fn initial_delay(&self) {
        let delay = u64::try_from(self.probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0);
        let delay = Duration::from_secs(delay).max(BREATH);
        let now = client::time::now(&*self.kubelet.clock).as_nanosecond();
        let age = Duration::from_nanos(u64::try_from(now - i128::from(self.started_at)).unwrap_or(0));
        self.kubelet.clock.sleep(delay.saturating_sub(age)).await;
    }

    async fn once(&self, streak: &mut Streak) -> Option<Verdict> {
        let worker = self.kubelet.workers.get(&self.pod_uid)?;
        let pod = worker.pod();
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let outcome =
            action::attempt(&self.kubelet, &pod, &self.container, &self.id, &self.probe, timeout).await;
        let event = |reason: &str, text: String| {
            let name = self.kind.name();
            let message = format!("{name} probe {text}");
            self.kubelet.container_event(&pod, &self.container.name, EventType::Warning, reason, message);
        };
        match outcome {
            Outcome::Success => streak.take(true),
            Outcome::Failure(how) => {
                event("Unhealthy", format!("failed: {how}"));
                streak.take(false)
            }
            Outcome::Error(why) => {
                event("Unhealthy", format!("errored and resulted in unknown state: {why}"));
                None
            }
        }
    }

    fn tell(&self, verdict: Verdict) {
        if !self.kubelet.probes.set(&self.id, self.kind, verdict) {
            return;
        }
        if self.kind == Kind::Startup && verdict == Verdict::Success {
            self.gate.send_replace(true);
        }
        let Some(worker) = self.kubelet.workers.get(&self.pod_uid) else { return };
        if worker.stage() != Stage::Terminated {
            self.kubelet.status.refresh(&self.kubelet, &worker, false);
        }
        if self.kind != Kind::Readiness {
            worker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_in_a_row() {
        let probe = Probe { failure_threshold: Some(2), success_threshold: Some(2), ..Probe::default() };
        let mut streak = Streak::new(&probe);
        let took: Vec<_> =
            [false, true, false, false, true, true].into_iter().map(|s| streak.take(s)).collect();
        assert_eq!(took, [None, None, None, Some(Verdict::Failure), None, Some(Verdict::Success)]);
    }
}
