//! `meta.k8s.io` Table and PartialObjectMetadata: an object without its contents.
//!
//! Source: API concepts, "Receiving resources as Tables"; KEP-2334 for metadata only.

use super::negotiate::Form;
use api::{ResourceDef, StoredObject};
use k8s_openapi::jiff::Timestamp;
use machinery::Status;
use serde_json::{Value, json};

/// What the object of a row carries (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads the query's value.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Status> {
        match text {
            None | Some("" | "Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Status::bad_request(format!(
                "unable to convert to Table as requested: unrecognized includeObject value: {other:?}"
            ))),
        }
    }
}

/// An object's metadata as PartialObjectMetadata.
pub(super) fn partial(object: &StoredObject, version: &str) -> Result<Value, Status> {
    let metadata: Value = serde_json::from_slice(&object.metadata_json()).map_err(Status::internal)?;
    Ok(
        json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata}),
    )
}

/// The same as JSON: the stored bytes, not parsed.
pub(super) fn write_partial(object: &StoredObject, version: &str, out: &mut Vec<u8>) {
    let head =
        format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":"#);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&object.metadata_json());
    out.push(b'}');
}

/// The column definitions.
pub(super) fn columns(def: &ResourceDef) -> Value {
    let columns = def.columns.iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    Value::Array(columns.collect())
}

/// One row.
pub(super) fn row(
    def: &ResourceDef,
    object: &StoredObject,
    include: Include,
    version: &str,
    now: Timestamp,
) -> Result<Value, Status> {
    let decoded = object.object(def.strategy.as_ref()).map_err(Status::internal)?;
    let mut row = json!({"cells": def.strategy.cells(decoded.as_ref(), now)});
    match include {
        Include::None => {}
        Include::Metadata => row["object"] = partial(object, version)?,
        Include::Object => {
            row["object"] = serde_json::from_slice(&object.to_json()).map_err(Status::internal)?;
        }
    }
    Ok(row)
}

/// One object in a form other than its own. `with_columns` is false for all but the first event of a watch.
pub(super) fn transform(
    def: &ResourceDef,
    object: &StoredObject,
    form: Form,
    include: Include,
    with_columns: bool,
    now: Timestamp,
) -> Result<Value, Status> {
    match form {
        Form::Table(version) => {
            let columns = if with_columns { columns(def) } else { Value::Null };
            Ok(json!({
                "kind": "Table",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": {"resourceVersion": object.revision().to_string()},
                "columnDefinitions": columns,
                "rows": [row(def, object, include, version, now)?],
            }))
        }
        Form::Partial(version) | Form::PartialList(version) => partial(object, version),
        Form::Object => serde_json::from_slice(&object.to_json()).map_err(Status::internal),
    }
}
