//! One pod's worker: a task that brings the pod from wanted to running to gone, one step at a time.
//!
//! States only go forward: syncing, terminating, terminated. Everyone else changes what is wanted through the
//! methods here and wakes the task; only the task acts.

use crate::kubelet::Kubelet;
use crate::model::RuntimePod;
use crate::pod::{sync, terminate};
use crate::spec;
use crate::status::containers::StartErrors;
use crate::status::generate::Verdict;
use api::k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Where a pod is in its life on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It runs, or is being started.
    Syncing,
    /// Its containers are being stopped.
    Terminating,
    /// Nothing of it runs.
    Terminated,
}

/// Longest wait between two attempts at a failing step.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// A pod is looked at this often even when nothing happens, against lost events.
const RESYNC: Duration = Duration::from_secs(90);

struct Wanted {
    pod: Arc<Pod>,
    stage: Stage,
    /// Seconds to end in, when not the pod's own.
    grace: Option<i64>,
    /// Why the pod fails.
    verdict: Option<Verdict>,
    /// Whether the API no longer has it.
    deleted: bool,
}

/// A pod's worker.
pub(crate) struct Worker {
    /// UID of the pod.
    pub(crate) uid: String,
    wanted: Mutex<Wanted>,
    runtime: watch::Sender<Option<Arc<RuntimePod>>>,
    errors: Mutex<StartErrors>,
    /// Containers whose preStop hook has run.
    pub(crate) stopped_hooks: Mutex<HashSet<String>>,
    /// Whether the node has accepted the pod.
    pub(crate) admitted: Mutex<bool>,
    wake: Notify,
    /// Cancelled when syncing must stop because the pod is to end.
    ending: CancellationToken,
    /// Told when the time to end in has changed.
    pub(crate) hurry: Notify,
    /// Whether the runtime is making something that must be known before anything else happens.
    making: watch::Sender<bool>,
}

/// While it lives, syncing is not abandoned: a sandbox or container under way would be made unseen.
pub(crate) struct Making<'a>(&'a Worker);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.making.send_replace(false);
    }
}

/// What a step asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Come back after this time, or when woken.
    Wait(Option<Duration>),
    /// The step failed; try again with back-off, not later than this.
    Retry(Option<Duration>),
    /// The pod has ended or must end.
    Terminate(Option<Verdict>),
    /// The stage is over.
    Advance,
    /// The pod is gone.
    Finished,
}

impl Worker {
    /// A worker for `pod`; `deleted` when only the runtime still knows it.
    pub(crate) fn new(pod: Arc<Pod>, deleted: bool) -> Self {
        let ends = deleted || pod.metadata.deletion_timestamp.is_some() || spec::is_finished(&pod);
        let stage = if ends { Stage::Terminating } else { Stage::Syncing };
        Self {
            uid: spec::uid(&pod).to_owned(),
            wanted: Mutex::new(Wanted { pod, stage, grace: None, verdict: None, deleted }),
            runtime: watch::Sender::new(None),
            errors: Mutex::default(),
            stopped_hooks: Mutex::default(),
            admitted: Mutex::default(),
            wake: Notify::new(),
            ending: CancellationToken::new(),
            hurry: Notify::new(),
            making: watch::Sender::new(false),
        }
    }

