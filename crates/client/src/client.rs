//! [`Client`]: a handle to the API under one identity.

use crate::dynamic::Dynamic;
use crate::typed::Api;
use api::Kind;
use api::transport::Transport;
use machinery::GroupVersionResource;
use std::fmt;
use std::sync::Arc;

/// A handle to the API under one identity. Clones share the transport.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    field_manager: Option<Arc<str>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

impl Client {
    /// A client over `transport`, in process or remote.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, field_manager: None }
    }

    /// The same client, whose writes name `manager` in `metadata.managedFields`.
    #[must_use]
    pub fn with_field_manager(mut self, manager: &str) -> Self {
        self.field_manager = Some(manager.into());
        self
    }

    /// Who its writes are recorded for, if set.
    pub fn field_manager(&self) -> Option<&str> {
        self.field_manager.as_deref()
    }

    /// The transport underneath.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Objects of a cluster-scoped kind, or of a namespaced kind across all namespaces.
    pub fn all<K: Kind>(&self) -> Api<K> {
        Api::new(self.clone(), "")
    }

    /// Objects of a namespaced kind in `namespace`.
    pub fn namespaced<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::new(self.clone(), namespace)
    }

    /// Objects of any resource, without a static type.
    pub fn dynamic(&self, resource: GroupVersionResource) -> Dynamic {
        Dynamic::new(self.clone(), resource)
    }
}
