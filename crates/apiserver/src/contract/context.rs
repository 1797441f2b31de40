//! [`Context`]: what plugins of the API server may use of it.

use super::{Attributes, Authenticator, Authorizer, Decision};
use api::StoredObject;
use api::transport::Transport;
use async_trait::async_trait;
use component::{SharedClock, Tasks};
use machinery::{GroupResource, Status};
use std::sync::{Arc, OnceLock};

/// Reads from the watch caches, without authorization. Objects may be slightly old; nothing is copied.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// One object of a key space (`ResourceDef::storage`); `namespace` is empty for cluster-scoped ones.
    async fn get(
        &self,
        storage: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<StoredObject>>, Status>;
    /// All objects of a key space in `namespace`, or everywhere when it is empty.
    async fn list(&self, storage: &GroupResource, namespace: &str) -> Result<Vec<Arc<StoredObject>>, Status>;
}

/// What plugins of the API server may use of it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Cheap, slightly old reads.
    pub lookup: Arc<dyn Lookup>,
    /// The whole API as `system:apiserver`: consistent reads, writes, watches.
    pub loopback: Arc<dyn Transport>,
    /// Time.
    pub clock: SharedClock,
    /// For tasks of plugins; they end with the server.
    pub tasks: Tasks,
    /// The server's configuration.
    pub config: Arc<crate::Config>,
    /// Who serves other groups.
    pub aggregator: Arc<crate::aggregation::Aggregator>,
    /// Who has to wait.
    pub flow: Arc<crate::flowcontrol::FlowControl>,
    /// Who decides; set once the server is put together. Use [`Context::authorize`].
    pub authorizers: Arc<OnceLock<Vec<Arc<dyn Authorizer>>>>,
    /// Who identifies; set once the server is put together.
    pub authenticators: Arc<OnceLock<Vec<Arc<dyn Authenticator>>>>,
}

impl Context {
    /// Asks the authorizers in order. Without any opinion, and before the server is put together, the answer is
    /// `NoOpinion` with the reasons joined.
    pub async fn authorize(&self, attributes: &Attributes) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in self.authorizers.get().into_iter().flatten() {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion(reason) => reasons.extend(Some(reason).filter(|r| !r.is_empty())),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join(", "))
    }
}
