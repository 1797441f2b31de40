//! The API in this process: [`Transport`] over the registry, without sockets or copies.

use crate::contract::{Attributes, ObjectCall, UserInfo};
use crate::flowcontrol::{Listing, Ticket};
use crate::registry::{At, Caller, Registry, ScaleBody};
use crate::{authz, contract::Context};
use api::transport::{
    DeleteOptions, Deleted, ListOptions, ObjectList, Patch, Target, Transport, WatchStream, WriteOptions,
};
use api::{ResourceDef, StoredObject, Verb};
use async_trait::async_trait;
use bytes::Bytes;
use machinery::Status;
use machinery::gvk::Name;
use std::sync::Arc;

/// The API under one identity.
pub(crate) struct Local {
    registry: Arc<Registry>,
    user: Arc<UserInfo>,
    /// The API server's own calls are not authorized: it is who decides.
    trusted: bool,
}

impl Local {
    /// The API as `user` sees it.
    pub(crate) fn new(registry: Arc<Registry>, user: UserInfo) -> Self {
        Self { registry, user: Arc::new(user), trusted: false }
    }

    /// The API for the server's own parts.
    pub(crate) fn trusted(registry: Arc<Registry>) -> Self {
        Self { registry, user: Arc::new(UserInfo::loopback()), trusted: true }
    }

    fn caller(&self, options: &WriteOptions) -> Caller {
        let name = self.user.name.rsplit(':').next().unwrap_or_default();
        Caller::new(self.user.clone(), options.field_manager.as_deref().unwrap_or(name))
    }

    /// The resource, if the caller may do `verb` with it, and the place among the requests that run now.
    async fn allow(&self, target: &Target, verb: &'static str) -> Result<(Arc<ResourceDef>, Ticket), Status> {
        self.allow_selected(target, verb, &ListOptions::default()).await
    }

    /// The resource, if the caller may do `verb` with what the selectors choose of it.
    async fn allow_selected(
        &self,
        target: &Target,
        verb: &'static str,
        options: &ListOptions,
    ) -> Result<(Arc<ResourceDef>, Ticket), Status> {
        let def = self.registry.resource(&target.resource)?;
        let mut ticket = Ticket::default();
        if !self.trusted {
            let attributes = Attributes {
                user: self.user.clone(),
                verb: Name::Borrowed(verb),
                resource_request: true,
                group: target.resource.group.clone(),
                version: target.resource.version.clone(),
                resource: target.resource.resource.clone(),
                subresource: target.subresource.clone().unwrap_or_default(),
                namespace: namespace_of(target).to_owned(),
                name: target.name.clone().or_else(|| named_by(options)).unwrap_or_default(),
                path: String::new(),
                field_selector: options.field_selector.clone(),
                label_selector: options.label_selector.clone(),
            };
            let context = self.context()?;
            let entered = context.flow.enter(&attributes, Listing::of_options(options)).await;
            ticket = entered.map_err(|refused| refused.status())?;
            authz::check(context, &attributes).await?;
        }
        Ok((def, ticket))
    }

    fn context(&self) -> Result<&Context, Status> {
        self.registry.context()
    }

    fn call(
        &self,
        def: Arc<ResourceDef>,
        target: &Target,
        verb: Verb,
        body: Bytes,
        options: &WriteOptions,
    ) -> ObjectCall {
        ObjectCall {
            user: self.user.clone(),
            namespace: storage_namespace(&def, target).to_owned(),
            def,
            name: target.name.clone().unwrap_or_default(),
            verb,
            body,
            patch: None,
            options: options.clone(),
        }
    }

