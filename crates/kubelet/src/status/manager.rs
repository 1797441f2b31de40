//! Writes pod statuses to the API as soon as they change, one write per pod at a time, newest last.

use super::{containers, generate, patch};
use crate::kubelet::Kubelet;
use crate::model::RuntimePod;
use crate::pod::worker::Worker;
use crate::spec;
use api::k8s_openapi::api::core::v1::{Pod, PodStatus};
use client::{Client, DeleteOptions, Patch};
use component::{SharedClock, Tasks};
use machinery::Status;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// First pause after a failed write; doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Conflicts in a row after which the object is taken for another one.
const MAX_CONFLICTS: u32 = 4;

struct Entry {
    namespace: String,
    name: String,
    status: PodStatus,
    /// What the API was told last.
    told: Option<PodStatus>,
    /// The object's revision since then.
    revision: u64,
    /// Whether a task writes this pod's status now.
    writing: bool,
    /// Whether the object is to be deleted once its status is written.
    finish: bool,
    /// Whether the API shows it under another UID.
    is_static: bool,
}

/// Statuses by pod UID. Clones share them.
#[derive(Clone)]
pub(crate) struct StatusManager {
    client: Client,
    clock: SharedClock,
    tasks: Tasks,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

enum Job {
    Write { namespace: String, name: String, body: Vec<u8>, status: Box<PodStatus> },
    Delete { namespace: String, name: String },
    Nothing,
}

impl StatusManager {
    pub(crate) fn new(client: &Client, clock: &SharedClock, tasks: &Tasks) -> Self {
        Self { client: client.clone(), clock: clock.clone(), tasks: tasks.clone(), entries: Arc::default() }
    }

    /// The newest status of a pod.
    pub(crate) fn get(&self, uid: &str) -> Option<PodStatus> {
        self.entries.lock().get(uid).map(|e| e.status.clone())
    }

    /// Computes the status from what is known now, keeps it and has it written. `terminal` says that nothing of
    /// the pod will run again.
    pub(crate) fn refresh(&self, kubelet: &Kubelet, worker: &Worker, terminal: bool) -> PodStatus {
        let api_pod = worker.pod();
        let mut pod = Pod::clone(&api_pod);
        // Our own last word is newer than the API's; conditions of others are the API's.
        if let Some(mine) = self.get(&worker.uid) {
            pod.status = Some(with_foreign_conditions(mine, api_pod.status.as_ref()));
        }
        let empty = RuntimePod::default();
        let runtime = worker.runtime();
        let errors = worker.errors();
        let inputs = containers::Inputs {
            pod: &pod,
            runtime: runtime.as_deref().unwrap_or(&empty),
            errors: &errors,
            probes: &kubelet.probes,
            runtime_name: &kubelet.runtime.name,
            terminal,
        };
        let now = client::time::time(&*kubelet.clock);
        let host_ips = kubelet.config.host_ips();
        let status = generate::generate(&inputs, &host_ips, worker.verdict().as_ref(), &now);
        self.set(&api_pod, status.clone());
        status
    }

    fn set(&self, pod: &Pod, status: PodStatus) {
        let uid = spec::uid(pod).to_owned();
        {
            let mut entries = self.entries.lock();
            let entry = entries.entry(uid.clone()).or_insert_with(|| Entry {
                namespace: spec::namespace(pod).to_owned(),
                name: spec::name(pod).to_owned(),
                status: PodStatus::default(),
                told: pod.status.clone(),
                revision: revision(pod),
                writing: false,
                finish: false,
                is_static: spec::is_static(pod),
            });
            entry.status = status;
            // Somebody else wrote since, such as the node lifecycle controller while this node was cut off.
            if revision(pod) > entry.revision {
                entry.revision = revision(pod);
                entry.told.clone_from(&pod.status);
            }
        }
        self.kick(uid);
    }

    /// The API shows the static pod `uid` as `mirror`.
    pub(crate) fn mirrored(&self, uid: &str, mirror: &Pod) {
        {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(uid).filter(|entry| revision(mirror) > entry.revision) else {
                return;
            };
            entry.revision = revision(mirror);
            entry.told.clone_from(&mirror.status);
        }
        self.kick(uid.to_owned());
    }

