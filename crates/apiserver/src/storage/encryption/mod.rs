//! Encryption at rest: a store whose values of chosen resources are encrypted in the store below it.
//!
//! Source: "Encrypting Confidential Data at Rest"; the stored form is upstream's, byte for byte, so that data can move
//! between the two. Everything above (watch cache, registry) sees plaintext. Keys of objects are not encrypted,
//! nor is what the server keeps for itself. Deliberately absent: KMS v1.

mod ciphers;
mod config;
mod kms;

use super::ROOT;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use component::files::{Apply, follow};
use component::{SharedClock, Tasks};
use config::Providers;
use futures::StreamExt;
use machinery::Status;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use store::{
    Commit, Compare, EventKind, KeyValue, LeaseId, Op, OpResult, Range, RangeOptions, Revision, Store,
    StoreError, Txn, TxnResult, WatchStream,
};

/// `--encryption-provider-config`.
#[derive(Clone, Debug)]
pub struct EncryptionConfig {
    /// A file of kind EncryptionConfiguration.
    pub file: PathBuf,
    /// Whether changes of the file take effect without a restart.
    pub reload: bool,
}

/// Encrypted values begin with this.
pub(super) const MARK: &[u8] = b"k8s:enc:";

/// One way to encrypt, with one key.
#[async_trait]
pub(super) trait Provider: Send + Sync {
    /// What its values begin with.
    fn prefix(&self) -> &[u8];
    /// Names the key in use; what was encrypted under another name is stale.
    fn id(&self) -> Arc<str>;
    /// Encrypts; `context` is the key of the store, which the result is bound to where the way allows it.
    async fn encrypt(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String>;
    /// Decrypts what comes after the prefix; with the name of the key that was used.
    async fn decrypt(&self, data: &[u8], context: &[u8]) -> Result<(Vec<u8>, Arc<str>), String>;
}

/// The store.
struct Encrypted {
    below: Arc<dyn Store>,
    shared: Arc<Shared>,
}

/// How a value is stored.
struct Used {
    /// When it was written: older versions, which watches and transactions show too, say nothing new.
    revision: Revision,
    /// The key's name; `None` is plaintext.
    key: Option<Arc<str>>,
}

struct Shared {
    providers: ArcSwap<Providers>,
    /// What the newest value of each key was encrypted with, as far as it was seen.
    used: Mutex<HashMap<Bytes, Used>>,
    /// Groups without a dot in their name; any other first part of a key without one is a core resource.
    groups: HashSet<String>,
    /// Core resources.
    core: HashSet<String>,
}

/// `store` with encryption, or as it is without a configuration.
pub(crate) async fn encrypted(
    store: Arc<dyn Store>,
    config: Option<&EncryptionConfig>,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Result<Arc<dyn Store>, Status> {
    let Some(config) = config else { return Ok(store) };
    let failed = |why: String| {
        Status::internal(format!(
            "failed to use the encryption configuration {}: {why}",
            config.file.display()
        ))
    };
    let bytes = tokio::fs::read(&config.file).await.map_err(|error| failed(error.to_string()))?;
    let providers = config::read(&bytes, clock, tasks).await.map_err(failed)?;
    let storages = || api::ResourceTable::shared().rows().iter().map(|def| &def.storage);
    let shared = Arc::new(Shared {
        providers: ArcSwap::from_pointee(providers),
        used: Mutex::default(),
        groups: storages().map(|s| s.group.to_string()).filter(|group| !group.contains('.')).collect(),
        core: storages().filter(|s| s.group.is_empty()).map(|s| s.resource.to_string()).collect(),
    });
    if config.reload {
        let (shared, clock, owner) = (shared.clone(), clock.clone(), tasks.clone());
        let apply: Apply = Arc::new(move |content| {
            let (shared, clock, tasks) = (shared.clone(), clock.clone(), owner.clone());
            Box::pin(async move {
                let fresh = config::read(&content, &clock, &tasks).await?;
                shared.providers.swap(Arc::new(fresh)).retire();
                Ok(())
            })
        });
        follow(tasks, "the encryption configuration", &config.file, bytes, apply)
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(Arc::new(Encrypted { below: store, shared }))
}

impl Shared {
    /// Group and resource of an object's key; `None` for what the server keeps for itself.
    fn resource<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let mut parts = std::str::from_utf8(key.strip_prefix(ROOT.as_bytes())?).ok()?.split('/');
        let (first, second) = (parts.next()?, parts.next()?);
        if (first.contains('.') || self.groups.contains(first)) && parts.next().is_some() {
            return Some((first, second));
        }
        self.core.contains(first).then_some(("", first))
    }

    fn remember(&self, key: &[u8], revision: Revision, name: Option<Arc<str>>) {
        let mut used = self.used.lock();
        match used.get_mut(key) {
            Some(known) if known.revision > revision => {}
            Some(known) => *known = Used { revision, key: name },
            // A slice would keep all of the message that it came in.
            None => _ = used.insert(Bytes::copy_from_slice(key), Used { revision, key: name }),
        }
    }

    fn forget(&self, key: &[u8], revision: Revision) {
        let mut used = self.used.lock();
        if used.get(key).is_some_and(|known| known.revision <= revision) {
            used.remove(key);
        }
    }

    /// The value as it is to be stored.
    async fn encrypt(&self, key: &Bytes, plain: Bytes) -> Result<Bytes, StoreError> {
        let providers = self.providers.load_full();
        let Some(chain) = self.resource(key).and_then(|(group, resource)| providers.of(group, resource))
        else {
            return Ok(plain);
        };
        let Some(first) = chain.first().and_then(Option::as_ref) else { return Ok(plain) };
        let data = first.encrypt(&plain, key).await.map_err(|why| unusable(key, &why))?;
        let mut value = Vec::with_capacity(first.prefix().len() + data.len());
        value.extend_from_slice(first.prefix());
        value.extend_from_slice(&data);
        Ok(value.into())
    }

    /// The value of `key` that was written at `revision`, in plaintext.
    async fn decrypt(&self, key: &Bytes, revision: Revision, value: Bytes) -> Result<Bytes, StoreError> {
        if value.is_empty() {
            return Ok(value);
        }
        let Some((group, resource)) = self.resource(key) else { return Ok(value) };
        let providers = self.providers.load_full();
        let chain = providers.of(group, resource).unwrap_or_default();
        if !value.starts_with(MARK) {
            if chain.is_empty() || chain.iter().any(Option::is_none) {
                if !chain.is_empty() {
                    self.remember(key, revision, None);
                }
                return Ok(value);
            }
            return Err(unusable(
                key,
                "no matching prefix found; it is not encrypted, and there is no identity provider",
            ));
        }
        let mut bad = None;
        for provider in chain.iter().flatten() {
            let Some(data) = value.strip_prefix(provider.prefix()) else { continue };
            match provider.decrypt(data, key).await {
                Ok((plain, used)) => {
                    self.remember(key, revision, Some(used));
                    return Ok(plain.into());
                }
                Err(why) => bad = Some(why),
            }
        }
        Err(unusable(key, bad.as_deref().unwrap_or("no matching prefix found; no provider has its key")))
    }

    async fn open(&self, mut kv: KeyValue) -> Result<KeyValue, StoreError> {
        kv.value = self.decrypt(&kv.key, kv.mod_revision, kv.value).await?;
        Ok(kv)
    }

    async fn open_range(&self, mut range: Range) -> Result<Range, StoreError> {
        for kv in &mut range.kvs {
            kv.value = self.decrypt(&kv.key, kv.mod_revision, std::mem::take(&mut kv.value)).await?;
        }
        Ok(range)
    }

    async fn open_commit(&self, mut commit: Commit) -> Result<Commit, StoreError> {
        for event in &mut commit.events {
            if let Some(previous) = event.previous.take() {
                event.previous = Some(self.open(previous).await?);
            }
            if event.kind == EventKind::Delete {
                self.forget(&event.kv.key, event.kv.mod_revision);
            } else {
                let kv = &mut event.kv;
                kv.value = self.decrypt(&kv.key, kv.mod_revision, std::mem::take(&mut kv.value)).await?;
            }
        }
        Ok(commit)
    }

    /// The keys that are written, and what their values are encrypted with: its writer need not wait for the watch to
    /// know that a value is as it should be.
    fn written(&self, ops: &[Op]) -> Vec<(Bytes, Option<Arc<str>>)> {
        let providers = self.providers.load();
        let of = |key: &Bytes| {
            let (group, resource) = self.resource(key)?;
            Some(providers.of(group, resource)?.first()?.as_ref().map(|provider| provider.id()))
        };
        let puts = ops.iter().filter_map(|op| match op {
            Op::Put { key, .. } => Some((key.clone(), of(key)?)),
            _ => None,
        });
        puts.collect()
    }

    async fn close_ops(&self, ops: &mut [Op]) -> Result<(), StoreError> {
        for op in ops {
            if let Op::Put { key, value, .. } = op {
                *value = self.encrypt(key, std::mem::take(value)).await?;
            }
        }
        Ok(())
    }
}

fn unusable(key: &[u8], why: &str) -> StoreError {
    StoreError::Io(format!("unable to transform key {:?}: {why}", String::from_utf8_lossy(key)))
}

#[async_trait]
impl Store for Encrypted {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.below.revision().await
    }

    async fn range(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        options: RangeOptions,
    ) -> Result<Range, StoreError> {
        let range = self.below.range(start, end, options).await?;
        self.shared.open_range(range).await
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnResult, StoreError> {
        for compare in &txn.compares {
            if let Compare::Value(key, ..) = compare
                && self.shared.resource(key).is_some()
            {
                return Err(StoreError::Invalid("values of objects cannot be compared".to_owned()));
            }
        }
        self.shared.close_ops(&mut txn.success).await?;
        self.shared.close_ops(&mut txn.failure).await?;
        let written = self.shared.written(&txn.success);
        let mut result = self.below.txn(txn).await?;
        if result.succeeded {
            for (key, name) in written {
                self.shared.remember(&key, result.revision, name);
            }
        }
        for answer in &mut result.results {
            match answer {
                OpResult::Put(previous) => {
                    if let Some(kv) = previous.take() {
                        *previous = Some(self.shared.open(kv).await?);
                    }
                }
                OpResult::Delete(removed) => {
                    for kv in removed {
                        kv.value = self
                            .shared
                            .decrypt(&kv.key, kv.mod_revision, std::mem::take(&mut kv.value))
                            .await?;
                    }
                }
                OpResult::Range(range) => *range = self.shared.open_range(std::mem::take(range)).await?,
            }
        }
        Ok(result)
    }

    async fn watch(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        from: Option<Revision>,
        progress: bool,
    ) -> Result<WatchStream, StoreError> {
        let stream = self.below.watch(start, end, from, progress).await?;
        let shared = self.shared.clone();
        Ok(stream
            .then(move |commit| {
                let shared = shared.clone();
                async move { shared.open_commit(commit?).await }
            })
            .boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.below.compact(revision).await
    }

    async fn lease_grant(&self, id: LeaseId, ttl: i64) -> Result<LeaseId, StoreError> {
        self.below.lease_grant(id, ttl).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        self.below.lease_revoke(id).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<i64, StoreError> {
        self.below.lease_keep_alive(id).await
    }

    fn metrics(&self) -> String {
        self.below.metrics()
    }

    fn stale(&self, key: &[u8]) -> bool {
        let providers = self.shared.providers.load();
        let Some((group, resource)) = self.shared.resource(key) else { return false };
        let Some(chain) = providers.of(group, resource) else { return false };
        let wanted = chain.first().and_then(Option::as_ref).map(|provider| provider.id());
        self.shared.used.lock().get(key).is_some_and(|used| used.key != wanted)
    }
}
