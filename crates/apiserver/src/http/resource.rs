//! Requests about resources: from the parsed path to the registry and back.

use super::metrics::Metrics;
use super::negotiate::{Form, Media, Offer};
use super::respond::Answer;
use super::table::Include;
use super::{binary, body, compress, list, negotiate, pretty, watch, websocket};
use crate::contract::{ConnectCall, ObjectCall, SubresourceHandler, VirtualResource};
use crate::registry::{At, Caller, Registry, ScaleBody, Written};
use crate::request::RequestInfo;
use api::transport::{DeleteOptions, Deleted, Propagation};
use api::{ResourceDef, StoredObject, Verb};
use bytes::Bytes;
use component::serve::{Request, Response};
use futures::StreamExt;
use machinery::{GroupResource, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

/// What serves requests about resources.
pub(super) struct Resources {
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) max_body: usize,
    pub(super) cbor: bool,
    pub(super) stop: CancellationToken,
}

/// One request on its way.
struct Call<'a> {
    resources: &'a Resources,
    caller: &'a Caller,
    info: &'a RequestInfo,
    def: Arc<ResourceDef>,
    answer: Answer,
}

fn api_verb(verb: &str) -> Option<Verb> {
    Verb::ALL.iter().copied().find(|known| known.as_str() == verb)
}

impl Resources {
    /// Answers one request.
    pub(super) async fn handle(
        &self,
        caller: &Caller,
        info: &RequestInfo,
        request: Request,
    ) -> Result<Response, Status> {
        let def = self.registry.resource_at(&info.group, &info.version, &info.resource)?;
        if !def.namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
            return Err(Status::no_such_path());
        }
        if !info.subresource.is_empty() {
            return self.subresource(caller, info, def, request).await;
        }
        let answer = self.answer(info, &request, true)?;
        let call = Call { resources: self, caller, info, def, answer };
        call.main(request).await
    }

    fn answer(&self, info: &RequestInfo, request: &Request, transforms: bool) -> Result<Answer, Status> {
        let headers = request.headers();
        let (media, form) = negotiate::negotiate(headers, self.offer(info, transforms))?;
        let include = match form {
            Form::Table(_) => Include::parse(info.query.get("includeObject"))?,
            _ => Include::Metadata,
        };
        Ok(Answer {
            media,
            form,
            pretty: media == Media::Json && pretty::wanted(&info.query, headers),
            gzip: compress::accepted(headers),
            include,
            now: self.registry.now(),
        })
    }

    fn offer(&self, info: &RequestInfo, transforms: bool) -> Offer {
        let protobuf =
            api::ResourceTable::shared().find(&info.group, &info.version, &info.resource).is_some();
        Offer { protobuf, cbor: self.cbor, transforms, stream: info.verb == "watch" }
    }

    async fn subresource(
        &self,
        caller: &Caller,
        info: &RequestInfo,
        def: Arc<ResourceDef>,
        request: Request,
    ) -> Result<Response, Status> {
        if !def.has_subresource(&info.subresource) {
            return Err(Status::no_such_path());
        }
        if let Some(handler) = self.registry.subresource(&def, &info.subresource)
            && handler.connects()
        {
            let context = self.registry.context()?;
            let call = ConnectCall { user: caller.user.clone(), def, info: info.clone(), request };
            return handler.connect(context, call).await;
        }
        let answer = self.answer(info, &request, false)?;
        let call = Call { resources: self, caller, info, def, answer };
        call.sub(request).await
    }
}