    /// The newest specification.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.wanted.lock().pod.clone()
    }

    /// Where it is.
    pub(crate) fn stage(&self) -> Stage {
        self.wanted.lock().stage
    }

    /// Seconds to end in: the override, or the pod's own.
    pub(crate) fn grace(&self) -> i64 {
        let wanted = self.wanted.lock();
        wanted.grace.unwrap_or_else(|| spec::grace_seconds(&wanted.pod))
    }

    /// Why the pod fails, if it was made to.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.wanted.lock().verdict.clone()
    }

    /// Whether the API no longer has the pod.
    pub(crate) fn is_deleted(&self) -> bool {
        self.wanted.lock().deleted
    }

    /// What the runtime said last.
    pub(crate) fn runtime(&self) -> Option<Arc<RuntimePod>> {
        self.runtime.borrow().clone()
    }

    /// Told whenever the runtime says something new.
    pub(crate) fn runtime_changes(&self) -> watch::Receiver<Option<Arc<RuntimePod>>> {
        self.runtime.subscribe()
    }

    /// Keeps what the runtime said.
    pub(crate) fn set_runtime(&self, runtime: RuntimePod) -> Arc<RuntimePod> {
        let shared = Arc::new(runtime);
        self.runtime.send_replace(Some(shared.clone()));
        shared
    }

    /// Why containers could not be started.
    pub(crate) fn errors(&self) -> StartErrors {
        self.errors.lock().clone()
    }

    /// Keeps (or clears) why a container could not be started.
    pub(crate) fn set_error(&self, container: &str, error: Option<(String, String)>) {
        let mut errors = self.errors.lock();
        match error {
            Some(error) => {
                errors.insert(container.to_owned(), error);
            }
            None => {
                errors.remove(container);
            }
        }
    }

    /// Something happened: the task looks at the pod.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The API has a newer version.
    pub(crate) fn update(&self, pod: Arc<Pod>) {
        let ends = pod.metadata.deletion_timestamp.is_some() || spec::is_finished(&pod);
        {
            let mut wanted = self.wanted.lock();
            let before = spec::grace_seconds(&wanted.pod);
            let less = spec::grace_seconds(&pod) < before
                || pod.metadata.deletion_timestamp.is_some()
                    && wanted.pod.metadata.deletion_timestamp.is_none();
            wanted.pod = pod;
            if wanted.stage == Stage::Terminating && less {
                self.hurry.notify_one();
            }
        }
        if ends {
            self.terminate(None, None);
        }
        self.wake();
    }

    /// The API has dropped the pod: it ends now if it has not yet.
    pub(crate) fn deleted(&self) {
        self.wanted.lock().deleted = true;
        self.terminate(None, None);
        self.wake();
    }

    /// The pod is to end, within `grace` seconds if given, and to fail for `verdict` if given.
    pub(crate) fn terminate(&self, grace: Option<i64>, verdict: Option<Verdict>) {
        let mut wanted = self.wanted.lock();
        if wanted.verdict.is_none() {
            wanted.verdict = verdict;
        }
        if let Some(grace) = grace
            && wanted.grace.is_none_or(|now| grace < now)
        {
            wanted.grace = Some(grace);
            self.hurry.notify_one();
        }
        if wanted.stage == Stage::Syncing {
            wanted.stage = Stage::Terminating;
            self.ending.cancel();
        }
        drop(wanted);
        self.wake();
    }

    /// Keeps syncing from being abandoned until the guard is dropped.
    pub(crate) fn making(&self) -> Making<'_> {
        self.making.send_replace(true);
        Making(self)
    }

    /// Whether the pod is to end, so that nothing new is to be started.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_cancelled()
    }

    async fn abandoned(&self) {
        self.ending.cancelled().await;
        let mut making = self.making.subscribe();
        // The sender lives as long as `self`.
        let _ = making.wait_for(|making| !making).await;
    }

    async fn step(&self, kubelet: &Arc<Kubelet>) -> Next {
        match self.stage() {
            Stage::Syncing => tokio::select! {
                biased;
                () = self.abandoned() => Next::Wait(Some(Duration::ZERO)),
                next = sync::sync(kubelet, self) => next,
            },
            Stage::Terminating => terminate::terminating(kubelet, self).await,
            Stage::Terminated => terminate::terminated(kubelet, self).await,
        }
    }

    /// Works until the pod is gone.
    pub(crate) async fn run(self: Arc<Self>, kubelet: Arc<Kubelet>) {
        let mut failures = 0_u32;
        loop {
            let next = self.step(&kubelet).await;
            let failed = matches!(next, Next::Retry(_));
            failures = if failed { failures.saturating_add(1) } else { 0 };
            let delay = match next {
                Next::Finished => break,
                Next::Terminate(verdict) => {
                    self.terminate(None, verdict);
                    continue;
                }
                Next::Advance => {
                    self.wanted.lock().stage = Stage::Terminated;
                    continue;
                }
                Next::Wait(delay) => delay.unwrap_or(RESYNC).min(RESYNC),
                Next::Retry(limit) => {
                    let backoff = Duration::from_millis(500) * 2_u32.pow(failures.min(7) - 1);
                    backoff.min(limit.unwrap_or(MAX_RETRY)).min(MAX_RETRY)
                }
            };
            if delay.is_zero() {
                continue;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = kubelet.clock.sleep(delay) => {}
            }
        }
        kubelet.workers.remove(&self.uid);
        if spec::is_static(&self.pod()) {
            kubelet.statics.look_again();
        }
    }
}
