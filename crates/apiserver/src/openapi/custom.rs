//! Schemas of custom resources, from the CustomResourceDefinition's own.

use super::paths::schema_name;
use super::schemas::{meta, reference};
use api::ResourceDef;
use api::schema::lookup;
use machinery::GroupVersionKind;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Where the schemas of custom resources come from: who keeps the CustomResourceDefinitions.
pub trait Customs: Send + Sync {
    /// `openAPIV3Schema` of a served version; `None` for built-in kinds and for those without one.
    fn schema(&self, gvk: &GroupVersionKind) -> Option<Arc<Value>>;
}

/// No custom resources.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCustoms;

impl Customs for NoCustoms {
    fn schema(&self, _gvk: &GroupVersionKind) -> Option<Arc<Value>> {
        None
    }
}

/// The schemas of a custom resource and of its list, by full name; none for built-in ones.
pub(super) fn custom_schemas(def: &ResourceDef, customs: &dyn Customs) -> Map<String, Value> {
    let mut out = Map::new();
    if lookup(&def.gvk).is_some() {
        return out;
    }
    let mut schema = customs.schema(&def.gvk).map_or_else(
        || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        |schema| (*schema).clone(),
    );
    let extension = |kind: &str| json!([{"group": def.gvk.group, "kind": kind, "version": def.gvk.version}]);
    if let Some(map) = schema.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
            properties.insert("kind".to_owned(), json!({"type": "string"}));
            properties.insert("metadata".to_owned(), json!({"allOf": [reference(&meta("ObjectMeta"))]}));
        }
        map.insert("x-kubernetes-group-version-kind".to_owned(), extension(&def.gvk.kind));
    }
    let name = schema_name(&def.gvk);
    let list = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": reference(&name)},
            "kind": {"type": "string"},
            "metadata": reference(&meta("ListMeta")),
        },
        "x-kubernetes-group-version-kind": extension(&def.list_kind),
    });
    out.insert(schema_name(&GroupVersionKind { kind: def.list_kind.clone(), ..def.gvk.clone() }), list);
    out.insert(name, schema);
    out
}
