//! Conditional writes: the only place where the registry changes the store.

use super::convert;
use super::{Registry, group_resource};
use crate::storage;
use api::{Object, ResourceDef, StoredObject};
use bytes::Bytes;
use machinery::Status;
use std::cmp::Ordering;
use std::sync::Arc;
use store::{Compare, KeyValue, LeaseId, Op, OpResult, RangeOptions, Txn};

/// How a conditional write ended.
pub(super) enum Committed {
    /// It is durable; the object as stored, at its new revision.
    Done(Arc<StoredObject>),
    /// Something else is there now (or nothing).
    Changed(Option<Arc<StoredObject>>),
}

fn parse(kv: KeyValue) -> Result<Arc<StoredObject>, Status> {
    StoredObject::new(kv.mod_revision, kv.value).map(Arc::new).map_err(Status::internal)
}

impl Registry {
    /// The bytes to store: the stored version, without a resource version.
    pub(super) async fn stored_bytes(
        &self,
        def: &ResourceDef,
        object: &mut dyn Object,
    ) -> Result<Bytes, Status> {
        object.meta_mut().resource_version = None;
        let exact = |mut json: Vec<u8>| {
            // These bytes stay as long as the object does.
            json.shrink_to_fit();
            Bytes::from(json)
        };
        let Some(conversion) = &def.conversion else { return Ok(exact(object.to_json())) };
        if let Some(remote) = &conversion.remote {
            let known = self.resources().by_gvk(&conversion.stored).cloned();
            let json = object.to_json();
            return convert::stored(def, &conversion.stored, known, remote.as_ref(), json).await.map(exact);
        }
        let mut stored = (conversion.to_stored)(object).map_err(Status::internal)?;
        stored.meta_mut().resource_version = None;
        Ok(exact(stored.to_json()))
    }

    /// Writes `value` if the key's last change is `expected` (0: if there is none).
    pub(super) async fn put(
        &self,
        key: Bytes,
        expected: i64,
        value: Bytes,
        lease: LeaseId,
    ) -> Result<Committed, Status> {
        let put = Op::Put { key: key.clone(), value: value.clone(), lease };
        let (revision, result) = self.conditional(key, expected, put).await?;
        match result {
            None => {
                Ok(Committed::Done(Arc::new(StoredObject::new(revision, value).map_err(Status::internal)?)))
            }
            Some(found) => Ok(Committed::Changed(found)),
        }
    }

    /// Removes the key if its last change is that of `old`. The object left behind carries the revision of the
    /// removal.
    pub(super) async fn remove(&self, key: Bytes, old: &StoredObject) -> Result<Committed, Status> {
        let remove = Op::Delete { start: key.clone(), end: None };
        let (revision, result) = self.conditional(key, old.revision(), remove).await?;
        match result {
            None => Ok(Committed::Done(Arc::new(
                StoredObject::new(revision, old.raw().clone()).map_err(Status::internal)?,
            ))),
            Some(found) => Ok(Committed::Changed(found)),
        }
    }

    async fn conditional(
        &self,
        key: Bytes,
        expected: i64,
        op: Op,
    ) -> Result<(i64, Option<Option<Arc<StoredObject>>>), Status> {
        let txn = Txn {
            compares: vec![Compare::ModRevision(key.clone(), Ordering::Equal, expected)],
            success: vec![op],
            failure: vec![Op::Range { start: key, end: None, options: RangeOptions::default() }],
        };
        let result = self.feed.store().txn(txn).await.map_err(|error| storage::status(&error))?;
        if result.succeeded {
            return Ok((result.revision, None));
        }
        let found = result.results.into_iter().find_map(|result| match result {
            OpResult::Range(mut range) => range.kvs.pop(),
            _ => None,
        });
        Ok((result.revision, Some(found.map(parse).transpose()?)))
    }

    /// The object as the store has it now.
    pub(super) async fn read_store(&self, key: Bytes) -> Result<Option<Arc<StoredObject>>, Status> {
        let range = self.feed.store().range(key, None, RangeOptions::default()).await;
        let mut range = range.map_err(|error| storage::status(&error))?;
        range.kvs.pop().map(parse).transpose()
    }

    /// The object as of now: from the cache when it has caught up, so that its decoded form is shared.
    pub(super) async fn read_current(
        &self,
        def: &ResourceDef,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<StoredObject>>, Status> {
        let cache = self.feed.cache(&def.storage).await?;
        let revision = self.feed.store().revision().await.map_err(|error| storage::status(&error))?;
        if self.feed.applied() >= revision {
            return Ok(cache.get(&storage::local_key(namespace, name)));
        }
        self.read_store(storage::key(&def.storage, namespace, name)).await
    }

    /// Like [`Registry::read_current`]; 404 when there is none.
    pub(super) async fn require_current(
        &self,
        def: &ResourceDef,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<StoredObject>, Status> {
        self.read_current(def, namespace, name)
            .await?
            .ok_or_else(|| Status::not_found(&group_resource(def), name))
    }
}
