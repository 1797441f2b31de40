//! [`InformerFactory`]: one informer per kind and selection for all controllers of a process.

use super::Informer;
use crate::client::Client;
use api::Kind;
use api::transport::ListOptions;
use component::{SharedClock, Tasks};
use parking_lot::Mutex;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Which objects of a kind an informer follows. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Namespace, empty for all.
    pub namespace: String,
    /// Label selector in its string form, empty for none.
    pub labels: String,
    /// Field selector in its string form, empty for none.
    pub fields: String,
}

impl Selection {
    /// Everything in `namespace`.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// What a field selector such as `spec.nodeName=a` selects, in all namespaces.
    pub fn fields(selector: &str) -> Self {
        Self { fields: selector.to_owned(), ..Self::default() }
    }

    /// What a label selector selects, in all namespaces.
    pub fn labels(selector: &str) -> Self {
        Self { labels: selector.to_owned(), ..Self::default() }
    }

    pub(super) fn list_options(&self) -> ListOptions {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ListOptions {
            label_selector: some(&self.labels),
            field_selector: some(&self.fields),
            ..ListOptions::default()
        }
    }
}

type Informers = HashMap<(TypeId, Selection), Box<dyn Any + Send + Sync>>;

/// Hands out shared informers. Clones share them.
#[derive(Clone)]
pub struct InformerFactory {
    client: Client,
    clock: SharedClock,
    tasks: Tasks,
    informers: Arc<Mutex<Informers>>,
}

impl fmt::Debug for InformerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InformerFactory({} informers)", self.informers.lock().len())
    }
}

impl InformerFactory {
    /// A factory whose informers run until `tasks` stop.
    pub fn new(client: Client, clock: SharedClock, tasks: Tasks) -> Self {
        Self { client, clock, tasks, informers: Arc::default() }
    }

    /// The informer of all objects of a kind; it starts with the first call.
    pub fn informer<K: Kind>(&self) -> Informer<K> {
        self.informer_of(&Selection::default())
    }

    /// The informer of the selected objects of a kind; it starts with the first call.
    pub fn informer_of<K: Kind>(&self, selection: &Selection) -> Informer<K> {
        let mut informers = self.informers.lock();
        let slot = informers.entry((TypeId::of::<K>(), selection.clone()));
        let fresh = || Informer::<K>::start(&self.client, selection, self.clock.clone(), &self.tasks);
        let boxed = slot.or_insert_with(|| Box::new(fresh()));
        match boxed.downcast_ref::<Informer<K>>() {
            Some(informer) => informer.clone(),
            // The key holds the type, so the value is of it.
            None => fresh(),
        }
    }
}
