//! [`Trail`]: the record of one request while it is served.

use super::event::Record;
use super::policy::{Level, Stage, Verdict};
use super::{Auditor, without_managed_fields};
use crate::contract::UserInfo;
use machinery::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    static CURRENT: Arc<Trail>;
}

/// Calls `work` with the record of the request that is being served, if there is one.
pub(super) fn with<R>(work: impl FnOnce(&Arc<Trail>) -> R) -> Option<R> {
    CURRENT.try_with(work).ok()
}

/// The record of one request. Its end is told when it is dropped, if nobody told it before.
pub(crate) struct Trail {
    auditor: Arc<Auditor>,
    verdict: Verdict,
    record: Mutex<Record>,
    ended: AtomicBool,
}

impl Trail {
    pub(super) fn new(auditor: Arc<Auditor>, verdict: Verdict, record: Record) -> Arc<Self> {
        auditor.open.begin();
        Arc::new(Self { auditor, verdict, record: Mutex::new(record), ended: AtomicBool::new(false) })
    }

    /// Runs `work` with this record as the current one.
    pub(crate) async fn around<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The level.
    pub(crate) fn wants_response(&self) -> bool {
        self.verdict.level == Level::RequestResponse
    }

    /// The request's id.
    pub(crate) fn id(&self) -> String {
        self.record.lock().id.clone()
    }

    /// The request arrived. An error only in strict mode: it must not be served.
    pub(crate) async fn received(&self) -> Result<(), Status> {
        self.tell(Stage::RequestReceived).await
    }

    /// The answer to a request that takes long begins.
    pub(crate) async fn started(&self, status: Value) {
        self.record.lock().status = Some(status);
        // The request was served; that it cannot be recorded is logged.
        let _ = self.tell(Stage::ResponseStarted).await;
    }

    /// Nobody was identified. `attempted` says how.
    pub(crate) async fn refused(&self, status: Value) {
        self.ended.store(true, Ordering::Release);
        self.record.lock().status = Some(status);
        let _ = self.tell(Stage::ResponseStarted).await;
    }

    /// The answer is complete.
    pub(crate) async fn completed(&self, status: Value, response: Option<Value>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        {
            let mut record = self.record.lock();
            record.status = Some(status);
            record.response = response.map(|mut response| {
                if self.verdict.omit_managed_fields {
                    without_managed_fields(&mut response);
                }
                response
            });
        }
        let _ = self.tell(Stage::ResponseComplete).await;
    }

    async fn tell(&self, stage: Stage) -> Result<(), Status> {
        if self.verdict.omit.contains(stage) {
            return Ok(());
        }
        let event = self.record.lock().event(stage, self.auditor.now());
        self.auditor.send(event).await
    }

    /// The sender acts as someone else.
    pub(crate) fn impersonated(&self, user: Arc<UserInfo>, constraint: String) {
        let mut record = self.record.lock();
        record.impersonated = Some(user);
        record.constraint = constraint;
    }

    pub(super) fn annotate(&self, key: &str, value: String) {
        self.record.lock().annotations.entry(key).or_insert(Value::String(value));
    }

    /// The object that the request brings: what its reference lacks, and at higher levels all of it.
    pub(super) fn request_object(&self, object: &dyn api::Object) {
        let mut record = self.record.lock();
        if let Some(reference) = &mut record.object {
            let meta = object.meta();
            for (known, found) in [
                (&mut reference.name, &meta.name),
                (&mut reference.namespace, &meta.namespace),
                (&mut reference.uid, &meta.uid),
                (&mut reference.resource_version, &meta.resource_version),
            ] {
                if known.is_empty()
                    && let Some(found) = found
                {
                    known.clone_from(found);
                }
            }
        }
        if self.verdict.level >= Level::Request {
            let mut value = serde_json::from_slice(&object.to_json()).unwrap_or(Value::Null);
            if self.verdict.omit_managed_fields {
                without_managed_fields(&mut value);
            }
            record.request = Some(value);
        }
    }

    pub(super) fn request_value(&self, value: impl FnOnce() -> Option<Value>) {
        if self.verdict.level >= Level::Request {
            self.record.lock().request = value();
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if !*self.ended.get_mut() {
            // The request panicked, took too long, or its sender has gone.
            let stage = if std::thread::panicking() { Stage::Panic } else { Stage::ResponseComplete };
            let record = self.record.get_mut();
            if stage == Stage::Panic {
                let message = format!("APIServer panic'd: {} {}", record.verb, record.uri);
                record.status = Some(json!({"metadata": {}, "status": "Failure", "message": message,
                    "reason": "InternalError", "code": 500}));
            }
            if !self.verdict.omit.contains(stage) {
                let event = record.event(stage, self.auditor.now());
                self.auditor.push(event);
            }
        }
        self.auditor.open.end();
    }
}
