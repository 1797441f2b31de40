//! [`LeaderElector`]: one active instance at a time, held by a Lease.
//!
//! Source of the rules: client-go's documented leader election: a candidate takes a lease that nobody renewed for its
//! duration *as observed by the candidate's own clock*, renews every retry period, and gives up leadership when it
//! could not renew within the renew deadline.

use crate::backoff::jittered;
use crate::client::Client;
use crate::time::micro_time;
use component::SharedClock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use machinery::Status;
use parking_lot::Mutex;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Which lease, and how fast. The default times are upstream's.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who this instance is; unique among the candidates.
    pub identity: String,
    /// How long others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between attempts.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// 15 s, 10 s and 2 s in `kube-system`.
    pub fn new(name: &str, identity: &str) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// A candidate for a lease.
#[derive(Debug)]
pub struct LeaderElector {
    client: Client,
    config: LeaderConfig,
    clock: SharedClock,
    observed: Mutex<Option<Observed>>,
}

/// The record last seen and when it changed, by our own clock: clocks of other machines are not trusted.
#[derive(Debug)]
struct Observed {
    spec: LeaseSpec,
    at: Instant,
}

impl LeaderElector {
    /// A candidate; nothing happens before [`LeaderElector::run`].
    pub fn new(client: Client, config: LeaderConfig, clock: SharedClock) -> Self {
        Self { client, config, clock, observed: Mutex::new(None) }
    }

    /// Waits for leadership, then runs `work`, whose token is cancelled when leadership is lost. Returns when `work` has
    /// ended or `stopping` is cancelled (the lease is then released). Who lost leadership should exit or run again.
    pub async fn run<F, Fut>(&self, stopping: &CancellationToken, work: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        if stopping.run_until_cancelled(self.acquire()).await.is_none() {
            return;
        }
        tracing::info!(lease = self.config.name, identity = self.config.identity, "became leader");
        let leading = stopping.child_token();
        let keep = async {
            leading.run_until_cancelled(self.renew()).await;
            leading.cancel();
        };
        let work = async {
            work(leading.clone()).await;
            leading.cancel();
        };
        futures::join!(keep, work);
        if let Err(status) = self.release().await {
            tracing::debug!(
                lease = self.config.name,
                "failed to release the lease: {status}; it will run out"
            );
        }
    }

