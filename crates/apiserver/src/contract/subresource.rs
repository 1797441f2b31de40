//! Subresources and resources without storage.

use super::{Context, UserInfo};
use crate::request::RequestInfo;
use api::transport::{ListOptions, Patch, WriteOptions};
use api::{Object, ResourceDef, StoredObject, Verb};
use async_trait::async_trait;
use bytes::Bytes;
use component::serve::{Request, Response};
use machinery::gvk::Name;
use machinery::{FieldErrors, Status};
use std::sync::Arc;

/// A call of a subresource whose request and answer are objects.
#[derive(Clone, Debug)]
pub struct ObjectCall {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The parent resource.
    pub def: Arc<ResourceDef>,
    /// Namespace of the parent, or empty.
    pub namespace: String,
    /// Name of the parent.
    pub name: String,
    /// Get, Create, Update, Patch or Delete.
    pub verb: Verb,
    /// JSON body; empty for Get.
    pub body: Bytes,
    /// Set when the verb is Patch.
    pub patch: Option<Patch>,
    /// Options of a write.
    pub options: WriteOptions,
}

/// A call of a subresource that streams or proxies: exec, log, proxy.
pub struct ConnectCall {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The parent resource.
    pub def: Arc<ResourceDef>,
    /// The parsed path.
    pub info: RequestInfo,
    /// The request, body unread.
    pub request: Request,
}

/// How a subresource that writes its parent (`status`, `finalize`, `resize`, …) limits what a write may change.
pub trait UpdateRules: Send + Sync {
    /// Copies from `old` whatever this subresource may not change.
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object);
    /// Reports what is wrong.
    fn validate(&self, new: &dyn Object, old: &dyn Object) -> FieldErrors;
}

/// A subresource of a built-in resource. `status` and `scale` are the registry's own; everything else is one file
/// in `subresources/` and one row in its table.
#[async_trait]
pub trait SubresourceHandler: Send + Sync {
    /// Group and plural of the parent.
    fn parent(&self) -> (&'static str, &'static str);
    /// Name of the subresource.
    fn name(&self) -> &'static str;
    /// Set when this subresource reads and writes its parent: the registry then does get, update and patch.
    fn update_rules(&self) -> Option<&dyn UpdateRules> {
        None
    }
    /// Whether calls go to [`SubresourceHandler::connect`].
    fn connects(&self) -> bool {
        false
    }
    /// Answers a call whose request and answer are objects. Creations answer 201.
    async fn call(&self, context: &Context, call: ObjectCall) -> Result<Arc<StoredObject>, Status> {
        let _ = context;
        let gr = machinery::GroupResource::new(call.def.gvk.group.clone(), call.def.plural.clone());
        Err(Status::method_not_allowed(&gr, call.verb.as_str()))
    }
    /// Answers a call that streams or proxies.
    async fn connect(&self, context: &Context, call: ConnectCall) -> Result<Response, Status> {
        let _ = context;
        let gr = machinery::GroupResource::new(call.def.gvk.group.clone(), call.def.plural.clone());
        Err(Status::method_not_allowed(&gr, "connect"))
    }
}

/// A resource that is computed, not stored: reviews, bindings, component statuses.
#[async_trait]
pub trait VirtualResource: Send + Sync {
    /// Group and plural.
    fn resource(&self) -> (&'static str, &'static str);
    /// Answers a POST with the object to send back.
    async fn create(
        &self,
        context: &Context,
        user: &Arc<UserInfo>,
        namespace: &str,
        object: Box<dyn Object>,
        options: &WriteOptions,
    ) -> Result<Box<dyn Object>, Status> {
        let _ = (context, user, namespace, options);
        Err(unsupported(object.gvk().kind, "create"))
    }
    /// Answers a GET of one object; `None` is 404.
    async fn get(
        &self,
        context: &Context,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Box<dyn Object>>, Status> {
        let _ = (context, namespace, name);
        Ok(None)
    }
    /// Answers a GET of the collection.
    async fn list(
        &self,
        context: &Context,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Vec<Box<dyn Object>>, Status> {
        let _ = (context, namespace, options);
        Ok(Vec::new())
    }
}

fn unsupported(kind: Name, action: &str) -> Status {
    Status::method_not_allowed(&machinery::GroupResource::new("", kind), action)
}
