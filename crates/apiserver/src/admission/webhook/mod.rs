//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others have a say in writes, over HTTPS.
//!
//! Source: "Dynamic Admission Control". The server's own writes are not sent, so that it can start while a webhook
//! is down. Deliberately absent: conversion for `matchPolicy: Equivalent` (the object is sent in the version of the request), reuse of
//! connections.

mod call;
mod hook;
mod review;

pub(crate) use call::post;

use super::list;
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::Object;
use api::k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use async_trait::async_trait;
use hook::Hook;
use machinery::Status;
use review::Verdict;
use serde_json::Value;

/// Who writes for the server itself.
const SELF: &str = "system:apiserver";

pub(super) struct Mutating(pub(super) Context);
pub(super) struct Validating(pub(super) Context);

/// Requests that no webhook sees: it could make itself impossible to remove.
fn exempt(request: &AdmissionRequest) -> bool {
    request.operation == Operation::Connect
        || request.user.name == SELF
        || request.def.gvk.group == "admissionregistration.k8s.io"
}

#[async_trait]
impl Admission for Mutating {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if exempt(request) {
            return Ok(());
        }
        let mut configurations = list::<MutatingWebhookConfiguration>(&self.0, "").await?;
        configurations.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let hooks: Vec<Hook> = configurations.iter().flat_map(|c| Hook::mutating(c)).collect();
        // Position of the last hook that changed something: whoever ran before it may want to look again.
        let mut changed_at = None;
        for (at, hook) in hooks.iter().enumerate() {
            if self.ask(hook, request).await? {
                changed_at = Some(at);
            }
        }
        if let Some(changed_at) = changed_at {
            for hook in hooks[..changed_at].iter().filter(|hook| hook.reinvoke) {
                self.ask(hook, request).await?;
            }
        }
        Ok(())
    }
}

impl Mutating {
    /// Whether the hook changed the object.
    async fn ask(&self, hook: &Hook, request: &mut AdmissionRequest) -> Result<bool, Status> {
        if !hook.concerns(&self.0, request).await? {
            return Ok(false);
        }
        let verdict = match hook.ask(&self.0, request).await {
            Ok(verdict) => verdict,
            Err(error) => return hook.failed(error).map(|()| false),
        };
        let Some(patch) = accept(hook, request, verdict)? else { return Ok(false) };
        let Some(object) = request.object.as_deref() else { return Ok(false) };
        match patched(request, object, patch) {
            Ok(new) => {
                let changed = !new.equals(object);
                request.object = Some(new);
                Ok(changed)
            }
            Err(error) => hook.failed(error).map(|()| false),
        }
    }
}

/// Takes over warnings; the patch, if any, or the refusal.
fn accept(hook: &Hook, request: &mut AdmissionRequest, verdict: Verdict) -> Result<Option<Value>, Status> {
    request.warnings.extend(verdict.warnings);
    match verdict.denied {
        Some(status) => Err(review::refusal(&hook.name, status)),
        None => Ok(verdict.patch),
    }
}

fn patched(request: &AdmissionRequest, object: &dyn Object, patch: Value) -> Result<Box<dyn Object>, Status> {
    let mut tree: Value = serde_json::from_slice(&object.to_json()).map_err(Status::internal)?;
    machinery::patch::json::apply(&mut tree, patch)?;
    let bytes = serde_json::to_vec(&tree).map_err(Status::internal)?;
    let mut new = request.def.strategy.decode(&bytes).map_err(Status::internal)?;
    request.def.strategy.set_defaults(new.as_mut());
    Ok(new)
}

#[async_trait]
impl Admission for Validating {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if exempt(request) {
            return Ok(());
        }
        let configurations = list::<ValidatingWebhookConfiguration>(&self.0, "").await?;
        let mut hooks = Vec::new();
        for hook in configurations.iter().flat_map(|c| Hook::validating(c)) {
            if hook.concerns(&self.0, request).await? {
                hooks.push(hook);
            }
        }
        let asked = hooks.iter().map(|hook| async move {
            match hook.ask(&self.0, request).await {
                Ok(verdict) => match verdict.denied {
                    Some(status) => Err(review::refusal(&hook.name, status)),
                    None => Ok(verdict.warnings),
                },
                Err(error) => hook.failed(error).map(|()| Vec::new()),
            }
        });
        for answer in futures::future::join_all(asked).await {
            request.warnings.extend(answer?);
        }
        Ok(())
    }
}