    /// Deletes the pod from the API, for good, once its last status is written.
    pub(crate) fn finish(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            entry.finish = true;
        }
        self.kick(uid.to_owned());
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    fn kick(&self, uid: String) {
        {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&uid) else { return };
            if entry.writing || matches!(job(&uid, entry), Job::Nothing) {
                return;
            }
            entry.writing = true;
        }
        let this = self.clone();
        self.tasks.spawn_until_stopped("pod status", async move { this.write(uid).await });
    }

    /// Writes until the API knows everything.
    async fn write(&self, uid: String) {
        let mut pause = PAUSE;
        let mut conflicts = 0;
        loop {
            let next = {
                let mut entries = self.entries.lock();
                let Some(entry) = entries.get_mut(&uid) else { return };
                let next = job(&uid, entry);
                if matches!(next, Job::Nothing) {
                    entry.writing = false;
                    return;
                }
                next
            };
            match self.perform(&uid, next).await {
                Ok(()) => {
                    pause = PAUSE;
                    conflicts = 0;
                }
                // The object is gone, or another one bears its name: nobody is left to be told. A busy object can
                // conflict too, but not for long.
                Err(status)
                    if status.is_not_found() || status.is_conflict() && conflicts >= MAX_CONFLICTS =>
                {
                    tracing::debug!(uid, "a pod's status has no reader any more: {status}");
                    if let Some(entry) = self.entries.lock().get_mut(&uid) {
                        entry.told = Some(entry.status.clone());
                        entry.finish = false;
                    }
                }
                Err(status) => {
                    conflicts += u32::from(status.is_conflict());
                    tracing::warn!(uid, "failed to write a pod's status: {status}; trying again");
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    async fn perform(&self, uid: &str, job: Job) -> Result<(), Status> {
        match job {
            Job::Write { namespace, name, body, status } => {
                let pods = self.client.namespaced::<Pod>(&namespace);
                let pod = pods.patch_status(&name, Patch::Strategic(body.into())).await?;
                if let Some(entry) = self.entries.lock().get_mut(uid) {
                    entry.told = Some(*status);
                    entry.revision = entry.revision.max(revision(&pod));
                }
            }
            Job::Delete { namespace, name } => {
                let options = DeleteOptions {
                    grace_period_seconds: Some(0),
                    uid: Some(uid.to_owned()),
                    ..DeleteOptions::default()
                };
                self.client.namespaced::<Pod>(&namespace).delete_with(&name, &options).await?;
                if let Some(entry) = self.entries.lock().get_mut(uid) {
                    entry.finish = false;
                }
            }
            Job::Nothing => {}
        }
        Ok(())
    }
}

/// Revisions of one kind of object can be compared (KEP-5504).
fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn job(uid: &str, entry: &Entry) -> Job {
    let known = entry.told.as_ref().is_some_and(|told| patch::same(told, &entry.status));
    let (namespace, name) = (entry.namespace.clone(), entry.name.clone());
    if !known {
        let uid = (!entry.is_static).then_some(uid);
        let body = patch::build(uid, entry.told.as_ref(), &entry.status);
        return Job::Write { namespace, name, body, status: Box::new(entry.status.clone()) };
    }
    if entry.finish { Job::Delete { namespace, name } } else { Job::Nothing }
}

fn with_foreign_conditions(mut mine: PodStatus, api: Option<&PodStatus>) -> PodStatus {
    let foreign = |list: Option<&Vec<_>>, own: bool| -> Vec<api::k8s_openapi::api::core::v1::PodCondition> {
        let all = list.cloned().unwrap_or_default();
        all.into_iter()
            .filter(|c: &api::k8s_openapi::api::core::v1::PodCondition| {
                super::conditions::is_own(&c.type_, c.reason.as_deref().unwrap_or_default()) == own
            })
            .collect()
    };
    let mut conditions = foreign(mine.conditions.as_ref(), true);
    conditions.extend(foreign(api.and_then(|s| s.conditions.as_ref()), false));
    mine.conditions = Some(conditions);
    mine
}