    /// Calls the handler of a subresource that is not just a view of its parent.
    async fn handled(
        &self,
        def: &Arc<ResourceDef>,
        target: &Target,
        verb: Verb,
        body: Bytes,
        patch: Option<Patch>,
        options: &WriteOptions,
    ) -> Result<Option<Arc<StoredObject>>, Status> {
        let subresource = subresource_of(target);
        if subresource.is_empty() {
            return Ok(None);
        }
        if !def.has_subresource(subresource) {
            return Err(Status::no_such_path());
        }
        match self.registry.subresource(def, subresource) {
            Some(handler) if handler.update_rules().is_none() || verb == Verb::Create => {
                let mut call = self.call(def.clone(), target, verb, body, options);
                call.patch = patch;
                handler.call(self.context()?, call).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn namespace_of(target: &Target) -> &str {
    target.namespace.as_deref().unwrap_or_default()
}

fn storage_namespace<'a>(def: &ResourceDef, target: &'a Target) -> &'a str {
    if def.namespaced { namespace_of(target) } else { "" }
}

/// A list of one named object is authorized as access to that object.
fn named_by(options: &ListOptions) -> Option<String> {
    crate::request::selected_name(options.field_selector.as_deref()?).map(ToOwned::to_owned)
}

fn name_of(target: &Target) -> Result<&str, Status> {
    target
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Status::bad_request("the request needs the name of an object"))
}

fn subresource_of(target: &Target) -> &str {
    target.subresource.as_deref().unwrap_or_default()
}

#[async_trait]
impl Transport for Local {
    async fn get(&self, target: &Target) -> Result<Arc<StoredObject>, Status> {
        let (def, _ticket) = self.allow(target, "get").await?;
        let (namespace, name) = (storage_namespace(&def, target), name_of(target)?);
        if subresource_of(target) == "scale" {
            return self.registry.get_scale(&def, namespace, name).await;
        }
        let options = WriteOptions::default();
        if let Some(object) = self.handled(&def, target, Verb::Get, Bytes::new(), None, &options).await? {
            return Ok(object);
        }
        if let Some(computed) = self.registry.virtual_resource(&def) {
            let object = computed.get(self.context()?, namespace, name).await?;
            let gr = machinery::GroupResource::new(def.gvk.group.clone(), def.plural.clone());
            let object = object.ok_or_else(|| Status::not_found(&gr, name))?;
            return StoredObject::from_object(object).map(Arc::new).map_err(Status::internal);
        }
        self.registry.get(&def, namespace, name, None).await
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        let (def, _ticket) = self.allow_selected(target, "list", options).await?;
        let page = self.registry.list(&def, storage_namespace(&def, target), options).await?;
        Ok(ObjectList {
            revision: page.revision,
            items: page.items,
            continue_token: page.continue_token,
            remaining: page.remaining,
        })
    }

    async fn watch(&self, target: &Target, options: &ListOptions) -> Result<WatchStream, Status> {
        let (def, _ticket) = self.allow_selected(target, "watch", options).await?;
        self.registry.watch_objects(&def, storage_namespace(&def, target), options).await
    }

    async fn create(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let (def, _ticket) = self.allow(target, "create").await?;
        let caller = self.caller(options);
        let namespace = storage_namespace(&def, target);
        if let Some(object) = self.handled(&def, target, Verb::Create, body.clone(), None, options).await? {
            return Ok(object);
        }
        if !subresource_of(target).is_empty() {
            return Err(Status::not_supported(format!("creating {}/{}", def.plural, subresource_of(target))));
        }
        if let Some(computed) = self.registry.virtual_resource(&def) {
            let object = self.registry.decode(&caller, &def, namespace, &body, options)?;
            let object = computed.create(self.context()?, &self.user, namespace, object, options).await?;
            return StoredObject::from_object(object).map(Arc::new).map_err(Status::internal);
        }
        Ok(self.registry.create(&caller, &def, namespace, &body, options).await?.object)
    }

    async fn update(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let (def, _ticket) = self.allow(target, "update").await?;
        let caller = self.caller(options);
        let (namespace, name) = (storage_namespace(&def, target), name_of(target)?);
        let subresource = subresource_of(target);
        if subresource == "scale" {
            let body = ScaleBody::Put(&body);
            return Ok(self
                .registry
                .write_scale(&caller, &def, namespace, name, body, options)
                .await?
                .object);
        }
        if let Some(object) = self.handled(&def, target, Verb::Update, body.clone(), None, options).await? {
            return Ok(object);
        }
        let written =
            self.registry.update(&caller, &def, At { namespace, name, subresource }, &body, options).await?;
        Ok(written.object)
    }

    async fn patch(
        &self,
        target: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let (def, _ticket) = self.allow(target, "patch").await?;
        let caller = self.caller(options);
        let (namespace, name) = (storage_namespace(&def, target), name_of(target)?);
        let subresource = subresource_of(target);
        if subresource == "scale" {
            let body = ScaleBody::Patch(&patch);
            return Ok(self
                .registry
                .write_scale(&caller, &def, namespace, name, body, options)
                .await?
                .object);
        }
        if let Some(object) =
            self.handled(&def, target, Verb::Patch, Bytes::new(), Some(patch.clone()), options).await?
        {
            return Ok(object);
        }
        let written =
            self.registry.patch(&caller, &def, At { namespace, name, subresource }, &patch, options).await?;
        Ok(written.object)
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Deleted, Status> {
        let (def, _ticket) = self.allow(target, "delete").await?;
        let caller = self.caller(&WriteOptions::default());
        self.registry.delete(&caller, &def, storage_namespace(&def, target), name_of(target)?, options).await
    }

    async fn delete_collection(
        &self,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status> {
        let (def, _ticket) = self.allow_selected(target, "deletecollection", list).await?;
        let caller = self.caller(&WriteOptions::default());
        let namespace = storage_namespace(&def, target);
        self.registry.delete_collection(&caller, &def, namespace, list, options).await
    }
}
