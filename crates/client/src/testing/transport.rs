//! [`Transport`] of the fake API.

use super::{FakeApi, Filter, Key, State, is_finalized};
use crate::time;
use api::transport::{
    DeleteOptions, Deleted, ListOptions, ObjectList, Patch, Propagation, Target, Transport, WatchEvent,
    WatchStream, WriteOptions,
};
use api::{Object, ResourceDef, StoredObject};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use machinery::{Status, names, patch};
use std::collections::VecDeque;
use std::sync::Arc;

fn key_of(def: &ResourceDef, target: &Target, name: &str) -> Key {
    (def.storage.clone(), target.namespace.clone().unwrap_or_default(), name.to_owned())
}

fn decode(def: &ResourceDef, json: &[u8]) -> Result<Box<dyn Object>, Status> {
    def.strategy.decode(json).map_err(|error| Status::bad_request(error.to_string()))
}

fn check(def: &ResourceDef, name: &str, errors: &machinery::FieldErrors) -> Result<(), Status> {
    if errors.0.is_empty() { Ok(()) } else { Err(Status::invalid(&def.gvk.group_kind(), name, errors)) }
}

impl FakeApi {
    /// Replaces an object by the rules of its resource, and removes it when its last finalizer went.
    fn replace(
        &self,
        state: &mut State,
        def: &ResourceDef,
        target: &Target,
        mut object: Box<dyn Object>,
    ) -> Result<Arc<StoredObject>, Status> {
        let name = target.name.clone().unwrap_or_default();
        let key = key_of(def, target, &name);
        let stored = state.find(&key)?;
        let old = stored.object(&*def.strategy).map_err(Status::internal)?;
        if let Some(version) = &object.meta().resource_version
            && *version != stored.revision().to_string()
        {
            return Err(Status::stale(&key.0, &name));
        }
        let (old_meta, meta) = (old.meta().clone(), object.meta_mut());
        meta.uid = old_meta.uid;
        meta.creation_timestamp = old_meta.creation_timestamp;
        meta.deletion_timestamp = old_meta.deletion_timestamp;
        meta.deletion_grace_period_seconds = old_meta.deletion_grace_period_seconds;
        meta.namespace = old_meta.namespace;
        meta.resource_version = Some(stored.revision().to_string());
        if target.subresource.as_deref() == Some("status") {
            def.strategy.prepare_status_update(&mut *object, &*old);
            check(def, &name, &def.strategy.validate_status_update(&*object, &*old))?;
        } else if target.subresource.is_none() {
            def.strategy.set_defaults(&mut *object);
            def.strategy.prepare_update(&mut *object, &*old);
            check(def, &name, &def.strategy.validate_update(&*object, &*old))?;
        }
        if object.equals(&*old) {
            return Ok(stored);
        }
        let meta = object.meta();
        let removed = meta.deletion_timestamp.is_some()
            && is_finalized(meta)
            && meta.deletion_grace_period_seconds.unwrap_or(0) == 0;
        let answer = state.commit(key, object, removed)?;
        self.wake();
        Ok(answer)
    }

