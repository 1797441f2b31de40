//! [`Informer`]: a cache that follows a collection and tells what changed. List, then watch; resume after a broken
//! watch; list again after 410. It never polls.
//!
//! Split in three: [`reflector`] speaks the protocol, [`store`] holds objects and indexes, this file joins them and
//! calls handlers.

mod factory;
pub mod reflector;
mod store;
#[cfg(test)]
mod tests;

pub use factory::{InformerFactory, Selection};
pub use store::Store;

use crate::client::Client;
use crate::typed::resource_of;
use api::Kind;
use api::transport::Target;
use component::{SharedClock, Tasks};
use parking_lot::Mutex;
use reflector::{Change, Reflector};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::{mpsc, watch};

/// What happened to an object of the cache. Handlers see every object as `Added` first.
#[derive(Debug)]
pub enum Event<K> {
    /// It is new to the cache.
    Added(Arc<K>),
    /// It changed.
    Updated {
        /// Before.
        old: Arc<K>,
        /// After.
        new: Arc<K>,
    },
    /// It is gone; the last state known.
    Deleted(Arc<K>),
}

impl<K> Clone for Event<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(object.clone()),
            Self::Updated { old, new } => Self::Updated { old: old.clone(), new: new.clone() },
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

impl<K> Event<K> {
    /// The newest state of the object.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Deleted(object) => object,
        }
    }

    /// The state before an update.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            _ => None,
        }
    }

    /// Whether the object is gone.
    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;

/// A cache that follows a collection. Clones share it.
pub struct Informer<K: Kind> {
    shared: Arc<Shared<K>>,
}

struct Shared<K: Kind> {
    store: Store<K>,
    /// Held while a change is applied and told, so that a new handler misses nothing and sees nothing twice.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    /// The revision up to which the cache is complete.
    revision: AtomicI64,
}

impl<K: Kind> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Kind> fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Informer({}, {} objects)", K::PLURAL, self.shared.store.len())
    }
}

impl<K: Kind> Informer<K> {
    /// Starts to follow the selected objects until `tasks` stop. Prefer [`InformerFactory`], which shares.
    pub fn start(client: &Client, selection: &Selection, clock: SharedClock, tasks: &Tasks) -> Self {
        let shared = Arc::new(Shared {
            store: Store::new(),
            handlers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
            revision: AtomicI64::new(0),
        });
        let target = Target::all(resource_of::<K>()).in_namespace(&selection.namespace);
        let reflector = Reflector::new(client.transport().clone(), target, selection.list_options(), clock);
        let sink = shared.clone();
        tasks.spawn_until_stopped("informer", async move {
            reflector.run(move |change| sink.apply(change)).await;
        });
        Self { shared }
    }

    /// The cache. Reads never wait for the network.
    pub fn store(&self) -> &Store<K> {
        &self.shared.store
    }

    /// Calls `handler` for every object now in the cache (as `Added`) and for every change from now on, in order. It
    /// runs on the informer's task: it must be quick, must not block and must not add handlers to this informer.
    pub fn on_event(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        for object in self.shared.store.list() {
            handler(&Event::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// The same as a channel. Unbounded: the reader must keep up, or memory grows by one `Arc` per event.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Event<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.on_event(move |event| {
            // A reader that went away no longer cares.
            let _ = sender.send(event.clone());
        });
        receiver
    }

    /// Adds an index by name over the keys that `keys` derives from an object. Adding the same name again is ignored,
    /// so that several users of a shared informer may each declare what they need.
    pub fn add_index(&self, name: &'static str, keys: fn(&K) -> Vec<String>) {
        self.shared.store.add_index(name, keys);
    }

    /// The revision up to which the cache is complete: it has seen every write with a resource version up to this one.
    /// Handlers may still be running for the last of them.
    pub fn revision(&self) -> i64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // The sender lives as long as `self`.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }
}

impl<K: Kind> Shared<K> {
    fn apply(&self, change: Change) {
        let handlers = self.handlers.lock();
        let (events, revision) = match change {
            Change::Reset(objects, revision) => {
                (self.store.replace(objects.iter().filter_map(|stored| decoded(stored))), revision)
            }
            Change::Upsert(stored) => {
                let event = decoded(&stored).map(|object| self.store.upsert(object));
                (event.into_iter().collect(), stored.revision())
            }
            Change::Delete(stored) => {
                let event = decoded(&stored).and_then(|object| self.store.remove(object));
                (event.into_iter().collect(), stored.revision())
            }
            Change::Progress(revision) => (Vec::new(), revision),
            Change::Synced => {
                drop(handlers);
                self.synced.send_replace(true);
                return;
            }
        };
        self.revision.fetch_max(revision, Ordering::AcqRel);
        for event in &events {
            for handler in handlers.iter() {
                handler(event);
            }
        }
    }
}

fn decoded<K: Kind>(stored: &api::StoredObject) -> Option<Arc<K>> {
    match stored.get::<K>() {
        Ok(object) => Some(object),
        Err(error) => {
            let name = stored.meta().name.as_deref().unwrap_or("?");
            tracing::warn!(
                kind = K::KIND,
                name,
                "failed to decode an object: {error}; it is left out of the cache"
            );
            None
        }
    }
}