    async fn acquire(&self) {
        loop {
            match self.try_hold().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(status) => tracing::debug!(
                    lease = self.config.name,
                    "failed to acquire the lease: {status}; retrying"
                ),
            }
            self.clock.sleep(jittered(self.config.retry_period, 1.2)).await;
        }
    }

    /// Renews until that fails for the renew deadline.
    async fn renew(&self) {
        let mut last = self.clock.instant();
        loop {
            self.clock.sleep(self.config.retry_period).await;
            let left = self.config.renew_deadline.saturating_sub(self.clock.instant().duration_since(last));
            let held = tokio::select! {
                held = self.try_hold() => held,
                () = self.clock.sleep(left) => Err(Status::new(504, machinery::Reason::Timeout, "no answer in time")),
            };
            match held {
                Ok(true) => last = self.clock.instant(),
                outcome => {
                    let why =
                        outcome.err().map_or_else(|| "another instance holds it".to_owned(), |s| s.message);
                    if self.clock.instant().duration_since(last) >= self.config.renew_deadline {
                        tracing::warn!(
                            lease = self.config.name,
                            "failed to renew the lease: {why}; leadership is lost"
                        );
                        return;
                    }
                }
            }
        }
    }

    /// Takes or renews the lease if nobody else holds it.
    async fn try_hold(&self) -> Result<bool, Status> {
        let leases = self.client.namespaced::<Lease>(&self.config.namespace);
        let Some(current) = leases.get_opt(&self.config.name).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.config.name.clone());
            lease.metadata.namespace = Some(self.config.namespace.clone());
            lease.spec = Some(self.record(None));
            let created = leases.create(&lease).await?;
            self.observe(created.spec.clone().unwrap_or_default());
            return Ok(true);
        };
        let spec = current.spec.clone().unwrap_or_default();
        self.observe(spec.clone());
        let holder = spec.holder_identity.as_deref().unwrap_or("");
        if !holder.is_empty() && holder != self.config.identity && !self.has_run_out(&spec) {
            return Ok(false);
        }
        let mut lease = Lease::clone(&current);
        lease.spec = Some(self.record(Some(&spec)));
        let updated = leases.update(&lease).await?;
        self.observe(updated.spec.clone().unwrap_or_default());
        Ok(true)
    }

    fn record(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = micro_time(&*self.clock);
        let ours = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.config.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs()).ok(),
            acquire_time: ours.map_or(Some(now.clone()), |spec| spec.acquire_time.clone()),
            renew_time: Some(now),
            lease_transitions: Some(if ours.is_some() || before.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..LeaseSpec::default()
        }
    }

    fn observe(&self, spec: LeaseSpec) {
        let mut observed = self.observed.lock();
        if observed.as_ref().is_none_or(|seen| seen.spec != spec) {
            *observed = Some(Observed { spec, at: self.clock.instant() });
        }
    }

    /// Whether the holder has not renewed for the duration that it promised.
    fn has_run_out(&self, spec: &LeaseSpec) -> bool {
        let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
        let duration = seconds.map_or(self.config.lease_duration, Duration::from_secs);
        let observed = self.observed.lock();
        observed.as_ref().is_some_and(|seen| self.clock.instant().duration_since(seen.at) >= duration)
    }

    /// Lets go of the lease so that another instance need not wait.
    async fn release(&self) -> Result<(), Status> {
        let leases = self.client.namespaced::<Lease>(&self.config.namespace);
        let current = leases.get(&self.config.name).await?;
        let Some(spec) = current.spec.as_ref() else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(&self.config.identity) {
            return Ok(());
        }
        let mut lease = Lease::clone(&current);
        let mut record = self.record(Some(spec));
        record.holder_identity = Some(String::new());
        record.lease_duration_seconds = Some(1);
        lease.spec = Some(record);
        leases.update(&lease).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeApi;
    use component::Clock;
    use component::clock::FakeClock;
    use std::sync::Arc;
    use std::time::SystemTime;
    use tokio::sync::mpsc;

    struct Candidate {
        stop: CancellationToken,
        /// `true` when it became leader, `false` when it lost.
        events: mpsc::UnboundedReceiver<bool>,
    }

    fn candidate(api: &FakeApi, clock: &Arc<FakeClock>, identity: &str) -> Candidate {
        let elector = LeaderElector::new(api.client(), LeaderConfig::new("test", identity), clock.clone());
        let (told, events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move {
            let work = |leading: CancellationToken| async move {
                told.send(true).unwrap();
                leading.cancelled().await;
                told.send(false).unwrap();
            };
            elector.run(&stopping, work).await;
        });
        Candidate { stop, events }
    }

    /// Moves time on in small steps until `future` is ready.
    async fn passing<T>(clock: &FakeClock, future: impl Future<Output = T>) -> T {
        let ticking = async {
            loop {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                clock.advance(Duration::from_millis(500));
            }
        };
        let waiting = async {
            tokio::select! {
                value = future => value,
                () = ticking => unreachable!("time does not end"),
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("did not happen in time")
    }

    #[tokio::test]
    async fn one_leads_and_another_takes_over() {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let api = FakeApi::new(clock.clone());
        let mut one = candidate(&api, &clock, "one");
        assert_eq!(passing(&clock, one.events.recv()).await, Some(true));
        let mut two = candidate(&api, &clock, "two");
        passing(&clock, api.until("the lease was renewed", |api| api.count("update", "leases") > 20)).await;
        assert!(two.events.is_empty());
        one.stop.cancel();
        assert_eq!(passing(&clock, one.events.recv()).await, Some(false));
        assert_eq!(passing(&clock, two.events.recv()).await, Some(true));
        let lease = &api.objects::<Lease>()[0];
        let spec = lease.spec.clone().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("two"));
        assert_eq!(spec.lease_duration_seconds, Some(15));
    }

    #[tokio::test]
    async fn a_leader_that_cannot_renew_gives_up() {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let api = FakeApi::new(clock.clone());
        let mut one = candidate(&api, &clock, "one");
        assert_eq!(passing(&clock, one.events.recv()).await, Some(true));
        let down = Status::unavailable("down");
        api.fail("get", "leases", down, usize::MAX);
        let before = clock.instant();
        assert_eq!(passing(&clock, one.events.recv()).await, Some(false));
        let after = clock.instant().duration_since(before);
        assert!(after >= Duration::from_secs(8) && after < Duration::from_secs(15), "{after:?}");
    }
}
