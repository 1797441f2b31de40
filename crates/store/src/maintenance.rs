//! [`Maintenance`]: what keeping a store well needs beside reading and writing: figures, digests, a frozen state to
//! save, leases as they stand, alarms, giving space back.
//!
//! It is what the etcd front serves as etcd's Maintenance service. Deliberately absent: file formats, and anything
//! that an etcd client reaches through [`crate::Store`].

use crate::kv::{KeyValue, LeaseId, Revision, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Latest revision.
    pub revision: Revision,
    /// Oldest revision that can be read.
    pub compacted: Revision,
    /// Bytes on the disk.
    pub size: u64,
    /// Bytes that the keys and the history take.
    pub in_use: u64,
    /// Bytes allowed; 0 is no quota.
    pub quota: u64,
}

/// A digest of all keys at one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// CRC-32C over keys, values and versions in order of key. Equal for equal content, whatever the history.
    pub hash: u32,
    /// The revision.
    pub revision: Revision,
    /// Oldest revision that can be read.
    pub compacted: Revision,
}

/// A lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Seconds that it was granted for.
    pub granted: i64,
    /// Seconds that are left.
    pub remaining: i64,
    /// Keys that end with it, in order.
    pub keys: Vec<Bytes>,
}

/// What may be wrong with a store until someone says that it was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// The quota was exceeded: puts are refused.
    NoSpace,
    /// Data was found damaged: writes are refused.
    Corrupt,
}

/// The whole state at one revision; it never changes, and holding it blocks nobody (but keeps its memory).
pub trait Frozen: Send + Sync {
    /// Its revision.
    fn revision(&self) -> Revision;
    /// Ids and granted seconds of all leases.
    fn leases(&self) -> Vec<(LeaseId, i64)>;
    /// All keys, in order.
    fn keys(&self) -> Box<dyn Iterator<Item = &KeyValue> + '_>;
}

/// What keeping a store well needs. All methods may be called concurrently and while the store is in use.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Figures. Does not block.
    fn status(&self) -> Status;
    /// The latest state.
    fn freeze(&self) -> Arc<dyn Frozen>;
    /// The digest of all keys at `revision`; `None` is the latest.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::Future`].
    async fn digest(&self, revision: Option<Revision>) -> Result<Digest, StoreError>;
    /// Ids of all leases, in no order.
    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError>;
    /// One lease.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`].
    async fn lease(&self, id: LeaseId) -> Result<LeaseState, StoreError>;
    /// Returns when what past compactions gave up is freed.
    async fn settle(&self) -> Result<(), StoreError>;
    /// Gives space on the disk back that compacted history takes.
    async fn defragment(&self) -> Result<(), StoreError>;
    /// Alarms that are raised.
    async fn alarms(&self) -> Result<Vec<Alarm>, StoreError>;
    /// Raises an alarm.
    async fn raise(&self, alarm: Alarm) -> Result<(), StoreError>;
    /// Says that an alarm was dealt with; returns whether it was raised.
    async fn disarm(&self, alarm: Alarm) -> Result<bool, StoreError>;
}