    fn remove(
        &self,
        state: &mut State,
        def: &ResourceDef,
        key: Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let stored = state.find(&key)?;
        let mut object = stored.object(&*def.strategy).map_err(Status::internal)?.clone_object();
        let meta = object.meta();
        if options.uid.is_some() && options.uid != meta.uid {
            return Err(Status::conflict(&key.0, &key.2, "the UID in the precondition does not match"));
        }
        if options.resource_version.as_ref().is_some_and(|version| *version != stored.revision().to_string())
        {
            return Err(Status::conflict(
                &key.0,
                &key.2,
                "the resourceVersion in the precondition does not match",
            ));
        }
        let grace = grace_of(&*object, options);
        let meta = object.meta_mut();
        let finalizer = match options.propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            let all = meta.finalizers.get_or_insert_default();
            if !all.iter().any(|known| known == finalizer) {
                all.push(finalizer.to_owned());
            }
        }
        if is_finalized(meta) && grace == 0 {
            let gone = Deleted::Gone(state.commit(key, object, true)?);
            self.wake();
            return Ok(gone);
        }
        if meta.deletion_timestamp.is_some()
            && meta.deletion_grace_period_seconds == Some(grace)
            && finalizer.is_none()
        {
            return Ok(Deleted::Pending(stored));
        }
        if meta.deletion_timestamp.is_none() {
            meta.deletion_timestamp = Some(time::time(&*self.shared.clock));
            meta.generation = meta.generation.map(|generation| generation + 1);
        }
        meta.deletion_grace_period_seconds = Some(grace);
        let pending = Deleted::Pending(state.commit(key, object, false)?);
        self.wake();
        Ok(pending)
    }
}

/// Only pods that run on a node are deleted gracefully.
fn grace_of(object: &dyn Object, options: &DeleteOptions) -> i64 {
    let Some(spec) = object.downcast_ref::<Pod>().and_then(|pod| pod.spec.as_ref()) else { return 0 };
    if spec.node_name.as_deref().unwrap_or("").is_empty() {
        return 0;
    }
    options.grace_period_seconds.or(spec.termination_grace_period_seconds).unwrap_or(30)
}

#[async_trait]
impl Transport for FakeApi {
    async fn get(&self, target: &Target) -> Result<Arc<StoredObject>, Status> {
        let def = self.begin("get", target)?;
        let key = key_of(&def, target, target.name.as_deref().unwrap_or(""));
        self.shared.state.lock().find(&key)
    }

    async fn list(&self, target: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        let filter = Filter::new(self.begin("list", target)?, target, options)?;
        let state = self.shared.state.lock();
        let rows = state.objects.iter().filter(|(key, stored)| filter.covers(key) && filter.selects(stored));
        let items = rows.map(|(_, stored)| stored.clone()).collect();
        Ok(ObjectList { revision: state.revision, items, ..ObjectList::default() })
    }

    async fn watch(&self, target: &Target, options: &ListOptions) -> Result<WatchStream, Status> {
        let filter = Filter::new(self.begin("watch", target)?, target, options)?;
        let state = self.shared.state.lock();
        let asked: i64 = options.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        let initial = options.send_initial_events == Some(true);
        if initial && state.refuse_initial_events {
            return Err(Status::bad_request("sendInitialEvents is forbidden"));
        }
        let mut first: VecDeque<Result<WatchEvent, Status>> = VecDeque::new();
        let mut at = asked;
        if initial || asked == 0 {
            let rows =
                state.objects.iter().filter(|(key, stored)| filter.covers(key) && filter.selects(stored));
            first.extend(rows.map(|(_, stored)| Ok(WatchEvent::Added(stored.clone()))));
            at = state.revision;
            if initial {
                first.push_back(Ok(WatchEvent::Bookmark { revision: at, initial_done: true }));
            }
        } else if asked < state.compacted {
            first.push_back(Err(Status::expired("too old resource version")));
        }
        let epoch = state.epoch;
        drop(state);
        let (api, changed) = (self.clone(), self.shared.changed.subscribe());
        let open = (api, filter, changed, first, at);
        Ok(futures::stream::unfold(open, move |(api, filter, mut changed, mut pending, mut at)| async move {
            loop {
                if let Some(event) = pending.pop_front() {
                    return Some((event, (api, filter, changed, pending, at)));
                }
                {
                    let state = api.shared.state.lock();
                    if state.epoch != epoch {
                        return None;
                    }
                    pending.extend(
                        state.log.iter().filter(|c| c.revision > at).filter_map(|c| filter.tell(c)).map(Ok),
                    );
                    at = state.revision;
                }
                if pending.is_empty() && changed.changed().await.is_err() {
                    return None;
                }
            }
        })
        .boxed())
    }

