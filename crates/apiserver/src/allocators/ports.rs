//! [`Ports`]: node ports, in the bitmap that all API servers of a store share.

use super::bitmap::Bitmap;
use super::{Failure, Refused, low};
use crate::storage;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use machinery::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::sync::Arc;
use store::{Compare, KeyValue, Op, OpResult, RangeOptions, Store, Txn};

/// Where upstream keeps it.
const KEY: Bytes = Bytes::from_static(b"/registry/ranges/servicenodeports");
/// How often a lost race is run again.
const ATTEMPTS: usize = 64;

/// The bitmap as it was last seen, and its revision; 0 is none.
#[derive(Clone, Debug)]
struct Seen {
    revision: i64,
    map: Bitmap,
}

/// Node ports. May be used concurrently.
pub(super) struct Ports {
    store: Arc<dyn Store>,
    from: u16,
    to: u16,
    seen: Mutex<Option<Seen>>,
}

impl Ports {
    pub(super) fn new(store: Arc<dyn Store>, (from, to): (u16, u16)) -> Self {
        Self { store, from, to, seen: Mutex::new(None) }
    }

    pub(super) fn range(&self) -> String {
        format!("{}-{}", self.from, self.to)
    }

    pub(super) fn contains(&self, port: i32) -> bool {
        i32::from(self.from) <= port && port <= i32::from(self.to)
    }

    fn index(&self, port: i32) -> Option<usize> {
        usize::try_from(port.checked_sub(i32::from(self.from))?).ok()
    }

    fn port(&self, at: usize) -> i32 {
        i32::try_from(at).unwrap_or(i32::MAX).saturating_add(i32::from(self.from))
    }

    fn empty(&self) -> Bitmap {
        let size = usize::from(self.to.saturating_sub(self.from)) + 1;
        Bitmap::new(size, low(size, 32, 128))
    }

    fn parse(&self, kv: Option<&KeyValue>) -> Seen {
        let Some(kv) = kv else { return Seen { revision: 0, map: self.empty() } };
        let data = serde_json::from_slice::<Value>(&kv.value).ok().and_then(|stored| {
            // A bitmap of another range means other ports; `repair` fills this one from the Services.
            if stored.get("range")?.as_str()? != self.range() {
                return None;
            }
            STANDARD.decode(stored.get("data")?.as_str()?).ok()
        });
        if data.is_none() {
            tracing::warn!(
                "the stored allocation of node ports cannot be used; it is made anew from the Services"
            );
        }
        Seen { revision: kv.mod_revision, map: self.empty().with_data(&data.unwrap_or_default()) }
    }

    async fn read(&self) -> Result<Seen, Status> {
        let range = self.store.range(KEY, None, RangeOptions::default()).await;
        let range = range.map_err(|error| storage::status(&error))?;
        let seen = self.parse(range.kvs.first());
        *self.seen.lock() = Some(seen.clone());
        Ok(seen)
    }

    fn value(&self, map: &Bitmap) -> Bytes {
        // The mark tells this write from another server's of the same bits.
        let mark = uuid::Uuid::new_v4().to_string();
        let object = json!({
            "kind": "RangeAllocation", "apiVersion": "v1",
            "metadata": {"annotations": {"windlass.io/write": mark}},
            "range": self.range(), "data": STANDARD.encode(map.data()),
        });
        object.to_string().into()
    }

    /// Stores what `change` makes of the bitmap, again and again until no other server was faster. A refusal counts
    /// only for the bitmap as it is now.
    pub(super) async fn change<T>(
        &self,
        change: impl Fn(&mut Bitmap) -> Result<T, Refused>,
    ) -> Result<T, Failure> {
        let known = self.seen.lock().clone();
        let mut is_fresh = known.is_none();
        let mut seen = match known {
            Some(seen) => seen,
            None => self.read().await?,
        };
        for _ in 0..ATTEMPTS {
            let mut map = seen.map.clone();
            let outcome = match change(&mut map) {
                Ok(outcome) => outcome,
                Err(_) if !is_fresh => {
                    seen = self.read().await?;
                    is_fresh = true;
                    continue;
                }
                Err(refused) => return Err(Failure::Refused(refused)),
            };
            if map == seen.map && is_fresh {
                return Ok(outcome);
            }
            let txn = Txn {
                compares: vec![Compare::ModRevision(KEY, Ordering::Equal, seen.revision)],
                success: vec![Op::Put { key: KEY, value: self.value(&map), lease: 0 }],
                failure: vec![Op::Range { start: KEY, end: None, options: RangeOptions::default() }],
            };
            let result = self.store.txn(txn).await.map_err(|error| storage::status(&error))?;
            if result.succeeded {
                *self.seen.lock() = Some(Seen { revision: result.revision, map });
                return Ok(outcome);
            }
            let found = result.results.iter().find_map(|result| match result {
                OpResult::Range(range) => range.kvs.first(),
                _ => None,
            });
            seen = self.parse(found);
            is_fresh = true;
            *self.seen.lock() = Some(seen.clone());
        }
        Err(Status::internal("failed to allocate node ports: too many servers do at once; try again").into())
    }

    /// Takes `port`, or any when it is 0. With `dry_run` it is free again at once.
    pub(super) async fn take(&self, port: i32, dry_run: bool) -> Result<i32, Failure> {
        let wanted = match port {
            0 => None,
            port => Some(self.index(port).ok_or(Failure::Refused(Refused::OutOfRange))?),
        };
        let take = |map: &mut Bitmap| match wanted {
            Some(at) => map.take(at),
            None => map.take_any(),
        };
        let at = if dry_run {
            take(&mut self.read().await?.map).map_err(Failure::Refused)?
        } else {
            self.change(take).await?
        };
        Ok(self.port(at))
    }

    /// Gives ports back.
    pub(super) async fn give_back(&self, ports: &[i32]) -> Result<(), Failure> {
        self.change(|map| {
            for at in ports.iter().filter_map(|port| self.index(*port)) {
                map.give_back(at);
            }
            Ok(())
        })
        .await
    }

    /// Marks `ports` as in use and gives `leaked` back; those outside the range are left out.
    pub(super) async fn mend(&self, ports: &[i32], leaked: &[i32]) -> Result<(), Failure> {
        self.change(|map| {
            for at in leaked.iter().filter_map(|port| self.index(*port)) {
                map.give_back(at);
            }
            for at in ports.iter().filter_map(|port| self.index(*port)) {
                // Taken is what it should be.
                let _ = map.take(at);
            }
            Ok(())
        })
        .await
    }

    /// The ports in use, as of now.
    pub(super) async fn used(&self) -> Result<Vec<i32>, Status> {
        let seen = self.read().await?;
        Ok(seen.map.used().map(|at| self.port(at)).collect())
    }
}
