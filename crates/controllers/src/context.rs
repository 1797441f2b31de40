//! [`Context`]: what every controller gets.

use crate::common::resources::Resources;
use crate::config::Config;
use client::{Client, EventRecorder, InformerFactory, WorkQueue};
use component::{SharedClock, Tasks};
use jiff::Timestamp;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// What every controller gets. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// The API.
    pub client: Client,
    /// Shared caches.
    pub informers: InformerFactory,
    /// The only source of time.
    pub clock: SharedClock,
    /// Where workers run.
    pub tasks: Tasks,
    /// Settings.
    pub config: Arc<Config>,
    /// Tells users, under the controller's name.
    pub recorder: EventRecorder,
    /// Every resource that the API serves, custom ones included.
    pub(crate) resources: Arc<Resources>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context(..)")
    }
}

impl Context {
    /// The context of all controllers.
    pub fn new(config: Config, client: Client, clock: SharedClock, tasks: Tasks) -> Self {
        let informers = InformerFactory::new(client.clone(), clock.clone(), tasks.clone());
        let recorder = EventRecorder::new(&client, "kube-controller-manager", "", clock.clone(), &tasks);
        let resources = Arc::new(Resources::new(&informers));
        Self { client, informers, clock, tasks, config: Arc::new(config), recorder, resources }
    }

    /// The context of one controller, whose events name it.
    #[must_use]
    pub fn for_component(&self, component: &str) -> Self {
        Self { recorder: self.recorder.for_component(component), ..self.clone() }
    }

    /// Wall-clock time.
    pub fn now(&self) -> Timestamp {
        client::time::now(&*self.clock)
    }

    /// An empty work queue.
    pub fn queue<T: Clone + Eq + Hash + Send + 'static>(&self) -> WorkQueue<T> {
        WorkQueue::new(self.clock.clone())
    }
}