    async fn create(
        &self,
        target: &Target,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let def = self.begin("create", target)?;
        if target.name.is_some() {
            return Err(Status::not_supported("creating subresources in the fake API"));
        }
        let mut object = decode(&def, &body)?;
        let mut state = self.shared.state.lock();
        state.serial += 1;
        let serial = state.serial;
        let meta = object.meta_mut();
        if meta.name.as_deref().unwrap_or("").is_empty() {
            let prefix = meta.generate_name.clone().unwrap_or_default();
            let mut seed = usize::try_from(serial).unwrap_or(0);
            meta.name = Some(names::generate_name(&prefix, |n| {
                let digit = seed % n;
                seed /= n;
                digit
            }));
        }
        let name = meta.name.clone().unwrap_or_default();
        meta.namespace = target.namespace.clone();
        meta.uid = Some(format!("uid-{serial}"));
        meta.creation_timestamp = Some(time::time(&*self.shared.clock));
        meta.resource_version = None;
        def.strategy.set_defaults(&mut *object);
        def.strategy.prepare_create(&mut *object);
        check(&def, &name, &def.strategy.validate_create(&*object))?;
        let key = key_of(&def, target, &name);
        if state.objects.contains_key(&key) {
            return Err(Status::already_exists(&key.0, &name));
        }
        if options.dry_run {
            return Ok(Arc::new(StoredObject::from_object(object).map_err(Status::internal)?));
        }
        let stored = state.commit(key, object, false)?;
        self.wake();
        Ok(stored)
    }

    async fn update(
        &self,
        target: &Target,
        body: Bytes,
        _: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let def = self.begin("update", target)?;
        let object = decode(&def, &body)?;
        let mut state = self.shared.state.lock();
        self.replace(&mut state, &def, target, object)
    }

    async fn patch(
        &self,
        target: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<Arc<StoredObject>, Status> {
        let def = self.begin("patch", target)?;
        let body: serde_json::Value = serde_json::from_slice(patch.body())
            .map_err(|error| Status::bad_request(format!("failed to parse the patch: {error}")))?;
        let key = key_of(&def, target, target.name.as_deref().unwrap_or(""));
        if matches!(patch, Patch::Apply(_)) && !self.shared.state.lock().objects.contains_key(&key) {
            let mut collection = target.clone();
            collection.name = None;
            return self.create(&collection, patch.body().clone(), options).await;
        }
        let mut state = self.shared.state.lock();
        let stored = state.find(&key)?;
        let mut value: serde_json::Value =
            serde_json::from_slice(&stored.to_json()).map_err(Status::internal)?;
        match patch {
            Patch::Json(_) => patch::json::apply(&mut value, body)?,
            Patch::Merge(_) | Patch::Strategic(_) | Patch::Apply(_) => patch::merge::apply(&mut value, body)?,
        }
        let object = decode(&def, value.to_string().as_bytes())?;
        self.replace(&mut state, &def, target, object)
    }

    async fn delete(&self, target: &Target, options: &DeleteOptions) -> Result<Deleted, Status> {
        let def = self.begin("delete", target)?;
        let key = key_of(&def, target, target.name.as_deref().unwrap_or(""));
        let mut state = self.shared.state.lock();
        self.remove(&mut state, &def, key, options)
    }

    async fn delete_collection(
        &self,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status> {
        let def = self.begin("deletecollection", target)?;
        let filter = Filter::new(def.clone(), target, list)?;
        let mut state = self.shared.state.lock();
        let keys: Vec<Key> = state
            .objects
            .iter()
            .filter(|(key, stored)| filter.covers(key) && filter.selects(stored))
            .map(|(key, _)| key.clone())
            .collect();
        keys.into_iter()
            .map(|key| {
                self.remove(&mut state, &def, key, options).map(|deleted| match deleted {
                    Deleted::Gone(object) | Deleted::Pending(object) => object,
                })
            })
            .collect()
    }
}
