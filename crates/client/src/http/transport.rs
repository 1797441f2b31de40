//! [`Transport`] over HTTP.

use super::url::{Url, path};
use super::{HttpTransport, collect, decode, request};
use ::http::{HeaderValue, Method, header};
use api::StoredObject;
use api::transport::{
    DeleteOptions, Deleted, ListOptions, ObjectList, Patch, Propagation, Target, Transport, WatchStream,
    WriteOptions,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use machinery::Status;
use std::sync::Arc;

const JSON: &str = "application/json";

impl HttpTransport {
    async fn send(&self, method: Method, url: Url, content_type: &str, body: Bytes) -> Result<Bytes, Status> {
        let mut request = request(method, &url.into_string(), JSON)?;
        if !body.is_empty() {
            let value = HeaderValue::from_str(content_type)
                .map_err(|_| Status::bad_request(format!("{content_type:?} is not a media type")))?;
            request.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        *request.body_mut() = body;
        collect(self.raw(request).await?).await
    }
}

fn delete_body(options: &DeleteOptions) -> Bytes {
    let mut body = serde_json::json!({"apiVersion": "v1", "kind": "DeleteOptions"});
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(uid) = &options.uid {
        body["preconditions"]["uid"] = uid.as_str().into();
    }
    if let Some(version) = &options.resource_version {
        body["preconditions"]["resourceVersion"] = version.as_str().into();
    }
    if let Some(propagation) = options.propagation {
        body["propagationPolicy"] = match propagation {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        }
        .into();
    }
    if options.dry_run {
        body["dryRun"] = serde_json::json!(["All"]);
    }
    body.to_string().into()
}

#[async_trait]
impl Transport for HttpTransport {
    async fn get(&self, target: &Target) -> Result<Arc<StoredObject>, Status> {
        decode::object(&self.send(Method::GET, Url::new(path(target)), JSON, Bytes::new()).await?)
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        let url = Url::new(path(target)).list(options, false);
        decode::list(&self.send(Method::GET, url, JSON, Bytes::new()).await?)
    }

    async fn watch(&self, target: &Target, options: &ListOptions) -> Result<WatchStream, Status> {
        let url = Url::new(path(target)).list(options, true).into_string();
        let place = self.inner.lanes.place();
        let response = self.exchange(place.connections().clone(), request(Method::GET, &url, JSON)?).await?;
        let events = decode::events(response.into_body());
        // The place is given back when the stream is dropped.
        Ok(events.inspect(move |_| _ = &place).boxed())
    }

    async fn create(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let url = Url::new(path(target)).write(options);
        decode::object(&self.send(Method::POST, url, JSON, body).await?)
    }

    async fn update(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let url = Url::new(path(target)).write(options);
        decode::object(&self.send(Method::PUT, url, JSON, body).await?)
    }

    async fn patch(
        &self,
        target: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let url = Url::new(path(target)).write(options);
        decode::object(&self.send(Method::PATCH, url, patch.content_type(), patch.body().clone()).await?)
    }

    /// Servers answer the deletion of most kinds with a `Status` instead of the object; then that is what
    /// [`Deleted::Gone`] holds.
    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Deleted, Status> {
        let url = Url::new(path(target));
        let object = decode::object(&self.send(Method::DELETE, url, JSON, delete_body(options)).await?)?;
        let meta = object.meta();
        let waits = meta.finalizers.as_ref().is_some_and(|all| !all.is_empty())
            || meta.deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0);
        Ok(if meta.deletion_timestamp.is_some() && waits {
            Deleted::Pending(object)
        } else {
            Deleted::Gone(object)
        })
    }

    async fn delete_collection(
        &self,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status> {
        let url = Url::new(path(target)).list(list, false);
        let answer = self.send(Method::DELETE, url, JSON, delete_body(options)).await?;
        // Servers answer with the list of what they deleted, or with a bare success.
        Ok(decode::list(&answer).map(|list| list.items).unwrap_or_default())
    }
}
