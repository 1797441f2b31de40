//! Delete of everything that a list selects.

use super::{Caller, Registry};
use api::transport::{DeleteOptions, ListOptions};
use api::{ResourceDef, StoredObject};
use futures::{StreamExt, TryStreamExt};
use machinery::Status;
use std::sync::Arc;

/// Deletions at once.
const WORKERS: usize = 8;

impl Registry {
    /// Deletes what `list` selects in `namespace` (empty for all). Returns what was selected. Objects that others
    /// delete meanwhile are no error; the first other error ends it.
    pub async fn delete_collection(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        namespace: &str,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<StoredObject>>, Status> {
        let page = self.list(def, namespace, list).await?;
        let mut deletions = Vec::with_capacity(page.items.len());
        for item in &page.items {
            deletions.push(self.delete_item(caller, def, item, options));
        }
        futures::stream::iter(deletions).buffer_unordered(WORKERS).try_collect::<()>().await?;
        Ok(page.items)
    }

    async fn delete_item(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        item: &StoredObject,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let meta = item.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        match self.delete(caller, def, namespace, name, options).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}
