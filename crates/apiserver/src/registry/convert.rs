//! Conversion by another program: objects leave in the version asked for and are stored in the storage version.
//!
//! What the program returns is decoded like anything from outside: pruned and defaulted by the schema of its version.
//! Deliberately absent: the call, and the rules for what it may change (`crd`).

use api::resource::ConvertRemotely;
use api::{Object, ResourceDef, StoredObject};
use machinery::{GroupVersionKind, Status};
use serde_json::Value;
use std::sync::Arc;

fn api_version(tree: &Value) -> &str {
    tree.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
}

fn decode(def: &ResourceDef, tree: &Value) -> Result<Box<dyn Object>, Status> {
    let bytes = serde_json::to_vec(tree).map_err(Status::internal)?;
    let mut object = def.strategy.decode(&bytes).map_err(Status::internal)?;
    def.strategy.set_defaults(object.as_mut());
    Ok(object)
}

/// Brings objects into the version of `def`; those that are stored in it stay as they are.
pub(super) async fn serve(
    def: &ResourceDef,
    remote: &dyn ConvertRemotely,
    items: &mut [Arc<StoredObject>],
) -> Result<(), Status> {
    let wanted = def.gvk.api_version();
    let (mut places, mut trees) = (Vec::new(), Vec::new());
    for (at, item) in items.iter().enumerate() {
        let tree: Value = serde_json::from_slice(&item.to_json()).map_err(Status::internal)?;
        if api_version(&tree) != wanted {
            places.push(at);
            trees.push(tree);
        }
    }
    if trees.is_empty() {
        return Ok(());
    }
    let converted = remote.convert(trees, &def.gvk).await?;
    for (at, tree) in places.into_iter().zip(converted) {
        let Some(item) = items.get_mut(at) else { continue };
        let mut object = decode(def, &tree)?;
        object.meta_mut().resource_version = Some(item.revision().to_string());
        *item = Arc::new(StoredObject::from_object(object).map_err(Status::internal)?);
    }
    Ok(())
}

/// The bytes to store of an object of `def`. `known` is the row of the storage version, if it is served.
pub(super) async fn stored(
    def: &ResourceDef,
    storage: &GroupVersionKind,
    known: Option<Arc<ResourceDef>>,
    remote: &dyn ConvertRemotely,
    json: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    if def.gvk == *storage {
        return Ok(json);
    }
    let tree: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
    let mut converted = remote.convert(vec![tree], storage).await?;
    let Some(tree) = converted.pop() else { return Err(Status::internal("a conversion returned nothing")) };
    match known {
        Some(row) => Ok(decode(&row, &tree)?.to_json()),
        None => serde_json::to_vec(&tree).map_err(Status::internal),
    }
}