impl Call<'_> {
    fn registry(&self) -> &Arc<Registry> {
        &self.resources.registry
    }

    fn gr(&self) -> GroupResource {
        GroupResource { group: self.def.gvk.group.clone(), resource: self.def.plural.clone() }
    }

    /// The namespace of the path as storage knows it: a Namespace is in none.
    fn namespace(&self) -> &str {
        if self.def.namespaced { &self.info.namespace } else { "" }
    }

    async fn main(self, request: Request) -> Result<Response, Status> {
        let verb = api_verb(&self.info.verb).ok_or_else(|| method_not_allowed(&self.info.verb))?;
        if !self.def.verbs.contains(&verb) {
            return Err(Status::method_not_allowed(&self.gr(), verb.as_str()));
        }
        // Reading one object, and changing one, needs its name; a POST must not have one.
        let named = !self.info.object_name().is_empty();
        match verb {
            Verb::Create if named => return Err(Status::method_not_allowed(&self.gr(), "create")),
            Verb::Update | Verb::Patch | Verb::Delete if !named => {
                return Err(Status::method_not_allowed(&self.gr(), verb.as_str()));
            }
            _ => {}
        }
        if let Some(computed) = self.registry().virtual_resource(&self.def) {
            return self.computed(verb, computed.as_ref(), request).await;
        }
        match verb {
            Verb::Get => self.get().await,
            Verb::List => self.list().await,
            Verb::Watch => self.watch(request).await,
            Verb::Create => self.create(request).await,
            Verb::Update => self.update(request, "").await,
            Verb::Patch => self.patch(request, "").await,
            Verb::Delete => self.delete(request).await,
            Verb::DeleteCollection => self.delete_collection(request).await,
        }
    }

    async fn get(self) -> Result<Response, Status> {
        let version = self.info.query.get("resourceVersion");
        let object = self.registry().get(&self.def, self.namespace(), &self.info.name, version).await?;
        Ok(self.answer.object(200, &self.def, &object))
    }

    async fn list(self) -> Result<Response, Status> {
        let options = self.info.query.list_options()?;
        let (registry, namespace) = (self.registry(), self.namespace());
        let page = if list::streams(&self.answer) {
            registry.list_for_stream(&self.def, namespace, &options).await?
        } else {
            registry.list(&self.def, namespace, &options).await?
        };
        if binary::applies(&self.answer) {
            return binary::list(self.answer, self.def, page).await;
        }
        Ok(list::response(&self.answer, &self.def, page))
    }

    async fn watch(self, request: Request) -> Result<Response, Status> {
        let mut options = self.info.query.list_options()?;
        if self.info.path.contains("/watch/") && !self.info.name.is_empty() {
            options.field_selector = Some(format!("metadata.name={}", self.info.name));
        }
        let deliveries = self.registry().watch(&self.def, self.namespace(), &options).await?;
        let stop = self.resources.stop.clone();
        let registry = self.registry().clone();
        let sent = self.resources.metrics.watch_events(&self.def);
        let counted = deliveries.inspect(move |batch| {
            sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
        });
        let tasks = &self.resources.registry.context()?.tasks;
        let events = watch::Events::new(registry, self.def, self.answer, counted.boxed(), stop);
        if websocket::wanted(request.headers()) {
            return websocket::response(request, events, tasks);
        }
        Ok(events.response())
    }

    async fn body(&self, request: Request) -> Result<Bytes, Status> {
        body::check_object_type(request.headers(), self.readable())?;
        let (parts, incoming) = request.into_parts();
        body::to_text(&parts.headers, body::read(incoming, self.resources.max_body).await?)
    }

    fn readable(&self) -> body::Readable {
        let protobuf = api::ResourceTable::shared().get(&self.def.gvr()).is_some();
        body::Readable { protobuf, cbor: self.resources.cbor }
    }

    /// The options of a deletion, from query and body.
    async fn delete_options(&self, request: Request) -> Result<DeleteOptions, Status> {
        let options = self.info.query.delete_options()?;
        let (parts, incoming) = request.into_parts();
        let bytes = body::read(incoming, self.resources.max_body).await?;
        if !bytes.is_empty() {
            body::check_object_type(&parts.headers, body::Readable { protobuf: true, ..self.readable() })?;
        }
        let bytes = body::to_text(&parts.headers, bytes)?;
        crate::audit::request_bytes(&bytes);
        body::delete_options(options, &bytes)
    }

    fn written(&self, written: &Written) -> Response {
        let code = if written.created { 201 } else { 200 };
        self.answer.object(code, &self.def, &written.object)
    }

    async fn create(self, request: Request) -> Result<Response, Status> {
        let options = self.info.query.write_options()?;
        let body = self.body(request).await?;
        let (caller, namespace) = (self.caller, self.namespace());
        let written = self.registry().create(caller, &self.def, namespace, &body, &options).await?;
        Ok(self.written(&written))
    }

    async fn update(self, request: Request, subresource: &str) -> Result<Response, Status> {
        let options = self.info.query.write_options()?;
        let body = self.body(request).await?;
        let (caller, namespace, name) = (self.caller, self.namespace(), self.info.name.as_str());
        let registry = self.registry();
        let written =
            registry.update(caller, &self.def, At { namespace, name, subresource }, &body, &options).await?;
        Ok(self.written(&written))
    }

    async fn read_patch(&self, request: Request) -> Result<api::transport::Patch, Status> {
        let (parts, incoming) = request.into_parts();
        // Custom resources have no merge keys.
        let body::Readable { protobuf: strategic, cbor } = self.readable();
        body::patch(&parts.headers, Bytes::new(), strategic, cbor)?;
        let bytes = body::read(incoming, self.resources.max_body).await?;
        crate::audit::request_bytes(&bytes);
        body::patch(&parts.headers, bytes, strategic, cbor)
    }

    async fn patch(self, request: Request, subresource: &str) -> Result<Response, Status> {
        let options = self.info.query.write_options()?;
        let patch = self.read_patch(request).await?;
        let (caller, namespace, name) = (self.caller, self.namespace(), self.info.name.as_str());
        let registry = self.registry();
        let written =
            registry.patch(caller, &self.def, At { namespace, name, subresource }, &patch, &options).await?;
        Ok(self.written(&written))
    }

    async fn delete(self, request: Request) -> Result<Response, Status> {
        let options = self.delete_options(request).await?;
        let (caller, namespace, name) = (self.caller, self.namespace(), self.info.name.as_str());
        match self.registry().delete(caller, &self.def, namespace, name, &options).await? {
            Deleted::Pending(object) => {
                // Upstream says "accepted" only to those who asked for the dependents to go first.
                let code = if options.propagation == Some(Propagation::Foreground) { 202 } else { 200 };
                Ok(self.answer.object(code, &self.def, &object))
            }
            Deleted::Gone(object) if crate::registry::returns_deleted(&self.def) => {
                Ok(self.answer.object(200, &self.def, &object))
            }
            Deleted::Gone(object) => Ok(self.answer.value(200, &self.deleted(&object))),
        }
    }

    /// The Status that most kinds answer a finished deletion with.
    fn deleted(&self, object: &StoredObject) -> Value {
        let mut details = json!({"name": self.info.name});
        if !self.def.gvk.group.is_empty() {
            details["group"] = json!(self.def.gvk.group);
        }
        details["kind"] = json!(self.def.plural);
        if let Some(uid) = &object.meta().uid {
            details["uid"] = json!(uid);
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }

    async fn delete_collection(self, request: Request) -> Result<Response, Status> {
        let list = self.info.query.list_options()?;
        let options = self.delete_options(request).await?;
        let (caller, namespace) = (self.caller, self.namespace());
        let gone = self.registry().delete_collection(caller, &self.def, namespace, &list, &options).await?;
        Ok(list::plain(&self.answer, &self.def, gone))
    }

    async fn computed(
        self,
        verb: Verb,
        computed: &dyn VirtualResource,
        request: Request,
    ) -> Result<Response, Status> {
        let context = self.registry().context()?.clone();
        let stored = |object| StoredObject::from_object(object).map(Arc::new).map_err(Status::internal);
        match verb {
            Verb::Create => {
                let options = self.info.query.write_options()?;
                let body = self.body(request).await?;
                let registry = self.registry();
                let object = registry.decode(self.caller, &self.def, self.namespace(), &body, &options)?;
                let object =
                    computed.create(&context, &self.caller.user, self.namespace(), object, &options).await?;
                let code = if options.dry_run { 200 } else { 201 };
                let object = stored(object)?;
                // The answer may be of another kind (bindings answer with a Status).
                Ok(self.answer.raw(code, &object))
            }
            Verb::Get => match computed.get(&context, self.namespace(), &self.info.name).await? {
                Some(object) => Ok(self.answer.object(200, &self.def, stored(object)?.as_ref())),
                None => Err(Status::not_found(&self.gr(), &self.info.name)),
            },
            Verb::List => {
                let options = self.info.query.list_options()?;
                let objects = computed.list(&context, self.namespace(), &options).await?;
                let items = objects.into_iter().map(stored).collect::<Result<Vec<_>, _>>()?;
                Ok(list::plain(&self.answer, &self.def, items))
            }
            other => Err(Status::method_not_allowed(&self.gr(), other.as_str())),
        }
    }

    async fn sub(self, request: Request) -> Result<Response, Status> {
        let subresource = self.info.subresource.clone();
        let verb = api_verb(&self.info.verb).ok_or_else(|| method_not_allowed(&self.info.verb))?;
        let offered = self.def.subresources.iter().find(|s| s.name == subresource.as_str());
        if !offered.is_some_and(|sub| sub.verbs.contains(&verb)) {
            return Err(Status::method_not_allowed(&self.gr(), verb.as_str()));
        }
        if subresource == "scale" {
            return self.scale(verb, request).await;
        }
        if let Some(handler) = self.registry().subresource(&self.def, &subresource)
            && (handler.update_rules().is_none() || verb == Verb::Create)
        {
            return self.call(verb, handler.as_ref(), request).await;
        }
        match verb {
            Verb::Get => self.get().await,
            Verb::Update => self.update(request, &subresource).await,
            Verb::Patch => self.patch(request, &subresource).await,
            _ => Err(Status::not_supported(format!("the subresource {}/{subresource}", self.def.plural))),
        }
    }

    async fn scale(self, verb: Verb, request: Request) -> Result<Response, Status> {
        let registry = self.registry().clone();
        let (namespace, name) = (self.namespace(), self.info.name.as_str());
        if verb == Verb::Get {
            let scale = registry.get_scale(&self.def, namespace, name).await?;
            return Ok(self.answer.raw(200, &scale));
        }
        let options = self.info.query.write_options()?;
        let patch;
        let bytes;
        let body = if verb == Verb::Patch {
            patch = self.read_patch(request).await?;
            ScaleBody::Patch(&patch)
        } else {
            bytes = self.body(request).await?;
            ScaleBody::Put(&bytes)
        };
        let written = registry.write_scale(self.caller, &self.def, namespace, name, body, &options).await?;
        Ok(self.answer.raw(200, &written.object))
    }

    async fn call(
        self,
        verb: Verb,
        handler: &dyn SubresourceHandler,
        request: Request,
    ) -> Result<Response, Status> {
        let options = self.info.query.write_options()?;
        let (mut bytes, mut patch) = (Bytes::new(), None);
        match verb {
            Verb::Get => {}
            Verb::Patch => patch = Some(self.read_patch(request).await?),
            _ => bytes = self.body(request).await?,
        }
        if verb == Verb::Create {
            let (namespace, name) = (self.namespace(), self.info.name.as_str());
            let at = At { namespace, name, subresource: &self.info.subresource };
            bytes = self.registry().admit_body(self.caller, &self.def, at, bytes, &options).await?;
        }
        let call = ObjectCall {
            user: self.caller.user.clone(),
            def: self.def.clone(),
            namespace: self.namespace().to_owned(),
            name: self.info.name.clone(),
            verb,
            body: bytes,
            patch,
            options,
        };
        let object = handler.call(self.registry().context()?, call).await?;
        Ok(self.answer.raw(if verb == Verb::Create { 201 } else { 200 }, &object))
    }
}

fn method_not_allowed(verb: &str) -> Status {
    Status::new(
        405,
        machinery::Reason::MethodNotAllowed,
        format!("the server does not allow this method on the requested resource: {verb}"),
    )
}
