//! The API in this process, recorded: components of this process are audited as those that come over the network are.

use super::body::status;
use super::{Asked, Auditor, Trail};
use crate::contract::{Attributes, UserInfo};
use api::StoredObject;
use api::transport::{
    DeleteOptions, Deleted, ListOptions, ObjectList, Patch, Target, Transport, WatchStream, WriteOptions,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use machinery::Status;
use machinery::gvk::Name;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;

struct Audited {
    inner: Arc<dyn Transport>,
    auditor: Arc<Auditor>,
    user: Arc<UserInfo>,
}

/// `inner`, which acts as `user`, with a record of every call.
pub(crate) fn audited(
    inner: Arc<dyn Transport>,
    auditor: Arc<Auditor>,
    user: UserInfo,
) -> Arc<dyn Transport> {
    Arc::new(Audited { inner, auditor, user: Arc::new(user) })
}

/// The path that the same request would have over HTTP.
fn path(target: &Target, verb: &str, options: &ListOptions) -> String {
    let gvr = &target.resource;
    let mut path = if gvr.group.is_empty() {
        format!("/api/{}", gvr.version)
    } else {
        format!("/apis/{}/{}", gvr.group, gvr.version)
    };
    let parts = [
        target.namespace.as_deref().map(|namespace| format!("namespaces/{namespace}")),
        Some(gvr.resource.to_string()),
        target.name.clone(),
        target.subresource.as_ref().map(ToString::to_string),
    ];
    for part in parts.into_iter().flatten().filter(|part| !part.is_empty()) {
        path.push('/');
        path.push_str(&part);
    }
    let mut query = Vec::new();
    if verb == "watch" {
        query.push("watch=true".to_owned());
    }
    query.extend(options.label_selector.as_ref().map(|selector| format!("labelSelector={selector}")));
    query.extend(options.field_selector.as_ref().map(|selector| format!("fieldSelector={selector}")));
    if !query.is_empty() {
        path.push('?');
        path.push_str(&query.join("&"));
    }
    path
}

impl Audited {
    fn begin(&self, target: &Target, verb: &'static str, options: &ListOptions) -> Option<Arc<Trail>> {
        let attributes = Attributes {
            user: self.user.clone(),
            verb: Name::Borrowed(verb),
            resource_request: true,
            group: target.resource.group.clone(),
            version: target.resource.version.clone(),
            resource: target.resource.resource.clone(),
            subresource: target.subresource.clone().unwrap_or_default(),
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone().unwrap_or_default(),
            ..Attributes::default()
        };
        self.auditor.begin(Asked {
            attributes: &attributes,
            id: crate::registry::fresh_uid(),
            uri: path(target, verb, options),
            sources: Vec::new(),
            agent: format!("windlass/{}", self.user.name),
        })
    }

    async fn record<T>(
        &self,
        trail: Option<Arc<Trail>>,
        code: u16,
        work: impl Future<Output = Result<T, Status>>,
        show: impl Fn(&T) -> Option<Value>,
    ) -> Result<T, Status> {
        let Some(trail) = trail else { return work.await };
        trail.received().await?;
        let result = trail.clone().around(work).await;
        match &result {
            Ok(answer) => {
                let shown = if trail.wants_response() { show(answer) } else { None };
                trail.completed(json!({"metadata": {}, "code": code}), shown).await;
            }
            Err(error) => trail.completed(status(error), None).await,
        }
        result
    }
}

fn object(object: &Arc<StoredObject>) -> Option<Value> {
    serde_json::from_slice(&object.to_json()).ok()
}

#[async_trait]
impl Transport for Audited {
    async fn get(&self, target: &Target) -> Result<Arc<StoredObject>, Status> {
        let trail = self.begin(target, "get", &ListOptions::default());
        self.record(trail, 200, self.inner.get(target), object).await
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        let trail = self.begin(target, "list", options);
        let items =
            |list: &ObjectList| Some(json!({"items": list.items.iter().map(object).collect::<Vec<_>>()}));
        self.record(trail, 200, self.inner.list(target, options), items).await
    }

    async fn watch(&self, target: &Target, options: &ListOptions) -> Result<WatchStream, Status> {
        let Some(trail) = self.begin(target, "watch", options) else {
            return self.inner.watch(target, options).await;
        };
        trail.received().await?;
        match trail.clone().around(self.inner.watch(target, options)).await {
            Ok(stream) => {
                trail.started(json!({"metadata": {}, "code": 200})).await;
                // The record ends with the stream.
                Ok(stream
                    .map(move |event| {
                        let _ = &trail;
                        event
                    })
                    .boxed())
            }
            Err(error) => {
                trail.completed(status(&error), None).await;
                Err(error)
            }
        }
    }

    async fn create(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let trail = self.begin(target, "create", &ListOptions::default());
        self.record(trail, 201, self.inner.create(target, body, options), object).await
    }

    async fn update(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let trail = self.begin(target, "update", &ListOptions::default());
        self.record(trail, 200, self.inner.update(target, body, options), object).await
    }

    async fn patch(
        &self,
        target: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let trail = self.begin(target, "patch", &ListOptions::default());
        let bytes = match &patch {
            Patch::Json(bytes) | Patch::Merge(bytes) | Patch::Strategic(bytes) | Patch::Apply(bytes) => {
                bytes.clone()
            }
        };
        let work = async {
            super::request_bytes(&bytes);
            self.inner.patch(target, patch, options).await
        };
        self.record(trail, 200, work, object).await
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Deleted, Status> {
        let trail = self.begin(target, "delete", &ListOptions::default());
        self.record(trail, 200, self.inner.delete(target, options), |_| None).await
    }

    async fn delete_collection(
        &self,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status> {
        let trail = self.begin(target, "deletecollection", list);
        self.record(trail, 200, self.inner.delete_collection(target, list, options), |_| None).await
    }
}
